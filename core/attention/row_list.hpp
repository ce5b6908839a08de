// The active keys of a row in normal form, and the set algebra on them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/kernels/range.hpp"

namespace attnlab::attention {

using kernels::Range;

/// Keys that are not visible although they lie before `visible_end`: bit j of word j/64 set means hidden.
/// Null: none.
using HiddenBits = const uint64_t*;

inline bool is_hidden(HiddenBits hidden, int32_t key) {
  return hidden != nullptr && ((hidden[key / 64] >> (key % 64)) & 1) != 0;
}

/// Active keys of one row (or of the rows of a GQA group that share a list). All parts ascending, pairwise
/// disjoint: runs are maximal within themselves, no id lies in a run, no sampled id is deterministic.
struct RowList {
  std::vector<Range> runs;        ///< deterministic
  std::vector<int32_t> ids;       ///< deterministic
  std::vector<int32_t> sampled;   ///< with inclusion probability below 1
  std::vector<float> log_weight;  ///< -log p of each sampled id
  bool evicted = false;           ///< an eviction stage has run: only `retained` keys are left to choose from
  std::vector<Range> retained;    ///< ascending; every active key lies in it

  void clear();
  int64_t size() const;  ///< active keys
  bool empty() const { return runs.empty() && ids.empty() && sampled.empty(); }
};

/// Sorts runs and unites those that overlap or touch. O(n log n).
void normalise_runs(std::vector<Range>& runs);

/// Clips ascending runs to [0, visible_end) and cuts the hidden keys out.
void clip_runs(std::vector<Range>& runs, int64_t visible_end, HiddenBits hidden);

/// Union of two ascending run lists. O(a + b).
void unite_runs(std::span<const Range> a, std::span<const Range> b, std::vector<Range>& out);

/// Intersection of two ascending run lists. O(a + b).
void intersect_runs(std::span<const Range> a, std::span<const Range> b, std::vector<Range>& out);

/// Drops what does not lie in ascending runs. `scratch` is memory to work in.
void keep_inside(std::span<const Range> runs, RowList& list, std::vector<Range>& scratch);

/// Deterministic keys as maximal ascending runs.
void deterministic_runs(const RowList& list, std::vector<Range>& out);

/// Union in which deterministic keys absorb sampled ones; it is evicted to what `b` retains. At most one
/// operand may hold sampled keys: the inclusion probability of a union would need both probabilities at every
/// key. O(a + b).
void unite(const RowList& a, const RowList& b, RowList& out);

/// Visible keys that are not deterministically active, and retained where a stage evicted keys, as ascending
/// runs. Returns how many keys they hold. O(runs + ids + hidden words).
int64_t candidates(const RowList& active, int64_t visible_end, HiddenBits hidden, std::vector<Range>& out);

/// Keys in ascending runs.
int64_t key_count(std::span<const Range> runs);

}  // namespace attnlab::attention
