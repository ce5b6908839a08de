// Tree-structured Parzen estimators (Bergstra et al., NIPS 2011), one axis at a time: the points that are far
// likelier among the good trials than among the rest. Several objectives by non-dominated rank (Ozaki et al.,
// GECCO 2020, without its weights).
#include <attnlab/philox.hpp>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "core/sweep/samplers/sampler.hpp"

namespace attnlab::sweep {
namespace {

constexpr int most_candidates = 24;  // of an axis
constexpr size_t most_good = 25;
/// Draws of one point before a space counts as exhausted.
constexpr int attempts_per_point = 30;
constexpr uint64_t tpe_stream = 3;

double normal_cdf(double z) {
  return 0.5 * std::erfc(-z * std::sqrt(0.5));
}

/// Density on the coordinates of an axis: the mean of a prior and of one kernel for each observation.
class Parzen {
 public:
  Parzen(const Axis& axis, std::vector<double> observed) : axis_(axis), centers_(std::move(observed)) {
    if (!axis_.is_ordered()) return;
    if (!centers_.empty()) widths_.assign(centers_.size(), bandwidth());
    // The prior: as wide as the axis.
    centers_.push_back(0.5);
    widths_.push_back(1);
  }

  double draw(Philox& random) const {
    if (!axis_.is_ordered()) {
      // Every choice once from the prior, as if observed.
      const auto choices = axis_.choices.size();
      const auto pick = random.below(centers_.size() + choices);
      return pick < centers_.size()
                 ? centers_[pick]
                 : (static_cast<double>(pick - centers_.size()) + 0.5) / static_cast<double>(choices);
    }
    const auto pick = static_cast<size_t>(random.below(centers_.size()));
    while (true) {
      // Half of a kernel at the edge lies in [0, 1), and much more elsewhere.
      const double value = centers_[pick] + widths_[pick] * random.normal();
      if (value >= 0 && value < 1) return value;
    }
  }

  double density(double at) const {
    double sum = 0;
    if (!axis_.is_ordered()) {
      for (const double center : centers_) sum += std::abs(center - at) < axis_.cell() / 2 ? 1 : 0;
      return (sum + 1) / (static_cast<double>(centers_.size()) + static_cast<double>(axis_.choices.size()));
    }
    for (size_t i = 0; i < centers_.size(); ++i) {
      const double z = (at - centers_[i]) / widths_[i];
      const double inside =
          normal_cdf((1 - centers_[i]) / widths_[i]) - normal_cdf(-centers_[i] / widths_[i]);
      sum += std::exp(-0.5 * z * z) / (widths_[i] * inside);
    }
    return sum / static_cast<double>(centers_.size());
  }

 private:
  /// Scott's rule. Few observations may be near each other by chance, so the even distribution's variance,
  /// 1/12, has a part in theirs that soon vanishes; and no kernel is narrower than the number of observations
  /// can vouch for (Bergstra et al.), or a search settles where it happened to begin.
  double bandwidth() const {
    const auto count = static_cast<double>(centers_.size());
    const double mean = std::accumulate(centers_.begin(), centers_.end(), 0.0) / count;
    double variance = 1 / (12 * count * count);
    for (const double center : centers_) variance += (center - mean) * (center - mean) / count;
    return std::max(
        {1.06 * std::sqrt(variance) * std::pow(count, -0.2), axis_.cell(), 1 / std::min(100.0, 1 + count)});
  }

  const Axis& axis_;
  std::vector<double> centers_, widths_;
};

class Tpe : public Sampler {
 public:
  explicit Tpe(const SweepConfig& sweep) : sweep_(sweep) {
    startup_ =
        choose_points(sweep, SamplerPlan::Kind::sobol, std::min(sweep.sampler.startup, sweep.sampler.trials));
  }

