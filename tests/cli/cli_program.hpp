// Runs a program as a user's shell would, with a time limit.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <vector>

namespace attnlab::cli_test {

/// How a program ended and all it printed.
struct Outcome {
  int exit_code = -1;  ///< when it exited by itself
  int signal = 0;      ///< when a signal ended it
  bool timed_out = false;
  std::string out, err;
};

/// Runs `command` in `folder`. `environment` is added to this process's own, from which all ATTNLAB_
/// variables are taken out. What it prints goes through files beside `folder`. After `limit` the program and
/// all its children are killed. Throws std::runtime_error when it cannot be started.
Outcome run_program(const std::vector<std::string>& command, const std::string& folder,
                    const std::map<std::string, std::string>& environment, std::chrono::seconds limit);

}  // namespace attnlab::cli_test
