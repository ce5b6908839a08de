#include "core/kernels/selection/select.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

namespace attnlab::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// Larger scores have larger ranks; +0 directly follows -0.
int64_t rank_of(float score) {
  const auto bits = std::bit_cast<int32_t>(score);
  return bits ^ ((bits >> 31) & 0x7FFFFFFF);
}

float score_of(int64_t rank) {
  const auto bits = static_cast<int32_t>(rank);
  return std::bit_cast<float>(bits ^ ((bits >> 31) & 0x7FFFFFFF));
}

int64_t count(std::span<const Range> candidates) {
  int64_t total = 0;
  for (const Range& run : candidates) total += run.size();
  return total;
}

/// Makes room for `count` elements and whole vectors behind them. Never shrinks.
template <class T>
T* reserve(std::vector<T>& memory, int64_t count) {
  const auto size = static_cast<size_t>(count + kScanPadding);
  if (memory.size() < size) memory.resize(size);
  return memory.data();
}

/// Appends the candidates with score >= floor, ascending.
void append_at_least(const float* scores, std::span<const Range> candidates, float floor,
                     const ScanKernels& kernels, std::vector<int32_t>& chosen) {
  constexpr int32_t stretch = 4096;
  int32_t taken[stretch + kScanPadding];
  for (Range run : candidates) {
    for (; run.begin < run.end; run.begin += std::min(stretch, run.end - run.begin)) {
      const Range part{run.begin, run.begin + std::min(stretch, run.end - run.begin)};
      const int64_t n = kernels.at_least(scores, {&part, 1}, floor, taken, nullptr).count;
      chosen.insert(chosen.end(), taken, taken + n);
    }
  }
}

/// The score down to which something is chosen, and how much of the target the scores above it leave.
template <class Amount>
struct Boundary {
  float score;
  Amount missing;
};

/// The largest score for which the amounts of the `kept` values from it on reach `target`: bisects the scores
/// between the smallest and the largest value left, each time keeping the half in which the boundary lies.
/// `amount_from(values, count, floor)` of all of them reaches the target. At most 32 rounds, O(kept) together
/// unless nearly all scores are nearly equal. `work`: as long as `values`.
template <class Amount, class AmountFrom>
Boundary<Amount> find_boundary(const float* values, Kept kept, Amount target, AmountFrom amount_from,
                               const ScanKernels& kernels, float* work) {
  for (;;) {
    // Adding 0 makes the zeros alike.
    const int64_t low = rank_of(kept.smallest + 0.0F), high = rank_of(kept.largest + 0.0F);
    if (low >= high) return {kept.smallest, target};
    const float pivot = score_of((low + high + 1) >> 1);
    const Amount above = amount_from(values, kept.count, pivot);
    const bool upper = !(above < target);
    if (!upper) target -= above;
    kept = kernels.part(values, kept.count, pivot, upper, work);
    values = work;
  }
}

/// The k-th largest of the kept values, k <= kept.count.
Boundary<int64_t> kth_largest(const float* values, Kept kept, int64_t k, const ScanKernels& kernels,
                              float* work) {
  return find_boundary(values, kept, k, kernels.count_at_least, kernels, work);
}

/// Every stride-th score above -inf of many candidates; none of few, which no sample helps with.
struct Sample {
  static constexpr int64_t largest_size = 1024;

  Sample(const float* scores, std::span<const Range> candidates, const ScanKernels& kernels)
      : stride(count(candidates) / largest_size) {
    if (stride < 4) return;
    int64_t n = 0;
    int64_t next = 0;
    for (const Range& run : candidates) {
      for (; next < run.size() && n < largest_size; next += stride) values[n++] = scores[run.begin + next];
      next -= run.size();
    }
    kept = kernels.part(values, n, std::numeric_limits<float>::lowest(), true, values);
  }

  int64_t stride;
  Kept kept;
  float values[largest_size + kScanPadding];
};

