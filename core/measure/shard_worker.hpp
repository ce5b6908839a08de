// One rank's work in a sharded run.
#pragma once

#include <functional>
#include <mutex>

#include "core/measure/partial_rows.hpp"
#include "core/measure/sharded.hpp"

namespace attnlab::measure {

/// Selects for this rank's KV heads, sends the masks to where the keys are, attends over this rank's keys and
/// sends the partial rows to rank 0. Heads go in rounds of as many as there are ranks. [one thread]
class ShardWorker {
 public:
  ShardWorker(const config::RunPlan& plan, const Pipelines& pipelines, const data::Source& source,
              const ExperimentOptions& options, Exchange& exchange);

  /// `merge` is called after each round with the places of its heads in `sharding().kv_heads`.
  using Merge = std::function<void(int layer, size_t begin, size_t end)>;
  void run(const Merge& merge);

  const Sharding& sharding() const { return sharding_; }
  attention::HeadRows rows() const;
  /// The tag of the messages about a head of the layer that runs.
  uint64_t tag(size_t index) const { return layer_index_ * sharding_.kv_heads.size() + index; }
  /// Of the layer that runs: this rank's keys, and the learned sinks, which take part once.
  const data::LayerProblem& shard() const { return shard_; }
  const std::vector<float>& sink_logit() const { return sink_logit_; }
  /// False: no stage runs anywhere, and nothing is selected.
  bool selects() const { return selects_; }
  RankRecord& record() { return record_; }
  /// Costs, clocks and the record, for rank 0.
  std::string summary() const;

 private:
  data::LayerProblem load(int layer, const data::Part& part);
  void select(int layer, size_t index);
  void attend(size_t index);

  const config::RunPlan& plan_;
  const Pipelines& pipelines_;
  const data::Source& source_;
  const ExperimentOptions& options_;
  Exchange& exchange_;
  Sharding sharding_;
  attention::AttentionOptions attention_;
  int64_t begin_ = 0, count_ = 0;  ///< measured queries
  bool selects_ = false, feedback_ = false;
  size_t layer_index_ = 0;
  data::LayerProblem shard_;
  std::vector<float> sink_logit_;
  attention::Engine selector_;
  ShardEngine engine_;
  CostCounter cost_;
  std::vector<uint64_t> state_bytes_;  ///< by pipeline
  RankRecord record_;
};

/// What rank 0 makes of the summaries.
struct RunTotals {
  explicit RunTotals(size_t pipelines) : cost(pipelines), state_bytes(pipelines) {}
  void add(const std::string& summary);

  CostCounter cost;
  attention::Clocks clocks;
  std::vector<uint64_t> state_bytes;
  uint64_t scratch_bytes = 0;
  std::vector<RankRecord> ranks;
};

}  // namespace attnlab::measure
