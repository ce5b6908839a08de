#include "core/cli/interrupt.hpp"

#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstring>

#include "core/base/error.hpp"
#include "core/plugin/crash.hpp"
#include "core/plugin/host_table.hpp"

namespace attnlab::cli {
namespace {

std::atomic<bool> pressed{false};
std::atomic<const char*> words{""};

}  // namespace

void catch_interrupt(const char* message) {
  words = message;
  const auto press = [](int) {
    if (pressed.exchange(true)) plugin::leave_process(static_cast<int>(base::Exit::interrupted));
    plugin::HostContext::cancel_all();
    const char* text = words;
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text, std::strlen(text));
  };
  std::signal(SIGINT, press);
  std::signal(SIGUSR1, press);
}

bool interrupted() {
  return pressed;
}

}  // namespace attnlab::cli