/// A score that, judging by a sample, a few more than the k best candidates reach, or -inf.
float floor_for_count(const float* scores, std::span<const Range> candidates, int64_t k,
                      const ScanKernels& kernels) {
  Sample sample(scores, candidates, kernels);
  const double expected =
      static_cast<double>(k) / static_cast<double>(count(candidates)) * Sample::largest_size;
  const auto position =
      static_cast<int64_t>(expected + 4 * std::sqrt(expected) + 4);  // four sigma on the safe side
  if (sample.kept.count <= position) return -kInfinity;
  return kth_largest(sample.values, sample.kept, position + 1, kernels, sample.values).score;
}

/// Collects the candidates with score >= floor in scratch.keys and scratch.values.
Kept collect(const float* scores, std::span<const Range> candidates, float floor, const ScanKernels& kernels,
             SelectScratch& scratch) {
  const int64_t room = count(candidates);
  return kernels.at_least(scores, candidates, floor, reserve(scratch.keys, room),
                          reserve(scratch.values, room));
}

/// Appends those of the collected keys whose score exceeds the boundary, and the first `ties` of those whose
/// score equals it.
void append_best(Kept kept, float boundary, int64_t ties, const ScanKernels& kernels,
                 const SelectScratch& scratch, int64_t at_most, std::vector<int32_t>& chosen) {
  const size_t before = chosen.size();
  chosen.resize(before + static_cast<size_t>(at_most + kScanPadding));
  const int64_t taken = kernels.take(scratch.keys.data(), scratch.values.data(), kept.count, boundary, ties,
                                     chosen.data() + before);
  chosen.resize(before + static_cast<size_t>(taken));
}

}  // namespace

void top_k(const float* scores, std::span<const Range> candidates, int64_t k, SelectScratch& scratch,
           std::vector<int32_t>& chosen, const ScanKernels& kernels) {
  if (k <= 0) return;
  if (k >= count(candidates)) {
    append_at_least(scores, candidates, -kInfinity, kernels, chosen);
    return;
  }
  Kept kept = collect(scores, candidates, floor_for_count(scores, candidates, k, kernels), kernels, scratch);
  // The sample was not representative.
  if (kept.count < k) kept = collect(scores, candidates, -kInfinity, kernels, scratch);
  k = std::min(k, kept.count);
  if (k == 0) return;
  const auto boundary =
      kth_largest(scratch.values.data(), kept, k, kernels, reserve(scratch.work, kept.count));
  append_best(kept, boundary.score, boundary.missing, kernels, scratch, k, chosen);
}

void top_p(const float* scores, std::span<const Range> candidates, double share, double total_log_mass,
           SelectScratch& scratch, std::vector<int32_t>& chosen, const ScanKernels& kernels) {
  constexpr float lowest = std::numeric_limits<float>::lowest();
  const auto mass_from = [&](const float* values, int64_t count, float floor) {
    const Range all{0, static_cast<int32_t>(count)};
    return kernels.mass_at_least(values, {&all, 1}, floor, total_log_mass);
  };
  // A score below which, judging by a sample, lies half of the mass that is not wanted. Unlike the mass of
  // the few best scores, a sample tells that well.
  Sample sample(scores, candidates, kernels);
  float floor = lowest;
  if (sample.kept.count > 0) {
    const double above = mass_from(sample.values, sample.kept.count, lowest) -
                         (1 - share) / 2 / static_cast<double>(sample.stride);
    floor = above > 0
                ? find_boundary(sample.values, sample.kept, above, mass_from, kernels, sample.values).score
                : sample.kept.largest;
  }
  Kept kept = collect(scores, candidates, floor, kernels, scratch);
  if (!(mass_from(scratch.values.data(), kept.count, lowest) >= share)) {
    kept = collect(scores, candidates, lowest, kernels, scratch);
    if (kept.count == 0) return;
    // NaN, of infinite scores, counts as reached.
    if (mass_from(scratch.values.data(), kept.count, lowest) < share) {
      chosen.insert(chosen.end(), scratch.keys.begin(), scratch.keys.begin() + kept.count);
      return;
    }
  }
  const auto boundary = find_boundary(scratch.values.data(), kept, share, mass_from, kernels,
                                      reserve(scratch.work, kept.count));
  const double mass = mass_from(&boundary.score, 1, lowest);
  const auto ties = static_cast<int64_t>(std::min(0x1p31, std::max(1.0, std::ceil(boundary.missing / mass))));
  append_best(kept, boundary.score, ties, kernels, scratch, kept.count, chosen);
}

