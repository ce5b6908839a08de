// What the stages selected for the rows of a KV head, cut to ranges of keys, as messages between ranks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/attention/session.hpp"

namespace attnlab::attention {

/// Rows of one KV head in the order (sequence, query, head of the group); queries count from `query_begin`.
struct HeadRows {
  int64_t batch = 0, query_begin = 0, queries = 0, group = 1;

  int64_t size() const { return batch * queries * group; }
  /// The first row of a query.
  int64_t row(int64_t b, int64_t query) const { return (b * queries + query - query_begin) * group; }
  /// Number of the query among those of all sequences.
  int64_t line(int64_t b, int64_t query) const { return row(b, query) / group; }
};

/// What one pipeline selected of a range of keys.
struct HeadMasks {
  Selection lists;             ///< of `size` rows, keys numbered from the range's first
  std::vector<uint8_t> dense;  ///< by line, 1: dense attention, and the lists say nothing
};

/// Appends an outcome's rows to one message per range [bounds[i], bounds[i + 1]). O(ranges x runs and lists +
/// active keys).
void append_masks(const TileOutcome& outcome, const std::vector<int64_t>& bounds,
                  std::vector<std::string>& messages);

/// Reads a message of `append_masks` into the masks of each pipeline; rows that it does not hold select
/// nothing.
std::vector<HeadMasks> read_masks(const std::string& message, const HeadRows& rows, size_t pipelines);

}  // namespace attnlab::attention
