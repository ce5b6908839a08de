// What a sweep came to, as the figures and tables of its reports need it.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/report/sweep.hpp"

namespace attnlab::report {

/// Trials by what became of them: indices into SweepReport::trials, ascending unless said otherwise.
struct SweepSummary {
  int rung = 0;  ///< the last one; `feasible` to `best` are of it alone
  std::vector<size_t> feasible, infeasible;
  std::vector<size_t> front;        ///< feasible and not dominated, by the first objective
  std::vector<size_t> best;         ///< of one objective: the best feasible ones, best first
  std::vector<size_t> failed;       ///< of all rungs
  size_t earlier = 0;               ///< done trials of earlier rungs
  std::vector<std::string> labels;  ///< of the axes: short names, each once where the pointers allow it

  /// Feasible and infeasible: all that have objectives.
  std::vector<size_t> valued() const;
};
SweepSummary summary_of(const SweepReport& report);

/// The feasible trials that a table lists: the front, or the best of one objective.
std::vector<size_t> listed_feasible(const SweepReport& report, const SweepSummary& summary);

/// Failed trials by reason: the most frequent first.
struct SweepFailure {
  std::string reason;
  size_t count = 0;
  size_t example = 0;  ///< a trial with stderr where there is one
};
std::vector<SweepFailure> failures_of(const SweepReport& report, const SweepSummary& summary);
/// Constraints that did not hold, and in how many trials: the most frequent first.
std::vector<std::pair<std::string, size_t>> broken_constraints(const SweepReport& report,
                                                               const SweepSummary& summary);

/// "budget 4%, recent 1%".
std::string point_words(const SweepReport& report, const SweepSummary& summary, const SweepTrial& trial);
/// Sentences about what was swept and what came out.
std::vector<std::string> sweep_sentences(const SweepReport& report, const SweepSummary& summary);

/// At most `most` of `trials`, evenly chosen, with all of `keep` among them. Ascending. Ids are hashes, so
/// that an even choice by id is one without regard to the values.
std::vector<size_t> thinned(const std::vector<size_t>& trials, const std::vector<size_t>& keep, size_t most);

/// "12ab34cd56ef".
std::string short_id(const SweepTrial& trial);

}  // namespace attnlab::report
