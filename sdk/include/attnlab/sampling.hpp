// Sampling helpers for maskers.
#pragma once

#include <attnlab/masker.hpp>

#include <algorithm>
#include <bit>
#include <cmath>

namespace attnlab {

/// Writes `count` of the candidates, drawn uniformly without replacement, in ascending order, to `ids`
/// (Floyd's algorithm: every subset of `count` keys is equally likely). `seen` is scratch of (candidates + 63) / 64
/// words. O(count + candidates / 64).
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

}  // namespace attnlab
