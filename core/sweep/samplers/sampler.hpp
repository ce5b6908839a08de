// Who chooses the points of a sweep. All decisions fall between batches, from results in the order of their
// ids, so that nothing depends on which trial ended first.
#pragma once

#include <memory>
#include <vector>

#include "core/sweep/config.hpp"

namespace attnlab::sweep {

/// A point to run.
struct Proposal {
  Point point;
  int rung = 0;
};

/// [one thread]
class Sampler {
 public:
  virtual ~Sampler() = default;
  /// The next batch, given the results of all batches before it, in any order; empty: the sweep is complete.
  /// Results of other points are ignored. It may depend on what earlier calls were given.
  virtual std::vector<Proposal> next(const std::vector<Result>& results) = 0;
  /// Trials in all, or the most that there can be.
  virtual int64_t most_trials() const = 0;
};

/// Points of a space that need no results: a grid, random points, a Sobol or a Halton sequence. At most
/// `count` different ones that the constraints allow, fewer where the space has no more. Throws UserError.
std::vector<Point> choose_points(const SweepConfig& sweep, SamplerPlan::Kind kind, int64_t count);

/// `sweep` must outlive it. Throws UserError for what the sampler cannot do with this space.
std::unique_ptr<Sampler> make_sampler(const SweepConfig& sweep);
std::unique_ptr<Sampler> make_tpe(const SweepConfig& sweep);
std::unique_ptr<Sampler> make_successive_halving(const SweepConfig& sweep);

}  // namespace attnlab::sweep
