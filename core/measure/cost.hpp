// What pipelines cost in memory and memory traffic, whatever the clock says.
#pragma once

#include <atomic>
#include <vector>

#include "core/attention/session.hpp"
#include "core/measure/record.hpp"

namespace attnlab::measure {

/// What a pipeline's costs are counted from.
struct CostSums {
  uint64_t queries = 0, attended_bytes = 0, dense_bytes = 0;
  std::vector<attention::IndexBytes> index;  ///< by stage
  std::vector<int64_t> tokens, sequences;    ///< by stage: of all KV heads that have state

  CostSums& operator+=(const CostSums& other);
};

/// Counts over the tiles and layers of a run. All sums are of integers: they depend neither on tiles nor on
/// threads.
class CostCounter {
 public:
  explicit CostCounter(size_t pipelines) : totals_(pipelines) {}

  /// The keys that a pipeline attended to on a tile. [any thread] O(active keys + queries x keys / 64).
  void add(const attention::TileOutcome& outcome);
  /// The state that the methods hold at the end of a layer. [main thread]
  void add_state(const attention::Session& session);

  CostSums sums(size_t pipeline) const;
  /// Adds what another counter has counted of the run.
  void add(size_t pipeline, const CostSums& sums);

  /// `clocks` must have counted the same tiles.
  Cost cost(size_t pipeline, const attention::Pipeline& stages, const attention::Clocks& clocks) const;
  /// Bytes of keys and values that dense attention reads for a query of a KV head.
  double dense_bytes_per_query() const;

 private:
  struct Totals {
    std::atomic<uint64_t> queries{0}, attended_bytes{0}, dense_bytes{0};
    CostSums state;  ///< by stage alone
  };
  std::vector<Totals> totals_;
};

}  // namespace attnlab::measure
