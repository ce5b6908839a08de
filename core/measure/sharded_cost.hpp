// What a run over ranks takes, before it is run.
#pragma once

#include <cstdint>

namespace attnlab::measure {

/// One layer of a run in which one pipeline selects, beside dense attention. float32.
struct ShardedProblem {
  int64_t ranks = 1;
  int64_t batch = 1, query_heads = 1, kv_heads = 1;
  int64_t queries = 1, keys = 1;  ///< measured queries, all keys
  int64_t head_dim = 1, value_dim = 1;
  double listed = 0;     ///< share of the keys that a mask names one by one; runs cost nothing to speak of
  int64_t id_bytes = 4;  ///< 8 with an inclusion probability
};

/// What one rank reads in a second of its own keys and values, each query of a KV head for itself, and what
/// its network does.
struct RankRates {
  double select_bytes = 1;  ///< of the whole head's keys that a stage scores
  double attend_bytes = 1;  ///< of the shard's keys and values, for dense attention, pipeline and figures
  double network_bytes = 1;
  double latency = 0;  ///< seconds a message
};

struct ShardedCost {
  /// Held by a rank, but for the queries.
  double shard_bytes = 0, head_bytes = 0;
  double mask_bytes = 0;     ///< that a rank sends which selects in every round
  double partial_bytes = 0;  ///< that a rank sends to rank 0
  /// Of the slowest rank; rank 0 takes all partial rows.
  double select_seconds = 0, attend_seconds = 0, send_seconds = 0;
  double seconds() const { return select_seconds + attend_seconds + send_seconds; }
};

/// docs/design/long_context.md has the formulas.
ShardedCost sharded_cost(const ShardedProblem& problem, const RankRates& rates);

}  // namespace attnlab::measure
