// Selection from scores: exact, with the fixed tie rule (equal scores: the lower key first). Every target's
// kernels give the same results.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/kernels/range.hpp"
#include "core/kernels/table.hpp"

namespace attnlab::kernels {

/// Scratch memory that grows to the largest row seen and is reused. Not thread-safe: one per worker.
struct SelectScratch {
  std::vector<int32_t> keys;
  std::vector<float> values, work;
  std::vector<double> mass, largest, rest;
};

/// Appends to `chosen`, ascending, the `k` candidates with the largest scores (all when there are fewer);
/// -inf ranks last. `scores` is indexed by key; candidates are disjoint ascending runs. O(candidates). Scores
/// must not be NaN.
void top_k(const float* scores, std::span<const Range> candidates, int64_t k, SelectScratch& scratch,
           std::vector<int32_t>& chosen, const ScanKernels& kernels = best_table());

/// Appends, ascending, the smallest set of candidates, largest score first, whose summed exp(score) reaches
/// `share` of exp(`total_log_mass`), the mass that `share` refers to; at least one, all when the candidates
/// together do not reach it. Scores of -inf are never chosen. Exact up to the rounding of sums in double.
/// `share` in (0, 1]. O(candidates), one exp each.
void top_p(const float* scores, std::span<const Range> candidates, double share, double total_log_mass,
           SelectScratch& scratch, std::vector<int32_t>& chosen, const ScanKernels& kernels = best_table());

/// Appends, ascending, the candidates with score >= threshold.
void threshold(const float* scores, std::span<const Range> candidates, float threshold,
               std::vector<int32_t>& chosen, const ScanKernels& kernels = best_table());

/// Systematic sampling with probabilities proportional to size (Madow 1949): from one uniform number `start`
/// in [0, 1), appends each candidate with probability exactly p_i = min(1, c exp(score_i / temperature)),
/// ascending, and -log p_i; c makes the probabilities sum up to `expected`. When no more candidates than that
/// have a score above -inf, all of these are chosen. +inf outweighs everything finite.
/// O(n + expected log expected).
void importance(const float* scores, std::span<const Range> candidates, double expected, double temperature,
                double start, SelectScratch& scratch, std::vector<int32_t>& chosen,
                std::vector<float>& log_weight);

/// log sum exp of the candidates' scores in double (-inf when there are none). Fixed order: ascending keys.
double log_sum_exp(const float* scores, std::span<const Range> candidates,
                   const ScanKernels& kernels = best_table());

}  // namespace attnlab::kernels
