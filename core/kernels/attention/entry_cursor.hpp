// Walks the entries of a segment list in fixed blocks; internal to the tile kernels and their reference.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/kernels/attention/arguments.hpp"

namespace attnlab::kernels {

/// Entries per block of the online softmax. Block borders depend on the entry list alone, never on rows or
/// tiles: that keeps a row's bits equal in whatever tile and beside whatever rows with the same entries it is
/// computed.
inline constexpr int64_t kBlockEntries = 128;

/// Up to kBlockEntries entries of a segment list.
template <class Element>
struct EntryBlock {
  int64_t count = 0;
  bool weighted = false;                            ///< some log_weight differs from 0
  const SegmentOf<Element>* consecutive = nullptr;  ///< all entries are one piece of a run of this segment
  const Element* key[kBlockEntries];
  const Element* value[kBlockEntries];
  float log_weight[kBlockEntries];
  int32_t id[kBlockEntries];  ///< position in the sequence, the index into a bias row
  /// Where rows have log weights of their own: those of row 0, entry by entry; those of row r lie
  /// r * row_weight_stride further. Null otherwise.
  const float* row_weight = nullptr;
  int64_t row_weight_stride = 0;
};

/// Reads a segment list from its first entry to its last. O(1) per entry.
template <class Element>
class EntryCursor {
  using Segment = SegmentOf<Element>;

 public:
  EntryCursor(const Segment* segments, int64_t segment_count)
      : segment_(segments), last_(segments + segment_count) {}

  /// Fills `block` with the next entries; false when there are none.
  bool next(EntryBlock<Element>& block) {
    block.count = 0;
    block.weighted = false;
    block.consecutive = nullptr;
    block.row_weight = nullptr;
    while (segment_ != last_ && block.count < kBlockEntries) {
      const Segment& segment = *segment_;
      if (run_ < segment.run_count) {
        take_run(segment, block);
      } else if (entry_ < segment.id_count) {
        if (segment.log_weight_stride != 0 && block.count > 0)
          break;  // such entries have blocks of their own
        take_ids(segment, block);
        if (segment.log_weight_stride != 0) break;
      } else {
        ++segment_;
        run_ = 0;
        entry_ = 0;
      }
    }
    return block.count > 0;
  }

 private:
  static void append(const Segment& segment, int32_t id, float log_weight, EntryBlock<Element>& block) {
    block.key[block.count] = segment.key + id * segment.key_stride;
    block.value[block.count] = segment.value + id * segment.value_stride;
    block.log_weight[block.count] = log_weight;
    block.id[block.count] = id;
    ++block.count;
  }

  void take_run(const Segment& segment, EntryBlock<Element>& block) {
    const Range run = segment.runs[run_];
    const int64_t taken = std::clamp<int64_t>(run.size() - entry_, 0, kBlockEntries - block.count);
    for (int64_t i = 0; i < taken; ++i) {
      append(segment, static_cast<int32_t>(run.begin + entry_ + i), 0, block);
    }
    if (taken > 0) block.consecutive = taken == block.count ? &segment : nullptr;
    entry_ += taken;
    if (entry_ >= run.size()) {
      ++run_;
      entry_ = 0;
    }
  }

  void take_ids(const Segment& segment, EntryBlock<Element>& block) {
    const int64_t taken = std::min(segment.id_count - entry_, kBlockEntries - block.count);
    const bool by_row = segment.log_weight_stride != 0;
    if (by_row) {
      block.row_weight = segment.log_weight + entry_;
      block.row_weight_stride = segment.log_weight_stride;
    }
    for (int64_t i = entry_; i < entry_ + taken; ++i) {
      const float log_weight = segment.log_weight == nullptr || by_row ? 0.0F : segment.log_weight[i];
      append(segment, segment.ids[i], log_weight, block);
      block.weighted |= log_weight != 0;
    }
    block.consecutive = nullptr;
    entry_ += taken;
  }

  const Segment* segment_;
  const Segment* last_;
  int64_t run_ = 0;    ///< runs of *segment_ that are finished
  int64_t entry_ = 0;  ///< entries taken from the current run, or from the ids once the runs are finished
};

}  // namespace attnlab::kernels
