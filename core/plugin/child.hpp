// A short-lived child process.
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace attnlab::plugin {

/// How a child ended and what it printed.
struct ChildResult {
  int exit_code = -1;  ///< when it exited
  int signal = 0;      ///< when a signal ended it
  bool timed_out = false;
  std::string output;  ///< standard output, at most 16 MiB
  std::string errors;  ///< the last 4 KiB of standard error
};

/// Runs a program without a shell and with an empty standard input; kills it after `limit`. Throws UserError
/// when it cannot be started.
ChildResult run_child(const std::vector<std::string>& command, std::chrono::milliseconds limit);

}  // namespace attnlab::plugin
