#include "core/kernels/selection/select.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>

namespace attnlab::kernels {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// Scores are ranked by a radix descent over order-preserving integers, from the top digit down: the masses of
// the digit's buckets are summed, the bucket in which the running sum reaches the target is kept, and the
// next digit is looked at within it. After the last digit the bucket is a single score. Nothing is sorted, so
// the cost is linear.
struct Digit {
  int shift;
  uint32_t buckets;  ///< a power of two

  uint32_t of(uint32_t rank) const { return (rank >> shift) & (buckets - 1); }
};
constexpr Digit kDigits[] = {{21, 2048}, {10, 2048}, {0, 1024}};

/// Larger scores have larger ranks; equal scores, -0 and +0 among them, have equal ranks.
uint32_t rank_of(float score) {
  const uint32_t bits = std::bit_cast<uint32_t>(score + 0.0F);
  return bits ^ ((0U - (bits >> 31)) | 0x80000000U);
}

float score_of(uint32_t rank) {
  return std::bit_cast<float>(rank ^ ((rank >> 31) != 0 ? 0x80000000U : 0xFFFFFFFFU));
}

int64_t count(std::span<const Range> candidates) {
  int64_t total = 0;
  for (const Range& run : candidates) total += run.size();
  return total;
}

/// Appends the candidates for which `takes(score)` holds, in ascending order.
template <class Takes>
void append_where(const float* scores, std::span<const Range> candidates, Takes takes,
                  std::vector<int32_t>& keys) {
  constexpr int32_t stretch = 1024;
  int32_t taken[stretch];
  for (const Range& run : candidates) {
    for (int32_t begin = run.begin; begin < run.end;) {
      const int32_t end = begin + std::min(stretch, run.end - begin);
      // Written always, advanced when taken: the outcome is unpredictable, so a branch would cost more.
      int32_t n = 0;
      for (int32_t key = begin; key < end; ++key) {
        taken[n] = key;
        n += takes(scores[key]) ? 1 : 0;
      }
      keys.insert(keys.end(), taken, taken + n);
      begin = end;
    }
  }
}

/// A score that, judging by a sample, a few more than the k best candidates reach, or -inf.
float sampled_floor(const float* scores, std::span<const Range> candidates, int64_t k) {
  constexpr int64_t samples = 1024;
  const int64_t all = count(candidates);
  const int64_t stride = all / samples;
  const double expected = static_cast<double>(k) / static_cast<double>(all) * samples;
  const int64_t position =
      static_cast<int64_t>(expected + 4 * std::sqrt(expected) + 4);  // four sigma on the safe side
  if (stride < 4 || position >= samples) return kMinusInfinity;
  float sample[samples];
  int64_t n = 0;
  int64_t next = 0;
  for (const Range& run : candidates) {
    for (; next < run.size() && n < samples; next += stride) sample[n++] = scores[run.begin + next];
    next -= run.size();
  }
  std::nth_element(sample, sample + position, sample + n, std::greater<>());
  return sample[position];
}

/// Appends of the ascending scratch.keys those with the largest scores whose masses `mass_of(rank)`, summed
/// from the largest down, reach `target`; all when they do not. Of keys with equal scores, each of mass m,
/// the lower ones come first, as many as `ties_of(missing, m)`. `buckets` is scratch.
template <class Mass, class MassOf, class TiesOf>
void append_best(const float* scores, Mass target, MassOf mass_of, TiesOf ties_of, std::vector<Mass>& buckets,
                 SelectScratch& scratch, std::vector<int32_t>& chosen) {
  std::vector<uint32_t>& ranks = scratch.ranks;
  ranks.resize(scratch.keys.size());
  std::transform(scratch.keys.begin(), scratch.keys.end(), ranks.begin(),
                 [scores](int32_t key) { return rank_of(scores[key]); });
  Mass reached = 0;
  int64_t bucket = 0;
  for (const Digit digit : kDigits) {
    buckets.assign(digit.buckets, Mass{0});
    for (const uint32_t rank : ranks) buckets[digit.of(rank)] += mass_of(rank);
    bucket = int64_t{digit.buckets} - 1;
    while (bucket >= 0 && reached + buckets[bucket] < target) reached += buckets[bucket--];
    if (bucket < 0) break;
    std::erase_if(ranks, [digit, bucket](uint32_t rank) { return digit.of(rank) != bucket; });
  }
  if (ranks.empty()) return;
  // Short of the target, all that is left is needed. At a later digit that is rounding: a bucket's mass may
  // come out smaller when it is summed by finer buckets.
  const uint32_t lowest = *std::min_element(ranks.begin(), ranks.end());
  int64_t ties =
      bucket < 0 ? std::numeric_limits<int64_t>::max() : ties_of(target - reached, mass_of(lowest));
  const float boundary = score_of(lowest);
  size_t size = chosen.size();
  chosen.resize(size + scratch.keys.size());
  for (const int32_t key : scratch.keys) {
    const bool tie = (scores[key] == boundary) & (ties > 0);
    ties -= tie ? 1 : 0;
    chosen[size] = key;
    size += ((scores[key] > boundary) | tie) ? 1 : 0;
  }
  chosen.resize(size);
}

}  // namespace

