#include "core/report/sweep_importance.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

namespace attnlab::report {
namespace {

constexpr size_t most_values = 16;  ///< more numbers than these are binned
constexpr size_t most_bins = 8, least_bin = 8;
constexpr uint64_t most_permutations = 999, least_permutations = 99, permuted_values = 4'000'000;

/// splitmix64 (Steele et al. 2014): the same numbers everywhere, unlike std::shuffle's.
class Random {
 public:
  /// Below `bound`, which is below 2^32.
  size_t below(uint64_t bound) {
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return static_cast<size_t>((((z ^ (z >> 31)) >> 32) * bound) >> 32);
  }

 private:
  uint64_t state_ = 1;
};

/// The numbers of bins of about equal size; `numbers` has a member for each trial.
void bin(const std::vector<double>& numbers, AxisGroups& groups) {
  const size_t n = numbers.size(), bins = std::clamp(n / least_bin, size_t{2}, most_bins);
  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return numbers[a] < numbers[b]; });
  size_t last = bins;
  for (size_t place = 0; place < n; ++place) {
    const size_t wanted = place * bins / n;
    const bool tied = place > 0 && numbers[order[place]] == numbers[order[place - 1]];
    if (!tied && wanted != last) ++groups.count;
    if (!tied) last = wanted;
    groups.group[order[place]] = groups.count - 1;
  }
  groups.binned = true;
}

/// One group a key, in the order of keys.
template <class Key>
void group_by(const std::vector<Key>& keys, AxisGroups& groups) {
  std::map<Key, size_t> places;
  for (const Key& key : keys) places[key];
  for (auto& [key, place] : places) place = groups.count++;
  for (size_t i = 0; i < keys.size(); ++i) groups.group[i] = places[keys[i]];
}

std::vector<double> centred(std::vector<double> values) {
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) /
                      static_cast<double>(std::max<size_t>(values.size(), 1));
  for (double& value : values) value -= mean;
  return values;
}

/// Of values whose mean is 0: the sum over groups of n_g mean_g^2.
class Between {
 public:
  Between(const std::vector<size_t>& group, size_t count) : group_(group), sums_(count), sizes_(count, 0) {
    for (const size_t g : group) ++sizes_[g];
  }
  double operator()(const std::vector<double>& values) {
    std::fill(sums_.begin(), sums_.end(), 0.0);
    for (size_t i = 0; i < values.size(); ++i) sums_[group_[i]] += values[i];
    double sum = 0;
    for (size_t g = 0; g < sums_.size(); ++g) sum += sums_[g] * sums_[g] / sizes_[g];
    return sum;
  }

 private:
  const std::vector<size_t>& group_;
  std::vector<double> sums_, sizes_;
};

double squares(const std::vector<double>& values) {
  return std::inner_product(values.begin(), values.end(), values.begin(), 0.0);
}

/// Rounding of equal values is no variance.
bool varies(const std::vector<double>& values) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  return !values.empty() && *high - *low > 1e-12 * std::max(std::fabs(*low), std::fabs(*high));
}

}  // namespace

AxisGroups groups_on_axis(const SweepReport& report, size_t axis, const std::vector<size_t>& trials) {
  AxisGroups groups;
  std::vector<double> numbers;
  std::vector<std::string> texts;
  for (const size_t i : trials) {
    const auto& value = report.trials[i].point.at(axis);
    if (!value) continue;
    groups.trials.push_back(i);
    numbers.push_back(value->number);
    texts.push_back(value->text);
  }
  groups.group.resize(groups.trials.size());
  const bool numeric =
      std::none_of(numbers.begin(), numbers.end(), [](double number) { return std::isnan(number); });
  std::vector<double> distinct = numbers;
  if (numeric) {
    std::sort(distinct.begin(), distinct.end());
    distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
    const bool few = distinct.size() <= most_values && numbers.size() >= 2 * distinct.size();
    if (few || distinct.size() < 3) {
      group_by(numbers, groups);
    } else {
      bin(numbers, groups);
    }
    return groups;
  }
  // By the place of the choice; a text that is no choice comes after all.
  const auto& choices = report.axes[axis].choices;
  std::vector<std::pair<size_t, std::string>> keys;
  for (const std::string& text : texts)
    keys.emplace_back(std::find(choices.begin(), choices.end(), text) - choices.begin(), text);
  group_by(keys, groups);
  return groups;
}

double explained_share(const std::vector<double>& values, const std::vector<size_t>& group, size_t count) {
  if (!varies(values)) return std::numeric_limits<double>::quiet_NaN();
  const std::vector<double> y = centred(values);
  return std::min(1.0, Between(group, count)(y) / squares(y));
}

double noise_share(const std::vector<double>& values, const std::vector<size_t>& group, size_t count) {
  if (!varies(values)) return std::numeric_limits<double>::quiet_NaN();
  std::vector<double> y = centred(values);
  const double total = squares(y);
  const uint64_t rounds = std::clamp(permuted_values / y.size(), least_permutations, most_permutations);
  Between between(group, count);
  Random random;
  std::vector<double> shares;
  for (uint64_t round = 0; round < rounds; ++round) {
    for (size_t i = y.size(); i > 1; --i) std::swap(y[i - 1], y[random.below(i)]);
    shares.push_back(std::min(1.0, between(y) / total));
  }
  // The rank that makes a share above it one of at most 5 % of all rounds, the observed one counted.
  const size_t place = (95 * (shares.size() + 1) + 99) / 100 - 1;
  std::nth_element(shares.begin(), shares.begin() + static_cast<std::ptrdiff_t>(place), shares.end());
  return shares[place];
}

std::vector<std::vector<Importance>> importances(const SweepReport& report, const SweepSummary& summary) {
  std::vector<std::vector<Importance>> all(report.objectives.size());
  const std::vector<size_t> valued = summary.valued();
  for (size_t a = 0; a < report.axes.size(); ++a) {
    const AxisGroups groups = groups_on_axis(report, a, valued);
    for (size_t k = 0; k < report.objectives.size(); ++k) {
      Importance importance{.trials = groups.trials.size(), .values = groups.count, .binned = groups.binned};
      std::vector<double> values;
      for (const size_t i : groups.trials) values.push_back(report.trials[i].judgement.values.at(k));
      if (groups.count > 1) {
        importance.share = explained_share(values, groups.group, groups.count);
        importance.noise = noise_share(values, groups.group, groups.count);
      }
      all[k].push_back(importance);
    }
  }
  return all;
}

std::vector<size_t> axes_by_share(const std::vector<Importance>& of_axes) {
  std::vector<size_t> order(of_axes.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto share = [&](size_t a) { return std::isnan(of_axes[a].share) ? -1.0 : of_axes[a].share; };
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return share(a) > share(b); });
  return order;
}

const std::vector<std::string>& importance_method() {
  static const std::vector<std::string> sentences = {
      "The share of an objective's variance that an axis alone explains: η² = Σ n_g (mean_g − mean)² / Σ (y "
      "− "
      "mean)², with trials grouped by the axis's value, or by up to 8 quantile bins where numbers have many "
      "values. All trials with objectives count, infeasible ones too; of an axis under a condition those "
      "that "
      "have it.",
      "Noise is the share that an axis without any effect would still reach in one case of twenty: the 95 % "
      "quantile over random permutations of the objective. A share below it is no sign of an effect.",
      "These are main effects alone: axes that matter only together show little, and shares need not sum to "
      "100 %. Axes that constraints tie to one another share what they explain; a sampler that follows "
      "results "
      "tries good regions more often than others; and a few extreme values may make up most of a variance."};
  return sentences;
}

}  // namespace attnlab::report