void threshold(const float* scores, std::span<const Range> candidates, float threshold,
               std::vector<int32_t>& chosen, const ScanKernels& kernels) {
  append_at_least(scores, candidates, threshold, kernels, chosen);
}

void importance(const float* scores, std::span<const Range> candidates, double expected, double temperature,
                double start, SelectScratch& scratch, std::vector<int32_t>& chosen,
                std::vector<float>& log_weight) {
  float largest = -kInfinity;
  for (const Range& run : candidates)
    largest = std::max(largest, *std::max_element(scores + run.begin, scores + run.end));
  scratch.keys.clear();
  scratch.mass.clear();
  for (const Range& run : candidates) {
    for (int32_t key = run.begin; key < run.end; ++key) {
      const double distance =
          scores[key] == largest ? 0 : (double{scores[key]} - double{largest}) / temperature;
      // Not 0 for a finite score: every candidate can be drawn, or the estimate would be biased.
      const double size = scores[key] == -kInfinity ? 0 : std::exp(std::max(distance, -600.0));
      if (size == 0 || (largest == kInfinity && scores[key] != kInfinity)) continue;
      scratch.keys.push_back(key);
      scratch.mass.push_back(size);
    }
  }
  const size_t count = scratch.keys.size();
  if (expected >= static_cast<double>(count)) {
    chosen.insert(chosen.end(), scratch.keys.begin(), scratch.keys.end());
    log_weight.insert(log_weight.end(), count, 0.0f);
    return;
  }
  // The largest are certain as long as c times their size exceeds 1; the others share what is left of
  // `expected`.
  const size_t largest_count = std::min(count, static_cast<size_t>(std::max(0.0, expected)) + 1);
  std::vector<double>& descending = scratch.largest;
  descending = scratch.mass;
  const auto others = descending.begin() + static_cast<int64_t>(largest_count);
  std::nth_element(descending.begin(), others - 1, descending.end(), std::greater<>());
  std::sort(descending.begin(), others, std::greater<>());
  std::vector<double>& rest = scratch.rest;  // sum of descending[i, count)
  rest.assign(largest_count + 1, std::accumulate(others, descending.end(), 0.0));
  for (size_t i = largest_count; i-- > 0;) rest[i] = rest[i + 1] + descending[i];
  // As long as more than one is expected: a single one is certain only if the others' sizes are lost in
  // rounding, and nothing would be left to share.
  size_t certain = 0;
  while (expected - static_cast<double>(certain) > 1 &&
         (expected - static_cast<double>(certain)) * descending[certain] >= rest[certain])
    ++certain;
  const double factor = (expected - static_cast<double>(certain)) / rest[certain];
  double sum = start;  // a candidate is drawn when the running sum of p passes a whole number
  for (size_t i = 0; i < count; ++i) {
    const double p = scratch.mass[i] * factor;
    if (p >= 1) {
      chosen.push_back(scratch.keys[i]);
      log_weight.push_back(0);
      continue;
    }
    const double before = std::floor(sum);
    sum += p;
    if (std::floor(sum) == before) continue;
    chosen.push_back(scratch.keys[i]);
    log_weight.push_back(static_cast<float>(-std::log(p)));
  }
}

double log_sum_exp(const float* scores, std::span<const Range> candidates, const ScanKernels& kernels) {
  const float largest = kernels.largest(scores, candidates);
  if (std::isinf(largest)) return largest;
  return largest + std::log(kernels.mass_at_least(scores, candidates, -kInfinity, largest));
}

}  // namespace attnlab::kernels
