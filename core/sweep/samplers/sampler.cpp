#include "core/sweep/samplers/sampler.hpp"

#include <fmt/core.h>

#include <set>

#include "core/sweep/samplers/sequence.hpp"

namespace attnlab::sweep {
namespace {

using Kind = SamplerPlan::Kind;

constexpr size_t grid_limit = 100'000;

/// All points at once: nothing has to be learned from the first.
class FixedSampler : public Sampler {
 public:
  explicit FixedSampler(std::vector<Point> points) : points_(std::move(points)) {
    count_ = static_cast<int64_t>(points_.size());
  }
  std::vector<Proposal> next(const std::vector<Result>&) override {
    std::vector<Proposal> batch;
    for (Point& point : points_) batch.push_back({std::move(point), 0});
    points_.clear();
    return batch;
  }
  int64_t most_trials() const override { return count_; }

 private:
  std::vector<Point> points_;
  int64_t count_ = 0;
};

}  // namespace

std::vector<Point> choose_points(const SweepConfig& sweep, Kind kind, int64_t count) {
  const Space& space = sweep.space;
  std::vector<Point> points;
  if (kind == Kind::grid) {
    points = space.grid(grid_limit, sweep.document);
  } else {
    const auto sequence = make_sequence(kind, space.axes.size(), sweep.sampler.seed);
    std::set<std::string> seen;
    // Small spaces are soon exhausted, and constraints may leave little: the rest is not worth the search.
    const int64_t attempts = 1000 + 20 * count;
    for (int64_t i = 0; i < attempts && static_cast<int64_t>(points.size()) < count; ++i) {
      Point point = space.at(sequence->next());
      if (space.allows(point) && seen.insert(key_of(point)).second) points.push_back(std::move(point));
    }
  }
  if (!points.empty()) return points;
  base::Mistake mistake = sweep.document.where("/constraints");
  for (const auto& constraint : space.constraints)
    mistake.found += (mistake.found.empty() ? "" : ", ") + constraint.text();
  mistake.allowed = "constraints that some point fulfils";
  throw base::UserError("no point of the space fulfils the constraints", mistake);
}

std::unique_ptr<Sampler> make_sampler(const SweepConfig& sweep) {
  if (sweep.sampler.kind == Kind::tpe) return make_tpe(sweep);
  if (sweep.sampler.kind == Kind::successive_halving) return make_successive_halving(sweep);
  return std::make_unique<FixedSampler>(choose_points(sweep, sweep.sampler.kind, sweep.sampler.trials));
}

}  // namespace attnlab::sweep
