// Collects what a masker writes for the rows of a tile, checks it and turns it into normal form.
#pragma once

#include <attnlab/abi.h>

#include <string>
#include <utility>
#include <vector>

#include "core/attention/selection.hpp"
#include "core/attention/tile.hpp"

namespace attnlab::attention {

/// One per worker; keeps its memory between tiles. The C table hands ids out in place.
class RowWriter {
 public:
  /// Starts a stage on a tile. `may_sample`: the method declared that it samples.
  void begin(const Tile& tile, bool may_sample);
  const attnlab_row_writer& table() const { return table_; }
  /// The first broken rule, or "".
  const std::string& violation() const { return violation_; }
  /// What becomes of the keys that the stage emitted for a row: they are added to those of earlier stages,
  /// replace the deterministic ones among them, or are what stays in the cache.
  enum class Outcome { adds, refines, retains };
  /// Writes each row's list.
  void finish(const Selection& prior, Outcome outcome, Selection& out);

  attnlab_status ranges(int64_t row, int64_t row_count, int64_t count, const attnlab_range* ranges);
  attnlab_status reserve(int64_t row, int64_t row_count, int64_t count, bool weighted, int32_t** ids,
                         float** log_weight);
  attnlab_status commit(int64_t count, int32_t flags);
  attnlab_status full(int64_t row, int64_t row_count);

 private:
  struct Entry {
    enum class Kind { ranges, ids, weighted } kind;
    int64_t row, row_count;
    size_t offset, count;  // into ranges_ or ids_ (and log_weight_)
  };
  attnlab_status pages(int64_t row, int64_t row_count, int64_t page_size, int64_t count,
                       const int32_t* pages);
  attnlab_status dense(int64_t row, int64_t row_count, float** probability);
  attnlab_status broken(std::string rule);
  attnlab_status open(int64_t row, int64_t row_count);
  void close_dense();
  /// Sorts ids and moves the weights with them.
  void sort_together(std::span<int32_t> ids, std::span<float> weights);
  void collect(int64_t row, std::span<const size_t> entries, RowList& out);
  void merge(const RowList& prior, Outcome outcome, RowList& out);

  const Tile* tile_ = nullptr;
  bool may_sample_ = false;
  attnlab_row_writer table_{};
  std::string violation_;
  std::vector<Entry> entries_;
  std::vector<Range> ranges_;
  std::vector<int32_t> ids_;
  std::vector<float> log_weight_;
  bool reserved_ = false;
  std::vector<float> dense_;
  int64_t dense_row_ = 0, dense_rows_ = 0;  // rows of an open dense row
  RowList emitted_, sampled_prior_;
  std::vector<Range> emitted_runs_, prior_runs_;
  std::vector<std::vector<size_t>> entries_of_row_;
  std::vector<attnlab_range> written_;
  std::vector<std::pair<int32_t, float>> sorted_;
};

}  // namespace attnlab::attention