  std::vector<Proposal> next(const std::vector<Result>& results) override {
    std::vector<Proposal> batch;
    if (proposed_.empty()) {
      for (const Point& point : startup_) propose(point, batch);
      return batch;
    }
    auto [good, rest] = split(results);
    const int64_t left = sweep_.sampler.trials - static_cast<int64_t>(proposed_.size());
    for (int64_t i = 0; i < std::min(left, sweep_.sampler.batch); ++i) {
      Philox random(mix_key(sweep_.sampler.seed, tpe_stream), drawn_++);
      for (int attempt = 0; attempt < attempts_per_point; ++attempt) {
        // What is likeliest by far was soon proposed: with one candidate, each point has its chance.
        const int candidates = std::max(1, most_candidates >> std::min(attempt, 8));
        if (!propose(draw(good, rest, candidates, random), batch)) continue;
        // Until its result is known it counts as a bad one, so that a batch does not run all in one place.
        rest.push_back(batch.back().point);
        break;
      }
    }
    return batch;
  }
  int64_t most_trials() const override { return sweep_.sampler.trials; }

 private:
  /// Adds the point unless it breaks a constraint or was proposed before.
  bool propose(const Point& point, std::vector<Proposal>& batch) {
    if (!sweep_.space.allows(point) || !proposed_.insert(key_of(point)).second) return false;
    batch.push_back({point, 0});
    return true;
  }

  /// The best results, and all others, failed ones among them: their neighbourhood is to be avoided too.
  std::pair<std::vector<Point>, std::vector<Point>> split(const std::vector<Result>& all) const {
    std::vector<Result> results;
    for (const Result& result : all) {
      if (proposed_.contains(key_of(result.point))) results.push_back(result);
    }
    std::sort(results.begin(), results.end(), [](const Result& a, const Result& b) { return a.id < b.id; });
    const std::vector<size_t> order = best_first(sweep_.goal, results);
    const auto share =
        static_cast<size_t>(std::ceil(sweep_.sampler.good * static_cast<double>(results.size())));
    const size_t count = std::min({share, most_good, order.size()});
    const std::set<size_t> best(order.begin(), order.begin() + static_cast<int64_t>(count));
    std::pair<std::vector<Point>, std::vector<Point>> parts;
    for (size_t i = 0; i < results.size(); ++i)
      (best.contains(i) ? parts.first : parts.second).push_back(results[i].point);
    return parts;
  }

  /// Of the points in which the axis took part: another axis may choose the same value on another condition.
  std::vector<double> coordinates(const Axis& axis, const std::vector<Point>& points) const {
    std::vector<double> list;
    for (const Point& point : points) {
      if (sweep_.space.is_active(axis, point)) list.push_back(axis.coordinate(point));
    }
    return list;
  }

  Point draw(const std::vector<Point>& good, const std::vector<Point>& rest, int candidates,
             Philox& random) const {
    Point point = io::Json::object();
    for (const Axis& axis : sweep_.space.axes) {
      if (!sweep_.space.is_active(axis, point)) continue;
      const Parzen likely(axis, coordinates(axis, good)), unlikely(axis, coordinates(axis, rest));
      double best = 0, best_ratio = -1;
      for (int c = 0; c < candidates; ++c) {
        const double candidate = settled(axis, likely.draw(random));
        const double ratio = likely.density(candidate) / unlikely.density(candidate);
        if (ratio > best_ratio) best_ratio = ratio, best = candidate;
      }
      axis.choose(best, point);
    }
    return point;
  }

  /// The coordinate of the value that a coordinate chooses.
  static double settled(const Axis& axis, double u) {
    Point point = io::Json::object();
    axis.choose(u, point);
    return std::clamp(axis.coordinate(point), 0.0, 1 - 0x1p-53);
  }

  const SweepConfig& sweep_;
  std::vector<Point> startup_;
  std::set<std::string> proposed_;
  uint64_t drawn_ = 0;
};

}  // namespace

std::unique_ptr<Sampler> make_tpe(const SweepConfig& sweep) {
  return std::make_unique<Tpe>(sweep);
}

}  // namespace attnlab::sweep