void top_k(const float* scores, std::span<const Range> candidates, int64_t k, SelectScratch& scratch,
           std::vector<int32_t>& chosen) {
  if (k <= 0) return;
  const auto all = [](float) { return true; };
  if (k >= count(candidates)) {
    append_where(scores, candidates, all, chosen);
    return;
  }
  const float floor = sampled_floor(scores, candidates, k);
  scratch.keys.clear();
  append_where(
      scores, candidates, [floor](float score) { return score >= floor; }, scratch.keys);
  if (std::ssize(scratch.keys) < k) {  // the sample was not representative
    scratch.keys.clear();
    append_where(scores, candidates, all, scratch.keys);
  }
  const auto one = [](uint32_t) { return 1U; };
  const auto ties_of = [](uint32_t missing, uint32_t) { return int64_t{missing}; };
  append_best(scores, static_cast<uint32_t>(k), one, ties_of, scratch.histogram, scratch, chosen);
}

void top_p(const float* scores, std::span<const Range> candidates, double share, double total_log_mass,
           SelectScratch& scratch, std::vector<int32_t>& chosen) {
  const auto mass_of = [total_log_mass](uint32_t rank) { return std::exp(score_of(rank) - total_log_mass); };
  const auto ties_of = [](double missing, double mass) {
    return static_cast<int64_t>(std::min(0x1p31, std::max(1.0, std::ceil(missing / mass))));
  };
  scratch.keys.clear();
  append_where(
      scores, candidates, [](float score) { return score > kMinusInfinity; }, scratch.keys);
  append_best(scores, share, mass_of, ties_of, scratch.mass, scratch, chosen);
}

void threshold(const float* scores, std::span<const Range> candidates, float threshold,
               std::vector<int32_t>& chosen) {
  append_where(
      scores, candidates, [threshold](float score) { return score >= threshold; }, chosen);
}

void importance(const float* scores, std::span<const Range> candidates, double expected, double temperature,
                double start, SelectScratch& scratch, std::vector<int32_t>& chosen,
                std::vector<float>& log_weight) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  float largest = -infinity;
  for (const Range& run : candidates)
    largest = std::max(largest, *std::max_element(scores + run.begin, scores + run.end));
  scratch.keys.clear();
  scratch.mass.clear();
  for (const Range& run : candidates) {
    for (int32_t key = run.begin; key < run.end; ++key) {
      const double distance =
          scores[key] == largest ? 0 : (double{scores[key]} - double{largest}) / temperature;
      // Not 0 for a finite score: every candidate can be drawn, or the estimate would be biased.
      const double size = scores[key] == -infinity ? 0 : std::exp(std::max(distance, -600.0));
      if (size == 0 || (largest == infinity && scores[key] != infinity)) continue;
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
  std::vector<double> descending = scratch.mass;
  std::sort(descending.begin(), descending.end(), std::greater<>());
  std::vector<double> rest(count + 1, 0.0);  // sum of descending[i, count), the smallest first
  for (size_t i = count; i-- > 0;) rest[i] = rest[i + 1] + descending[i];
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

double log_sum_exp(const float* scores, std::span<const Range> candidates) {
  float maximum = kMinusInfinity;
  for (const Range& run : candidates) {
    for (int32_t key = run.begin; key < run.end; ++key) maximum = std::max(maximum, scores[key]);
  }
  if (std::isinf(maximum)) return maximum;
  double sum = 0;
  for (const Range& run : candidates) {
    for (int32_t key = run.begin; key < run.end; ++key) sum += std::exp(double{scores[key]} - maximum);
  }
  return maximum + std::log(sum);
}

}  // namespace attnlab::kernels
