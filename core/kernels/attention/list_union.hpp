// Rows with lists of keys of their own, attended to together where their lists overlap.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/kernels/attention/arguments.hpp"
#include "core/kernels/scratch.hpp"
#include "core/kernels/table.hpp"

namespace attnlab::kernels {

/// The keys of `rows` neighbouring rows: all three parts ascending, pairwise disjoint.
struct KeyList {
  int64_t rows = 0;
  std::span<const Range> runs;
  std::span<const int32_t> ids;
  std::span<const int32_t> sampled;
  const float* log_weight = nullptr;  ///< [sampled], added to their logits

  int64_t size() const;
};

/// Query heads that share keys and values pick keys of their own, most of them the same ones: the union reads
/// each once, and rows ignore what is not theirs by a log weight of -inf. Keeps its memory from call to call;
/// one call at a time.
class ListUnion {
 public:
  /// split_attend of `a`, whose segments are not looked at, to `lists`: those of its rows in their order, at
  /// least one. Keys and values lie as `memory` says. Goes over the union of the lists where that is expected
  /// to be faster than one list after another; which way depends on the lists alone, besides on values that
  /// are not finite and would touch rows that do not attend to them. O(sum of the lists + union x rows)
  /// besides attention.
  template <class Element>
  void attend(const KernelTable& kernels, const AttendArgumentsOf<Element>& a,
              const SegmentOf<Element>& memory, std::span<const KeyList> lists);

  /// Whether the last attend() went over the union.
  bool united() const { return united_; }
  /// Memory that it keeps.
  uint64_t bytes() const;

 private:
  bool unite(const KernelTable& kernels, std::span<const KeyList> lists);
  template <class Element>
  bool attend_union(const KernelTable& kernels, AttendArgumentsOf<Element> a,
                    SegmentOf<Element> memory) const;
  void mark(size_t part, float* weight) const;
  void weigh(const KeyList& list, size_t part, float* weight) const;

  std::vector<Range> runs_;                      ///< of every list; empty where they differ
  std::vector<std::vector<int32_t>> expanded_;   ///< runs and ids of each list as ids, where runs differ
  std::vector<std::span<const int32_t>> parts_;  ///< what is united: ids of each list, then what each sampled
  AlignedBuffer<int32_t> ids_;
  AlignedBuffer<uint32_t> members_;  ///< [count_], by place in parts_
  AlignedBuffer<float> log_weight_;  ///< [rows, count_]
  int64_t count_ = 0;
  bool united_ = false;
};

}  // namespace attnlab::kernels
