// Sampling helpers for maskers.
#pragma once

#include <attnlab/masker.hpp>

#include <algorithm>
#include <bit>
#include <cmath>

namespace attnlab {

/// Writes `count` of the candidates, drawn uniformly without replacement, in ascending order, to `ids`
/// (Floyd's algorithm: every subset of `count` keys is equally likely). `seen` is scratch of (candidates +
/// 63) / 64 words. O(count + candidates / 64).
inline void sample_without_replacement(Philox& random, const Candidates& candidates, int64_t count,
                                       std::span<uint64_t> seen, std::span<int32_t> ids) {
  std::fill(seen.begin(), seen.end(), 0);
  for (int64_t j = candidates.count - count; j < candidates.count; ++j) {
    auto draw = static_cast<int64_t>(random.below(static_cast<uint64_t>(j) + 1));
    bool taken = ((seen[static_cast<size_t>(draw / 64)] >> (draw % 64)) & 1) != 0;
    int64_t pick = taken ? j : draw;
    seen[static_cast<size_t>(pick / 64)] |= uint64_t{1} << (pick % 64);
  }
  // The picks are ordinals among the candidates: walk words and runs together to turn them into keys.
  size_t run = 0;
  int64_t run_start = 0;
  size_t written = 0;
  for (size_t word = 0; word < seen.size(); ++word) {
    for (uint64_t bits = seen[word]; bits != 0; bits &= bits - 1) {
      int64_t ordinal = static_cast<int64_t>(word) * 64 + std::countr_zero(bits);
      while (ordinal - run_start >= candidates.runs[run].end - candidates.runs[run].begin) {
        run_start += candidates.runs[run].end - candidates.runs[run].begin;
        ++run;
      }
      ids[written++] = candidates.runs[run].begin + static_cast<int32_t>(ordinal - run_start);
    }
  }
}

/// The candidates inside `window`. `runs` is memory for at least as many runs as the candidates have.
inline Candidates within(const Candidates& candidates, Range window, std::span<Range> runs) {
  size_t used = 0;
  int64_t count = 0;
  for (Range run : candidates.runs) {
    Range part{std::max(run.begin, window.begin), std::min(run.end, window.end)};
    if (part.begin >= part.end) continue;
    runs[used++] = part;
    count += part.end - part.begin;
  }
  return {runs.first(used), count};
}

/// The candidates except `ids`, which are ascending and among them. `runs` is memory for as many runs as the
/// candidates have, plus one for each id; it is not the memory of the candidates.
inline Candidates without(const Candidates& candidates, std::span<const int32_t> ids, std::span<Range> runs) {
  size_t used = 0, next = 0;
  for (Range run : candidates.runs) {
    int32_t begin = run.begin;
    for (; next < ids.size() && ids[next] < run.end; ++next) {
      if (ids[next] > begin) runs[used++] = {begin, ids[next]};
      begin = ids[next] + 1;
    }
    if (begin < run.end) runs[used++] = {begin, run.end};
  }
  return {runs.first(used), candidates.count - static_cast<int64_t>(ids.size())};
}

/// x with P(N(0, 1) <= x) = p, for p in [1e-300, 1). Newton's method on the logarithm of the tail, which is
/// concave: from sqrt(-2 ln(2 tail)), which is no smaller than the root, it falls to the root without
/// overshooting.
inline double normal_quantile(double p) {
  const double tail = std::min(p, 1 - p);
  double x = std::sqrt(-2 * std::log(2 * tail));
  for (int step = 0; step < 50; ++step) {
    const double upper = 0.5 * std::erfc(x * std::sqrt(0.5));
    const double density = 0.39894228040143267794 * std::exp(-0.5 * x * x);
    const double change = std::log(upper / tail) * upper / density;
    x += change;
    if (std::abs(change) <= 1e-14 * x) break;
  }
  return p < 0.5 ? -x : x;
}

/// x with P(chi-square of `degrees` <= x) = p, for p in (0, 1). Exact for 1 and 2 degrees; above, the cube of
/// Wilson and Hilferty (1931), within 1.1 % for p in [0.2, 0.99].
inline double chi_square_quantile(double p, double degrees) {
  if (degrees == 1) {
    double z = normal_quantile(0.5 + 0.5 * p);
    return z * z;
  }
  if (degrees == 2) return -2 * std::log1p(-p);
  double spread = 2 / (9 * degrees);
  double root = std::max(0.0, 1 - spread + normal_quantile(p) * std::sqrt(spread));
  return degrees * root * root * root;
}

}  // namespace attnlab
