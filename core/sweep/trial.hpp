// What the parts of a sweep exchange: trials to run and what became of them.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/io/json.hpp"

namespace attnlab::sweep {

/// One point of a space on one workload.
struct Trial {
  /// Hash of the resolved config, of the plugins that it names and of the files that its input reads: equal
  /// for equal work wherever and in whatever order it runs. Titles and clocks have no part in it.
  std::string id;
  io::Json config;  ///< resolved: a config of `attnlab run` with every default and absolute paths
  io::Json point;   ///< the chosen values by JSON pointer, {"/pipelines/main/2/heavy_size": "10%"}
  int rung = 0;     ///< of successive halving; 0 elsewhere
};

/// How a trial ended. Only `done` has metrics; whatever else happened has a reason, and no metric at all, so
/// that nothing can be averaged over it or be called optimal.
struct Outcome {
  enum class Status { done, failed };

  std::string id;
  Status status = Status::failed;
  std::map<std::string, double>
      metrics;  ///< means of the trial's first pipeline: density, output_error ...; finite
  std::string
      reason;      ///< "signal SIGABRT", "ran past 10 s", "memory above 512 MiB", "NaN in output_error" ...
  int signal = 0;  ///< that ended the process; 0: none did
  std::string stderr_tail;  ///< last lines, at most 2 KiB
  double seconds = 0;       ///< a clock figure: differs between equal trials

  bool done() const { return status == Status::done; }
};

/// All but the clock fields: equal for equal trials, so that sorted stores compare byte for byte. The clock
/// is a member "clock" of its own: {"seconds": ...}.
io::Json to_json(const Trial& trial, const Outcome& outcome);
/// Throws base::UserError for JSON of another form.
void from_json(const io::Json& line, Trial& trial, Outcome& outcome);

}  // namespace attnlab::sweep
