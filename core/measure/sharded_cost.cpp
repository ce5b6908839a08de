#include "core/measure/sharded_cost.hpp"

#include <cmath>

namespace attnlab::measure {

ShardedCost sharded_cost(const ShardedProblem& p, const RankRates& rates) {
  constexpr double number = sizeof(float);
  const auto ranks = static_cast<double>(p.ranks), heads = static_cast<double>(p.kv_heads);
  const auto keys = static_cast<double>(p.keys);
  const double queries = static_cast<double>(p.batch) * static_cast<double>(p.queries);
  const double rows = queries * static_cast<double>(p.query_heads);
  const double key_bytes = static_cast<double>(p.head_dim) * number;
  const double token_bytes = key_bytes + static_cast<double>(p.value_dim) * number;
  const double others = (ranks - 1) / ranks;
  // A rank selects for one head a round.
  const double rounds = std::ceil(heads / ranks);

  ShardedCost cost;
  cost.shard_bytes = static_cast<double>(p.batch) * heads * keys / ranks * token_bytes;
  cost.head_bytes = static_cast<double>(p.batch) * keys * token_bytes;
  cost.mask_bytes = rounds * rows / heads * p.listed * keys * static_cast<double>(p.id_bytes) * others;
  // Output and denominator of dense attention and of the pipeline; counts of keys; three sums in double.
  const double row_bytes =
      2 * (static_cast<double>(p.value_dim) + 1) * number + 2 * number + 3 * sizeof(double);
  cost.partial_bytes = rows * row_bytes;
  cost.select_seconds = p.listed > 0 ? rounds * queries * keys * key_bytes / rates.select_bytes : 0;
  cost.attend_seconds = queries * heads * keys / ranks * token_bytes / rates.attend_bytes;
  const double messages = p.ranks > 1 ? rounds * (ranks - 1) + heads : 0;
  cost.send_seconds =
      messages * rates.latency + (cost.mask_bytes + cost.partial_bytes * (ranks - 1)) / rates.network_bytes;
  return cost;
}

}  // namespace attnlab::measure
