// Reports of a sweep, made of plain values.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "core/sweep/objective.hpp"

namespace attnlab::report {

/// Where a trial lies on one axis.
struct SweepValue {
  std::string text;                                          ///< "10%", "quest"
  double number = std::numeric_limits<double>::quiet_NaN();  ///< NaN: it means none
};

/// What was varied: one pointer of the config, or several that change together.
struct SweepAxis {
  enum class Kind { list, linear, logarithmic };
  std::vector<std::string> pointers;  ///< "/pipelines/main/2/heavy_size"
  Kind kind = Kind::list;
  std::vector<std::string> choices;  ///< of a list: the texts of its values, in the order they are drawn in
};

struct SweepObjective {
  std::string name;
  bool maximise = false;
};

struct SweepTrial {
  std::string id;
  int rung = 0;
  std::vector<std::optional<SweepValue>> point;  ///< one an axis; nothing where the axis takes no part
  sweep::Judgement judgement;                    ///< with a value for each objective unless it failed
  double density = std::numeric_limits<double>::quiet_NaN();  ///< NaN: unknown
  std::string stderr_tail;
  std::string config;   ///< path from the report's folder, linked where the trial is listed
  std::string command;  ///< that runs it
};

/// Raw text everywhere: the reports escape it.
struct SweepReport {
  std::string title, sampler;
  std::string command;  ///< that makes the report
  std::vector<SweepObjective> objectives;
  std::vector<std::string> constraints;
  std::vector<SweepAxis> axes;
  std::vector<SweepTrial> trials;  ///< on record, by id; of several rungs only the last one's are compared
  int64_t asked = 0;               ///< at most so many trials make the whole sweep
};

// Pure and deterministic, as are the functions below.

/// Indices of the trials that the tables list, each once: first the feasible ones of the front, by the first
/// objective, or the best ones of a single objective; then an example of each reason of failure. Their
/// configs are linked.
std::vector<size_t> listed_trials(const SweepReport& report);

/// `report.md`: what came out, the front and the importance of axes as tables.
std::string sweep_markdown(const SweepReport& report);
/// `report.html`: one file that fetches nothing. Tells all without its script too.
std::string sweep_html(const SweepReport& report);

}  // namespace attnlab::report
