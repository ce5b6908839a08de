// Attention of a KV head's rows over one shard of the keys, and all shards put together.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/attention/mask_message.hpp"
#include "core/attention/merge.hpp"
#include "core/measure/cost.hpp"
#include "core/measure/row_metrics.hpp"

namespace attnlab::measure {

/// Rows in the order of attention::HeadRows.
struct PartialRows {
  struct OfPipeline {
    bool exact = false;            ///< dense attention: `out` and `lse` are the exact ones, and empty
    std::vector<float> out, lse;   ///< [rows, value_dim], [rows]
    std::vector<WeightSums> sums;  ///< [rows], relative to exp(exact_lse)
    std::vector<int32_t> active;   ///< [rows] keys
  };
  std::vector<float> exact_out, exact_lse;  ///< [rows, value_dim], [rows]; -inf where no key is visible
  std::vector<int32_t> visible;             ///< [rows] keys
  std::vector<OfPipeline> pipelines;

  std::string message() const;
  static PartialRows read(const std::string& message, const attention::HeadRows& rows, int64_t value_dim);
};

/// Attends rows of KV heads over the keys that a part holds. [main thread of its rank]
class ShardEngine {
 public:
  ShardEngine(const attention::Execution& execution, size_t pipelines);
  ~ShardEngine();

  /// `problem`: a part without learned sinks. `masks`: of each pipeline, numbered from the part's first key,
  /// or none: all are dense; their lists are used up. Adds to `cost` what is attended to, of pipeline 0 also
  /// what dense attention reads.
  PartialRows attend(const data::LayerProblem& problem, const data::Geometry& geometry,
                     const attention::AttentionOptions& options, int64_t kv_head,
                     const attention::HeadRows& rows, std::vector<attention::HeadMasks>& masks,
                     CostCounter& cost);
  /// Seconds summed over threads.
  const attention::Clocks& clocks() const { return clocks_; }
  uint64_t scratch_bytes() const;

 private:
  struct Worker;
  struct Call;
  void attend_tile(Worker& worker, const Call& call, const attention::TileIndex& index);
  void attend_pipeline(Worker& worker, const Call& call, size_t pipeline, int64_t row);

  attention::Execution execution_;
  size_t pipelines_;
  std::vector<std::unique_ptr<Worker>> workers_;
  attention::Clocks clocks_;
};

/// Puts the rows of all shards together, one row after another, in the order of the shards. [one thread]
class RowMerger {
 public:
  /// `shards` must outlive it.
  explicit RowMerger(const std::vector<PartialRows>& shards);

  /// Goes to row `row` and merges dense attention on it. O(shards value_dim).
  void start(int64_t row, std::optional<double> sink_logit);
  /// Merges the row of a pipeline, and measures it. O(shards value_dim).
  RowMetrics merge(size_t pipeline);

  const std::vector<float>& exact_out() const { return exact_out_; }  ///< [value_dim]
  const std::vector<float>& out() const { return out_; }              ///< [value_dim], of the last merge

 private:
  double merge_row(const std::vector<attention::PartialRow>& parts, std::vector<float>& out);

  const std::vector<PartialRows>& shards_;
  size_t row_ = 0;
  std::optional<double> sink_logit_;
  std::vector<attention::PartialRow> exact_, own_;  ///< [shards]
  std::vector<double> sum_;                         ///< [value_dim]
  std::vector<float> exact_out_, out_;
  double exact_lse_ = 0;
  double mass_ = 0;  ///< log-sum-exp of all logits, without the sink
};

}  // namespace attnlab::measure
