// A block of query rows of one (batch, KV head): visibility, exact logits, and the view of it that plugins
// get.
#pragma once

#include <attnlab/abi.h>

#include <atomic>
#include <memory>
#include <vector>

#include "core/config/run_plan.hpp"
#include "core/data/problem.hpp"
#include "core/kernels/table.hpp"

namespace attnlab::attention {

/// Resolved numbers of a run that every row needs.
struct AttentionOptions {
  bool causal = true;
  float scale = 1;
  config::EmptyRow on_empty_row = config::EmptyRow::error;
  uint64_t seed = 0;
};

/// Which rows a tile holds.
struct TileIndex {
  int64_t batch = 0;
  int64_t kv_head = 0;
  int64_t query_begin = 0;  ///< index in [0, Sq)
  int64_t query_count = 0;
};

/// Scratch memory in 64-byte aligned blocks that is kept between tiles.
class Arena {
 public:
  /// Uninitialised bytes, valid until `clear`.
  void* allocate(uint64_t bytes);
  void clear();
  uint64_t capacity() const;

 private:
  struct Block {
    std::unique_ptr<std::byte, void (*)(std::byte*)> memory;
    uint64_t size = 0, used = 0;
  };
  std::vector<Block> blocks_;
};

/// One worker's tile; `load` moves it to another block of rows and keeps the memory. Not thread-safe.
/// Row r is query r / group, head r % group of the KV head's query heads. Of a problem that is a part, keys
/// and their visibility are numbered from the part's first; heads, queries and positions are those of the
/// layer.
class Tile {
 public:
  /// Gathers query rows and visibility. The problem must outlive the tile's use.
  void load(const data::LayerProblem& problem, const data::Geometry& geometry,
            const AttentionOptions& options, const kernels::KernelTable& kernels, const TileIndex& index);

  const TileIndex& index() const { return index_; }
  const data::LayerProblem& problem() const { return *problem_; }
  const AttentionOptions& options() const { return options_; }
  const kernels::KernelTable& kernels() const { return *kernels_; }
  int64_t rows() const { return index_.query_count * group_; }
  int64_t group() const { return group_; }
  int64_t key_count() const { return key_count_; }
  int64_t head_dim() const { return head_dim_; }
  int64_t value_dim() const { return value_dim_; }
  /// Query head and query index of a row.
  int64_t head_of(int64_t row) const { return index_.kv_head * group_ + row % group_; }
  int64_t query_of(int64_t row) const { return index_.query_begin + row / group_; }
  int64_t position(int64_t row) const { return position_[at(row)]; }
  int64_t visible_end(int64_t row) const { return visible_end_[at(row)]; }
  int64_t visible_count(int64_t row) const { return visible_count_[at(row)]; }
  const uint64_t* hidden(int64_t row) const { return hidden_.empty() ? nullptr : hidden_[at(row)]; }
  /// The visible keys of a row as ascending runs.
  void visible_runs(int64_t row, std::vector<kernels::Range>& runs) const;
  /// Rows of a query see the same keys.
  bool shared_visibility() const { return shared_visibility_; }

  const float* query() const { return query_.data(); }  ///< [rows, head_dim]
  const float* key() const { return key_; }
  const float* value() const { return value_; }
  int64_t key_stride() const { return key_stride_; }
  int64_t value_stride() const { return value_stride_; }
  const float* const* bias() const { return bias_.empty() ? nullptr : bias_.data(); }
  const float* sink_logit() const { return sink_logit_.empty() ? nullptr : sink_logit_.data(); }
  const int64_t* visible_ends() const { return visible_end_.data(); }

  /// Exact logits [rows, key_count], -inf where not visible; computed on first use.
  const float* logits();
  int64_t logits_stride() const { return logits_stride_; }
  bool has_logits() const { return logits_ready_; }
  /// Search cost since the last `view`: bytes that its plugin read, each query for itself.
  uint64_t read_bytes() const { return read_->bytes; }
  /// Exact logits of some keys of one row, by a dot product each.
  void gather_logits(int64_t row, int64_t count, const int32_t* ids, float* out) const;
  /// Seconds spent on logits since `load`.
  double logits_seconds() const { return logits_seconds_; }

  /// The plugin's view for one stage. Valid until the next call.
  const attnlab_tile& view(uint64_t rng_key, const attnlab_columns* columns, void* state);
  /// Frees the scratch memory that plugins took.
  void clear_scratch() { scratch_.clear(); }
  /// Bytes of memory held, for the report.
  uint64_t bytes() const;

 private:
  static size_t at(int64_t row) { return static_cast<size_t>(row); }
  void load_visibility(const data::Geometry& geometry);
  void count_logits();

  const data::LayerProblem* problem_ = nullptr;
  const kernels::KernelTable* kernels_ = nullptr;
  AttentionOptions options_;
  TileIndex index_;
  int64_t group_ = 1, key_count_ = 0, head_dim_ = 0, value_dim_ = 0;
  std::vector<float> query_, sink_logit_;
  const float* key_ = nullptr;
  const float* value_ = nullptr;
  int64_t key_stride_ = 0, value_stride_ = 0;
  bool shared_visibility_ = true;
  std::vector<int64_t> position_, visible_end_, visible_count_;
  std::vector<uint64_t> rng_stream_, hidden_words_;
  std::vector<const uint64_t*> hidden_;
  std::vector<const float*> bias_;
  std::vector<float> logits_;
  int64_t logits_stride_ = 0;
  bool logits_ready_ = false;
  double logits_seconds_ = 0;
  struct ReadCount {
    std::atomic<uint64_t> bytes{0};
    std::atomic<bool> logits{false};  ///< the exact logits are counted
  };
  std::unique_ptr<ReadCount> read_ = std::make_unique<ReadCount>();
  Arena scratch_;
  attnlab_tile view_{};
};

}  // namespace attnlab::attention
