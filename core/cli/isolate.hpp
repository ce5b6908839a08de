// `run --isolate`: the run in a child process, so that a plugin that ends it costs one pipeline and not the
// run.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/cli/command.hpp"

namespace attnlab::cli {

/// What is known of a run in a child, from the file that parent and child share. Its lines are
/// "pipeline\treason\tmessage", "\tfolder" once the child has begun its result folder, and "\tdone" when the
/// run came to an end of its own, good or bad.
struct ChildFailures {
  struct Failure {
    std::string reason;   ///< without place and path: the same whatever thread failed first
    std::string message;  ///< the whole story
  };
  std::map<std::string, Failure> of;  ///< by pipeline
  bool folder = false, done = false;

  static ChildFailures read(const std::string& path);
};

/// Words as a shell would take them.
std::string shell_text(const std::vector<std::string>& words);

/// Options of the child's command beside those of `run`.
void add_child_options(po::options_description& options);

/// The child's part: `body` runs with this file; failures of plugins go there, and "done" after an end that
/// is no plugin's fault.
int run_as_child(const std::string& failures, const std::function<int()>& body);

/// Runs this process's own command line in children until one comes to its end: each that a plugin ends
/// costs the pipeline that called it. Returns the exit code.
int run_isolated(const po::variables_map& values);

}  // namespace attnlab::cli
