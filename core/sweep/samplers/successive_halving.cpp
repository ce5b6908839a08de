// Successive halving (Jamieson and Talwalkar, AISTATS 2016) over workloads, with synchronous rungs.
#include <algorithm>
#include <cmath>
#include <set>

#include "core/sweep/samplers/sampler.hpp"

namespace attnlab::sweep {
namespace {

class SuccessiveHalving : public Sampler {
 public:
  explicit SuccessiveHalving(const SweepConfig& sweep)
      : sweep_(sweep), points_(choose_points(sweep, sweep.sampler.first, sweep.sampler.trials)) {
    size_t in_rung = points_.size();
    for (size_t rung = 0; rung < sweep.sampler.rungs.size(); ++rung, in_rung = kept(in_rung))
      most_trials_ += static_cast<int64_t>(in_rung);
  }

  std::vector<Proposal> next(const std::vector<Result>& results) override {
    if (rung_ > 0) points_ = survivors(results);
    std::vector<Proposal> batch;
    if (static_cast<size_t>(rung_) == sweep_.sampler.rungs.size()) return batch;
    for (const Point& point : points_) batch.push_back({point, rung_});
    ++rung_;
    return batch;
  }
  int64_t most_trials() const override { return most_trials_; }

 private:
  size_t kept(size_t count) const {
    // A share such as 1/4 as a decimal must not keep one more for its last digit.
    return static_cast<size_t>(std::ceil(sweep_.sampler.keep * static_cast<double>(count) - 1e-9));
  }

  /// The best of the rung before. Failed ones never go on; infeasible ones do where feasible ones are too
  /// few: the next workload may be another matter.
  std::vector<Point> survivors(const std::vector<Result>& results) const {
    std::set<std::string> rung;
    for (const Point& point : points_) rung.insert(key_of(point));
    std::vector<Result> finished;
    for (const Result& result : results) {
      if (result.rung == rung_ - 1 && rung.contains(key_of(result.point))) finished.push_back(result);
    }
    std::vector<Point> best;
    for (const size_t i : best_first(sweep_.goal, finished)) {
      if (best.size() < kept(points_.size())) best.push_back(finished[i].point);
    }
    return best;
  }

  const SweepConfig& sweep_;
  std::vector<Point> points_;  ///< of the current rung
  int rung_ = 0;               ///< that comes next
  int64_t most_trials_ = 0;
};

}  // namespace

std::unique_ptr<Sampler> make_successive_halving(const SweepConfig& sweep) {
  return std::make_unique<SuccessiveHalving>(sweep);
}

}  // namespace attnlab::sweep
