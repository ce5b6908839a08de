#include "core/attention/row_writer.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <tuple>

namespace attnlab::attention {
namespace {

RowWriter& self(void* context) {
  return *static_cast<RowWriter*>(context);
}

}  // namespace

void RowWriter::sort_together(std::span<int32_t> ids, std::span<float> weights) {
  sorted_.clear();
  for (size_t i = 0; i < ids.size(); ++i) sorted_.emplace_back(ids[i], weights[i]);
  std::sort(sorted_.begin(), sorted_.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (size_t i = 0; i < ids.size(); ++i) std::tie(ids[i], weights[i]) = sorted_[i];
}

void RowWriter::begin(const Tile& tile, bool may_sample) {
  tile_ = &tile;
  may_sample_ = may_sample;
  violation_.clear();
  entries_.clear();
  ranges_.clear();
  ids_.clear();
  log_weight_.clear();
  reserved_ = false;
  dense_rows_ = 0;
  table_ = {};
  table_.struct_size = sizeof table_;
  table_.context = this;
  table_.ranges = [](void* c, int64_t row, int64_t rows, int64_t n, const attnlab_range* r) {
    return self(c).ranges(row, rows, n, r);
  };
  table_.reserve = [](void* c, int64_t row, int64_t rows, int64_t n, int32_t weighted, int32_t** ids,
                      float** log_weight) {
    return self(c).reserve(row, rows, n, weighted != 0, ids, log_weight);
  };
  table_.commit = [](void* c, int64_t n, int32_t flags) { return self(c).commit(n, flags); };
  table_.pages = [](void* c, int64_t row, int64_t rows, int64_t page, int64_t n, const int32_t* pages) {
    return self(c).pages(row, rows, page, n, pages);
  };
  table_.full = [](void* c, int64_t row, int64_t rows) { return self(c).full(row, rows); };
  table_.dense = [](void* c, int64_t row, int64_t rows, float** p) { return self(c).dense(row, rows, p); };
}

attnlab_status RowWriter::broken(std::string rule) {
  if (violation_.empty()) violation_ = std::move(rule);
  return ATTNLAB_CONTRACT;
}

attnlab_status RowWriter::open(int64_t row, int64_t row_count) {
  close_dense();
  if (!violation_.empty()) return ATTNLAB_CONTRACT;
  if (reserved_) return broken("it wrote again before it committed reserved ids");
  if (row < 0 || row_count < 1 || row > tile_->rows() - row_count) {
    return broken(
        fmt::format("it wrote {} rows from row {} on of a tile of {} rows", row_count, row, tile_->rows()));
  }
  return ATTNLAB_OK;
}

attnlab_status RowWriter::ranges(int64_t row, int64_t row_count, int64_t count, const attnlab_range* ranges) {
  if (attnlab_status status = open(row, row_count); status != ATTNLAB_OK) return status;
  if (count < 0) return broken(fmt::format("it wrote {} ranges", count));
  entries_.push_back({Entry::Kind::ranges, row, row_count, ranges_.size(), static_cast<size_t>(count)});
  for (int64_t i = 0; i < count; ++i) {
    if (ranges[i].begin < 0 || ranges[i].end < ranges[i].begin ||
        ranges[i].end > tile_->problem().key.tokens) {
      return broken(fmt::format("it wrote the range [{}, {}) for row {} of {} keys", ranges[i].begin,
                                ranges[i].end, row, tile_->problem().key.tokens));
    }
    ranges_.push_back({ranges[i].begin, ranges[i].end});
  }
  return ATTNLAB_OK;
}

attnlab_status RowWriter::full(int64_t row, int64_t row_count) {
  const attnlab_range all{0, static_cast<int32_t>(tile_->key_count())};
  return ranges(row, row_count, 1, &all);
}

attnlab_status RowWriter::reserve(int64_t row, int64_t row_count, int64_t count, bool weighted, int32_t** ids,
                                  float** log_weight) {
  if (attnlab_status status = open(row, row_count); status != ATTNLAB_OK) return status;
  if (count < 0 || count > tile_->problem().key.tokens) {
    return broken(fmt::format("it reserved {} ids of {} keys", count, tile_->problem().key.tokens));
  }
  if (weighted && !may_sample_) {
    return broken("it emits sampled keys but did not declare that it samples (Description::samples)");
  }
  entries_.push_back({weighted ? Entry::Kind::weighted : Entry::Kind::ids, row, row_count, ids_.size(),
                      static_cast<size_t>(count)});
  ids_.resize(ids_.size() + static_cast<size_t>(count));
  log_weight_.resize(ids_.size());
  *ids = ids_.data() + entries_.back().offset;
  if (weighted) *log_weight = log_weight_.data() + entries_.back().offset;
  reserved_ = true;
  return ATTNLAB_OK;
}

attnlab_status RowWriter::commit(int64_t count, int32_t flags) {
  if (!violation_.empty()) return ATTNLAB_CONTRACT;
  if (!reserved_) return broken("it committed ids that it had not reserved");
  Entry& entry = entries_.back();
  if (count < 0 || count > static_cast<int64_t>(entry.count)) {
    return broken(fmt::format("it committed {} of {} reserved ids", count, entry.count));
  }
  reserved_ = false;
  entry.count = static_cast<size_t>(count);
  ids_.resize(entry.offset + entry.count);
  log_weight_.resize(ids_.size());
  auto ids = std::span(ids_).subspan(entry.offset);
  auto weights = std::span(log_weight_).subspan(entry.offset);
  const bool weighted = entry.kind == Entry::Kind::weighted;
  if ((flags & ATTNLAB_UNSORTED) != 0) {
    sort_together(ids, weights);
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= tile_->problem().key.tokens) {
      return broken(fmt::format("it wrote key {} for row {} of {} keys", ids[i], entry.row,
                                tile_->problem().key.tokens));
    }
    if (i > 0 && ids[i] <= ids[i - 1]) {
      return broken(fmt::format(
          "it wrote key {} after key {} for row {}: ids ascend and are unique (commit_unsorted sorts them)",
          ids[i], ids[i - 1], entry.row));
    }
    if (weighted && !(weights[i] >= 0 && std::isfinite(weights[i]))) {
      return broken(
          fmt::format("it gave key {} of row {} the log weight {}: -log p is finite and not negative", ids[i],
                      entry.row, weights[i]));
    }
  }
  return ATTNLAB_OK;
}

attnlab_status RowWriter::pages(int64_t row, int64_t row_count, int64_t page_size, int64_t count,
                                const int32_t* pages) {
  const int64_t tokens = tile_->problem().key.tokens;
  if (page_size < 1 || page_size > INT32_MAX)
    return broken(fmt::format("it wrote pages of {} keys", page_size));
  written_.clear();
  for (int64_t i = 0; i < count; ++i) {
    const int64_t begin = pages[i] * page_size;
    if (pages[i] < 0 || begin >= tokens) {
      return broken(fmt::format("it wrote page {} (of {} keys) for row {} of {} keys", pages[i], page_size,
                                row, tokens));
    }
    written_.push_back(
        {static_cast<int32_t>(begin), static_cast<int32_t>(std::min(begin + page_size, tokens))});
  }
  return ranges(row, row_count, count, written_.data());
}

attnlab_status RowWriter::dense(int64_t row, int64_t row_count, float** probability) {
  if (attnlab_status status = open(row, row_count); status != ATTNLAB_OK) return status;
  dense_.assign(static_cast<size_t>(tile_->key_count()), 0);
  dense_row_ = row;
  dense_rows_ = row_count;
  *probability = dense_.data();
  return ATTNLAB_OK;
}

void RowWriter::close_dense() {
  if (dense_rows_ == 0) return;
  const int64_t row = dense_row_, row_count = dense_rows_;
  dense_rows_ = 0;
  int32_t* ids = nullptr;
  float* weights = nullptr;
  const bool sampled = std::any_of(dense_.begin(), dense_.end(), [](float p) { return p > 0 && p < 1; });
  const auto active = std::count_if(dense_.begin(), dense_.end(), [](float p) { return p != 0; });
  if (reserve(row, row_count, active, sampled, &ids, &weights) != ATTNLAB_OK) return;
  int64_t count = 0;
  for (size_t key = 0; key < dense_.size(); ++key) {
    if (dense_[key] == 0) continue;
    if (!(dense_[key] > 0 && dense_[key] <= 1)) {
      broken(fmt::format("it gave key {} of row {} the inclusion probability {}", key, row, dense_[key]));
      return;
    }
    ids[count] = static_cast<int32_t>(key);
    if (sampled) weights[count] = -std::log(dense_[key]);
    ++count;
  }
  commit(count, 0);
}

void RowWriter::collect(int64_t row, std::span<const size_t> entries, RowList& out) {
  out.clear();
  const int64_t end = tile_->visible_end(row);
  const uint64_t* hidden = tile_->hidden(row);
  auto visible = [&](int32_t key) { return key < end && !is_hidden(hidden, key); };
  size_t id_entries = 0;
  for (size_t index : entries) {
    const Entry& entry = entries_[index];
    if (entry.kind == Entry::Kind::ranges) {
      out.runs.insert(out.runs.end(), ranges_.begin() + static_cast<int64_t>(entry.offset),
                      ranges_.begin() + static_cast<int64_t>(entry.offset + entry.count));
      continue;
    }
    for (size_t i = entry.offset; i < entry.offset + entry.count; ++i) {
      if (!visible(ids_[i])) continue;
      // p = 1 is deterministic whoever says it.
      if (entry.kind == Entry::Kind::weighted && log_weight_[i] > 0) {
        out.sampled.push_back(ids_[i]);
        out.log_weight.push_back(log_weight_[i]);
      } else {
        out.ids.push_back(ids_[i]);
      }
    }
    ++id_entries;
  }
  normalise_runs(out.runs);
  clip_runs(out.runs, end, hidden);
  if (id_entries > 1) {
    std::sort(out.ids.begin(), out.ids.end());
    out.ids.erase(std::unique(out.ids.begin(), out.ids.end()), out.ids.end());
    sort_together(out.sampled, out.log_weight);
  }
}

void RowWriter::merge(const RowList& prior, Outcome outcome, RowList& out) {
  if (prior.evicted) keep_inside(prior.retained, emitted_, prior_runs_);
  switch (outcome) {
    case Outcome::adds:
      unite(emitted_, prior, out);
      return;
    case Outcome::refines:
      // Pruning replaces the deterministic keys; what was sampled belongs to the stage that drew it.
      sampled_prior_.clear();
      sampled_prior_.sampled = prior.sampled;
      sampled_prior_.log_weight = prior.log_weight;
      sampled_prior_.evicted = prior.evicted;
      sampled_prior_.retained = prior.retained;
      unite(emitted_, sampled_prior_, out);
      return;
    case Outcome::retains:
      out = prior;
      deterministic_runs(emitted_, emitted_runs_);
      deterministic_runs(prior, prior_runs_);
      unite_runs(emitted_runs_, prior_runs_, out.retained);
      out.evicted = true;
      return;
  }
}

void RowWriter::finish(const Selection& prior, Outcome outcome, Selection& out) {
  close_dense();
  if (reserved_) broken("it ended without committing reserved ids");
  if (!violation_.empty()) return;
  out.reset(tile_->rows());

  // Entries of each row: rows whose entries, prior list and visibility agree share one list.
  const auto rows = static_cast<size_t>(tile_->rows());
  if (entries_of_row_.size() < rows) entries_of_row_.resize(rows);
  for (size_t row = 0; row < rows; ++row) entries_of_row_[row].clear();
  for (size_t i = 0; i < entries_.size(); ++i) {
    for (int64_t row = entries_[i].row; row < entries_[i].row + entries_[i].row_count; ++row) {
      entries_of_row_[static_cast<size_t>(row)].push_back(i);
    }
  }
  const bool shared_visibility = tile_->shared_visibility();
  for (int64_t row = 0; row < tile_->rows(); ++row) {
    const auto& entries = entries_of_row_[static_cast<size_t>(row)];
    const bool same_query = row % tile_->group() != 0;
    if (same_query && shared_visibility && entries == entries_of_row_[static_cast<size_t>(row) - 1] &&
        prior.list_id(row) == prior.list_id(row - 1)) {
      out.share(row, 1, row - 1);
      continue;
    }
    collect(row, entries, emitted_);
    for (size_t i = 1; i < emitted_.sampled.size(); ++i) {
      if (emitted_.sampled[i] <= emitted_.sampled[i - 1]) {
        broken(fmt::format("it sampled key {} of row {} twice", emitted_.sampled[i], row));
        return;
      }
    }
    merge(prior.list(row), outcome, out.assign(row, 1));
  }
}

}  // namespace attnlab::attention
