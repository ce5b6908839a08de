#include <unistd.h>

#include <cstdlib>

#include "core/base/process.hpp"
#include "core/cli/command.hpp"
#include "core/plugin/crash.hpp"

/// Plugins find these two before libc's: see attnlab::plugin::end_process.
extern "C" void _exit(int code) {
  attnlab::plugin::end_process(code);
}

extern "C" void _Exit(int code) noexcept {
  attnlab::plugin::end_process(code);
}

int main(int argc, char** argv) {
  attnlab::base::settle_process();
  return attnlab::cli::main(argc, argv);
}
