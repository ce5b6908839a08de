#include "core/measure/picture.hpp"

#include <algorithm>

namespace attnlab::measure {

PictureCounter::PictureCounter(int64_t layer, int64_t head, int64_t queries, int64_t keys, int64_t size)
    : layer_(layer),
      head_(head),
      queries_(queries),
      keys_(keys),
      rows_(std::min(queries, size)),
      columns_(std::min(keys, size)),
      active_(static_cast<size_t>(rows_ * columns_)),
      visible_(static_cast<size_t>(rows_ * columns_)) {}

void PictureCounter::count(std::vector<std::atomic<int64_t>>& cells, int64_t query,
                           const kernels::Range& run) {
  const int64_t row = query * rows_ / queries_;
  int64_t key = run.begin;
  while (key < run.end) {
    const int64_t column = key * columns_ / keys_;
    // First key of the next block: the smallest key with key * columns / keys > column.
    const int64_t next = std::min<int64_t>(run.end, ((column + 1) * keys_ + columns_ - 1) / columns_);
    cells[static_cast<size_t>(row * columns_ + column)].fetch_add(next - key, std::memory_order_relaxed);
    key = next;
  }
}

void PictureCounter::add(const attention::TileOutcome& outcome, int64_t row, int64_t query) {
  std::vector<kernels::Range> visible;
  outcome.tile->visible_runs(row, visible);
  for (const auto& run : visible) count(visible_, query, run);
  attention::RowList dense;
  const attention::RowList& list = attention::active_list(outcome, row, dense);
  for (const auto& run : list.runs) count(active_, query, run);
  for (int32_t key : list.ids) count(active_, query, {key, key + 1});
  for (int32_t key : list.sampled) count(active_, query, {key, key + 1});
}

Picture PictureCounter::picture() const {
  Picture picture{layer_, head_, queries_, keys_, rows_, columns_, {}};
  for (size_t i = 0; i < active_.size(); ++i) {
    const int64_t visible = visible_[i];
    picture.density.push_back(
        visible == 0 ? -1.0f
                     : static_cast<float>(static_cast<double>(active_[i]) / static_cast<double>(visible)));
  }
  return picture;
}

}  // namespace attnlab::measure
