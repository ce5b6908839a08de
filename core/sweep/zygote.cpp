#include "core/sweep/zygote.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

#include "core/sweep/message.hpp"
#include "core/sweep/runner.hpp"

namespace attnlab::sweep {
namespace {

using io::Json;

/// What runners inherit. Where the machine itself runs out of memory, it is a trial that has to go, the
/// largest of these processes, and not the sweep.
void set_process_limits() {
  const rlimit none{0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
  std::ofstream("/proc/self/oom_score_adj") << 900;
}

void be_zygote(int socket, const ZygoteOptions& options) {
  set_process_limits();
  if (const int nothing = ::open("/dev/null", O_RDWR); nothing >= 0) {
    ::dup2(nothing, STDIN_FILENO);
    ::dup2(nothing, STDOUT_FILENO);
    if (nothing > STDERR_FILENO) ::close(nothing);
  }
  try {
    if (options.prepare) options.prepare();
  } catch (const std::exception&) {
    // Whatever could not be prepared fails in the trials that need it, and is told there.
  }
  while (const auto request = receive_message(socket)) {
    const size_t end = request->find('\n');
    const Outcome outcome =
        run_in_process(request->substr(0, end), request->substr(end + 1), options, socket);
    if (!send_message(socket, outcome_message(outcome))) break;
  }
}

}  // namespace

std::string trial_message(const Trial& trial) {
  return trial.id + "\n" + trial.config.dump();
}

std::string outcome_message(const Outcome& outcome) {
  return io::line_text({{"id", outcome.id},
                        {"done", outcome.done()},
                        {"metrics", outcome.metrics},
                        {"reason", outcome.reason},
                        {"signal", outcome.signal},
                        {"stderr", outcome.stderr_tail},
                        {"seconds", outcome.seconds}});
}

Outcome read_outcome(const std::string& message) {
  const Json json = Json::parse(message);
  Outcome outcome;
  outcome.id = json.at("id").get<std::string>();
  outcome.status = json.at("done").get<bool>() ? Outcome::Status::done : Outcome::Status::failed;
  outcome.metrics = json.at("metrics").get<std::map<std::string, double>>();
  outcome.reason = json.at("reason").get<std::string>();
  outcome.signal = json.at("signal").get<int>();
  outcome.stderr_tail = json.at("stderr").get<std::string>();
  outcome.seconds = json.at("seconds").get<double>();
  return outcome;
}

Outcome death_of_watcher(const std::string& id) {
  Outcome death;
  death.id = id;
  death.signal = SIGKILL;
  death.reason = "the process that watches over trials died, perhaps for want of memory";
  return death;
}

std::string bytes_text(uint64_t bytes) {
  constexpr const char* units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  double value = static_cast<double>(bytes);
  for (; value >= 1024 && unit + 1 < std::size(units); ++unit) value /= 1024;
  return fmt::format("{:.4g} {}", value, units[unit]);
}

Zygote::Zygote(const ZygoteOptions& options) : child_([&](int socket) { be_zygote(socket, options); }) {}

std::optional<size_t> Zygote::send(const Trial& trial) {
  const std::string message = trial_message(trial);
  if (!pass(message)) return std::nullopt;
  return message.size();
}

bool Zygote::pass(const std::string& message) {
  return send_message(child_.socket(), message);
}

std::optional<Outcome> Zygote::receive() {
  const auto answer = receive_message(child_.socket());
  if (!answer) return std::nullopt;
  return read_outcome(*answer);
}

}  // namespace attnlab::sweep
