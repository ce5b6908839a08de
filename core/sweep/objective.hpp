// What a sweep optimises: objectives and constraints over the metrics of trials, and the order that they
// make.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/sweep/space.hpp"
#include "core/sweep/trial.hpp"

namespace attnlab::sweep {

/// Names of a trial's metrics, as run_trial gives them.
const std::vector<std::string>& metric_names();

struct Objective {
  std::string name;  ///< "output_error", "hub at 10%"
  Expression expression;
  bool maximise = false;
};

struct Goal {
  std::vector<Objective> objectives;    ///< at least one
  std::vector<Expression> constraints;  ///< with metrics in them

  /// Names of the metrics that a trial must have, ascending.
  std::vector<std::string> metrics() const;
};

/// The scalar objective of sparse-attention-hub, to be minimised: 0.99 error + 0.01 density + 10 max(0,
/// density - target), or without a target error + 0.1 density + 5 [density > 0.5].
Objective hub_objective(std::optional<double> target_density);

/// What the goal says of a trial.
struct Judgement {
  enum class Kind {
    feasible,
    infeasible,  ///< done, but a constraint does not hold
    failed,      ///< it ended without metrics, or one that the goal needs is not a number
  };
  Kind kind = Kind::failed;
  std::string why;  ///< infeasible: the constraint; failed: the reason
  std::vector<double>
      values;  ///< of the objectives as they are, maximised ones not negated; empty when failed
};

/// `space` and `point` give the numbers of pointers.
Judgement judge(const Goal& goal, const Space& space, const Point& point, const Outcome& outcome);

/// A finished trial as samplers and reports see it.
struct Result {
  std::string id;
  Point point;
  int rung = 0;
  Judgement judgement;
};

/// Pareto rank of each result: 0 for feasible ones that no feasible one dominates, 1 for those that only rank
/// 0 dominates, and so on; infeasible ones come after all feasible, among themselves likewise. -1: failed.
std::vector<int> pareto_ranks(const Goal& goal, const std::vector<Result>& results);

/// Indices of the feasible results that none dominates, by the first objective, then by id. Equal results
/// are all on it; failed and infeasible ones never are.
std::vector<size_t> pareto_front(const Goal& goal, const std::vector<Result>& results);

/// Indices of all but failed results, best first: by Pareto rank, within a rank the less crowded first (Deb
/// et al. 2002; for one objective that is by its value), then by id. It does not depend on the order of
/// `results`.
std::vector<size_t> best_first(const Goal& goal, const std::vector<Result>& results);

}  // namespace attnlab::sweep
