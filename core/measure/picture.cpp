#include "core/measure/picture.hpp"

#include <algorithm>
#include <atomic>

namespace attnlab::measure {

PictureCounter::PictureCounter(int64_t layer, int64_t head, int64_t first_query, int64_t queries,
                               int64_t keys, size_t pipelines, int64_t side)
    : plane_{layer, head, first_query, queries, keys, 0, 0, {}} {
  // What one side leaves unused serves the other: one query may show each of many keys.
  const int64_t budget = std::min(picture_blocks, side * side);
  plane_.columns = std::min(keys, budget / std::clamp<int64_t>(queries, 1, side));
  plane_.rows = std::min(queries, budget / std::max<int64_t>(plane_.columns, 1));
  plane_.visible.resize(static_cast<size_t>(plane_.rows * plane_.columns));
  active_.assign(pipelines, plane_.visible);
}

void PictureCounter::count(std::vector<uint32_t>& blocks, int64_t query, const kernels::Range& run) {
  const int64_t columns = plane_.columns, keys = plane_.keys;
  const int64_t row = query * plane_.rows / plane_.queries;
  int64_t key = run.begin;
  while (key < run.end) {
    const int64_t column = key * columns / keys;
    // First key of the next block: the smallest key with key * columns / keys > column.
    const int64_t next = std::min<int64_t>(run.end, ((column + 1) * keys + columns - 1) / columns);
    std::atomic_ref<uint32_t>(blocks[static_cast<size_t>(row * columns + column)])
        .fetch_add(static_cast<uint32_t>(next - key), std::memory_order_relaxed);
    key = next;
  }
}

void PictureCounter::add(const attention::TileOutcome& outcome, int64_t row, int64_t query) {
  if (outcome.pipeline == 0) {
    std::vector<kernels::Range> visible;
    outcome.tile->visible_runs(row, visible);
    for (const auto& run : visible) count(plane_.visible, query, run);
  }
  std::vector<uint32_t>& active = active_[outcome.pipeline];
  attention::RowList dense;
  const attention::RowList& list = attention::active_list(outcome, row, dense);
  for (const auto& run : list.runs) count(active, query, run);
  for (int32_t key : list.ids) count(active, query, {key, key + 1});
  for (int32_t key : list.sampled) count(active, query, {key, key + 1});
}

}  // namespace attnlab::measure
