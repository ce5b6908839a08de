// A run whose keys and values are divided among ranks: one problem may exceed one machine's memory.
#pragma once

#include <vector>

#include "core/measure/exchange.hpp"
#include "core/measure/experiment.hpp"

namespace attnlab::measure {

/// How a run is divided: rank r holds keys [bound(r), bound(r + 1)) of every measured KV head, and its stages
/// select for the heads r, r + ranks, ... of `kv_heads`.
struct Sharding {
  Sharding(const config::RunPlan& plan, const data::Geometry& geometry, int ranks);

  int ranks = 1;
  int64_t keys = 0;
  std::vector<int64_t> kv_heads;  ///< that are measured, ascending

  int64_t bound(int rank) const { return rank * keys / ranks; }
  std::vector<int64_t> bounds() const;
  int owner(size_t index) const { return static_cast<int>(index % static_cast<size_t>(ranks)); }
};

/// What one rank held, said and did. Bytes are the most at any time, but for those sent.
struct RankRecord {
  int rank = 0;
  int64_t keys = 0;          ///< of its shard
  uint64_t shard_bytes = 0;  ///< keys and values of its shard, and the measured queries, of a layer
  uint64_t head_bytes = 0;   ///< keys, values and queries of the whole head that its stages select for
  uint64_t index_bytes = 0;  ///< what the stages keep of that head
  uint64_t mask_bytes = 0;   ///< messages of masks that wait to be attended to, of one round
  uint64_t sent_bytes = 0;   ///< to other ranks
  uint64_t sent_mask_bytes = 0, sent_partial_bytes = 0;  ///< of these: masks, partial rows
  uint64_t peak_resident_bytes = 0;                      ///< of the process
  double load_seconds = 0;
  double select_seconds = 0, attend_seconds = 0, merge_seconds = 0;
  double wait_seconds = 0;  ///< for messages
};
/// Bytes, as `result.json` has them, and seconds, as `time.json` has them.
io::Json ranks_json(const std::vector<RankRecord>& ranks);
io::Json rank_times_json(const std::vector<RankRecord>& ranks);

struct ShardedRun {
  RunRecord run;  ///< without pictures; figures that no rank can know alone say that they are unknown
  std::vector<RankRecord> ranks;
};

/// Throws UserError naming what a sharded run cannot do: planes of masks and weights, the reference.
void check_sharded(const ExperimentOptions& options);

/// Rank 0's part, inside `exchange.lead`. The masks are those of run_experiment bit for bit; outputs and
/// figures differ by rounding, and for a given number of ranks by nothing.
ShardedRun run_sharded(const config::RunPlan& plan, const Pipelines& pipelines, const data::Source& source,
                       const ExperimentOptions& options, Exchange& exchange);

/// The other ranks' part, inside `exchange.follow`.
void serve_shards(const config::RunPlan& plan, const Pipelines& pipelines, const data::Source& source,
                  const ExperimentOptions& options, Exchange& exchange);

}  // namespace attnlab::measure
