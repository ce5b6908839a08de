#include "core/attention/mask_message.hpp"

#include <algorithm>
#include <span>

#include "core/io/wire.hpp"

namespace attnlab::attention {
namespace {

/// Head of a tile's rows in a message.
struct TileHeader {
  int64_t batch = 0, query = 0, queries = 0;
  uint32_t pipeline = 0, dense = 0;
};

/// Head of a list that some rows of one query share.
struct ListHeader {
  int64_t rows = 0, runs = 0, ids = 0, sampled = 0;
};

/// The part of ascending ids that lies in [begin, end): first index and count.
std::pair<size_t, size_t> part_of(const std::vector<int32_t>& ids, int64_t begin, int64_t end) {
  const auto first = std::lower_bound(ids.begin(), ids.end(), begin);
  const auto last = std::lower_bound(first, ids.end(), end);
  return {static_cast<size_t>(first - ids.begin()), static_cast<size_t>(last - first)};
}

void write_ids(const std::vector<int32_t>& ids, std::pair<size_t, size_t> part, int64_t begin,
               std::vector<int32_t>& scratch, io::WireWriter& out) {
  scratch.resize(part.second);
  std::transform(ids.begin() + static_cast<int64_t>(part.first),
                 ids.begin() + static_cast<int64_t>(part.first + part.second), scratch.begin(),
                 [&](int32_t id) { return static_cast<int32_t>(id - begin); });
  out.values(scratch);
}

void write_list(const RowList& list, int64_t rows, int64_t begin, int64_t end, io::WireWriter& out) {
  std::vector<Range> runs;
  for (const Range& run : list.runs) {
    const int64_t from = std::max<int64_t>(run.begin, begin), to = std::min<int64_t>(run.end, end);
    if (from < to) runs.push_back({static_cast<int32_t>(from - begin), static_cast<int32_t>(to - begin)});
  }
  const auto ids = part_of(list.ids, begin, end), sampled = part_of(list.sampled, begin, end);
  out.value(ListHeader{rows, static_cast<int64_t>(runs.size()), static_cast<int64_t>(ids.second),
                       static_cast<int64_t>(sampled.second)});
  out.values(runs);
  std::vector<int32_t> scratch;
  write_ids(list.ids, ids, begin, scratch, out);
  write_ids(list.sampled, sampled, begin, scratch, out);
  out.values(std::span<const float>(list.log_weight).subspan(sampled.first, sampled.second));
}

}  // namespace

void append_masks(const TileOutcome& outcome, const std::vector<int64_t>& bounds,
                  std::vector<std::string>& messages) {
  const Tile& tile = *outcome.tile;
  const TileIndex& index = tile.index();
  const bool dense = outcome.selection == nullptr;
  for (size_t i = 0; i + 1 < bounds.size(); ++i) {
    io::WireWriter out;
    out.value(TileHeader{index.batch, index.query_begin, index.query_count,
                         static_cast<uint32_t>(outcome.pipeline), dense ? 1U : 0U});
    for (int64_t row = 0; row < tile.rows() && !dense;) {
      const int64_t query_end = (row / tile.group() + 1) * tile.group();
      const int64_t end = std::min(outcome.selection->span_end(row), query_end);
      write_list(outcome.selection->list(row), end - row, bounds[i], bounds[i + 1], out);
      row = end;
    }
    messages[i] += out.bytes();
  }
}

std::vector<HeadMasks> read_masks(const std::string& message, const HeadRows& rows, size_t pipelines) {
  std::vector<HeadMasks> masks(pipelines);
  for (auto& mask : masks) {
    mask.lists.reset(rows.size());
    mask.dense.assign(static_cast<size_t>(rows.batch * rows.queries), 0);
  }
  io::WireReader in(message);
  while (!in.at_end()) {
    const auto tile = in.value<TileHeader>();
    HeadMasks& mask = masks.at(tile.pipeline);
    if (tile.dense != 0) {
      std::fill_n(mask.dense.begin() + rows.line(tile.batch, tile.query), tile.queries, uint8_t{1});
      continue;
    }
    const int64_t end = rows.row(tile.batch, tile.query) + tile.queries * rows.group;
    for (int64_t row = rows.row(tile.batch, tile.query); row < end;) {
      const auto header = in.value<ListHeader>();
      RowList& list = mask.lists.assign(row, header.rows);
      in.values(list.runs, static_cast<size_t>(header.runs));
      in.values(list.ids, static_cast<size_t>(header.ids));
      in.values(list.sampled, static_cast<size_t>(header.sampled));
      in.values(list.log_weight, static_cast<size_t>(header.sampled));
      row += header.rows;
    }
  }
  return masks;
}

}  // namespace attnlab::attention
