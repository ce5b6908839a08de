#include "core/measure/cost.hpp"

#include <algorithm>
#include <bit>

namespace attnlab::measure {
namespace {

using attention::RowList;
using attention::TileOutcome;

/// A set of keys as bits.
class KeySet {
 public:
  explicit KeySet(int64_t keys) : words_(static_cast<size_t>((keys + 63) / 64)) {}

  void clear() { std::fill(words_.begin(), words_.end(), uint64_t{0}); }
  void add(const RowList& list) {
    for (const attention::Range& run : list.runs) {
      for (int64_t key = run.begin; key < run.end;) {
        const int64_t end = std::min<int64_t>(run.end, (key / 64 + 1) * 64);
        words_[static_cast<size_t>(key / 64)] |= (~uint64_t{0} >> (64 - (end - key))) << (key % 64);
        key = end;
      }
    }
    for (const auto* ids : {&list.ids, &list.sampled}) {
      for (const int32_t id : *ids) words_[static_cast<size_t>(id / 64)] |= uint64_t{1} << (id % 64);
    }
  }
  uint64_t size() const {
    uint64_t count = 0;
    for (const uint64_t word : words_) count += static_cast<uint64_t>(std::popcount(word));
    return count;
  }

 private:
  std::vector<uint64_t> words_;
};

/// Keys that any row of each query attends to, summed over the tile's queries.
uint64_t attended_keys(const TileOutcome& outcome) {
  const attention::Tile& tile = *outcome.tile;
  const bool dense = outcome.selection == nullptr;
  KeySet keys(tile.key_count());
  RowList visible;
  uint64_t count = 0;
  for (int64_t query = 0; query < tile.rows(); query += tile.group()) {
    bool one_list = !dense || tile.shared_visibility();
    for (int64_t row = query; row < query + tile.group() && !dense; ++row) {
      one_list = one_list && outcome.selection->list_id(row) == outcome.selection->list_id(query);
    }
    if (one_list) {
      count += static_cast<uint64_t>(active_list(outcome, query, visible).size());
      continue;
    }
    keys.clear();
    for (int64_t row = query; row < query + tile.group(); ++row) keys.add(active_list(outcome, row, visible));
    count += keys.size();
  }
  return count;
}

double ratio(uint64_t sum, uint64_t count) {
  return count == 0 ? 0 : static_cast<double>(sum) / static_cast<double>(count);
}

}  // namespace

void CostCounter::add(const TileOutcome& outcome) {
  const attention::Tile& tile = *outcome.tile;
  const auto key_bytes = static_cast<uint64_t>(tile.head_dim() + tile.value_dim()) * sizeof(float);
  Totals& totals = totals_[outcome.pipeline];
  totals.queries += static_cast<uint64_t>(tile.index().query_count);
  totals.attended_bytes += attended_keys(outcome) * key_bytes;
  if (outcome.pipeline != 0) return;
  TileOutcome dense = outcome;
  dense.selection = nullptr;
  totals.dense_bytes += attended_keys(dense) * key_bytes;
}

void CostCounter::add_state(const attention::Session& session) {
  for (size_t p = 0; p < totals_.size(); ++p) {
    const std::vector<attention::IndexBytes> index = session.index_bytes(p);
    CostSums layer;
    layer.index = index;
    layer.tokens.resize(index.size());
    layer.sequences.resize(index.size());
    for (size_t s = 0; s < index.size(); ++s) {
      const auto& states = session.state(p)[s];
      for (size_t head = 0; head < states.size(); ++head) {
        if (!session.holds(static_cast<int64_t>(head))) continue;
        layer.tokens[s] += states[head].key_count();
        ++layer.sequences[s];
      }
    }
    totals_[p].state += layer;
  }
}

CostSums& CostSums::operator+=(const CostSums& other) {
  queries += other.queries;
  attended_bytes += other.attended_bytes;
  dense_bytes += other.dense_bytes;
  const size_t stages = std::max(index.size(), other.index.size());
  index.resize(stages);
  tokens.resize(stages);
  sequences.resize(stages);
  for (size_t s = 0; s < other.index.size(); ++s) {
    index[s] += other.index[s];
    tokens[s] += other.tokens[s];
    sequences[s] += other.sequences[s];
  }
  return *this;
}

CostSums CostCounter::sums(size_t pipeline) const {
  const Totals& totals = totals_[pipeline];
  CostSums sums = totals.state;
  sums.queries = totals.queries;
  sums.attended_bytes = totals.attended_bytes;
  sums.dense_bytes = totals.dense_bytes;
  return sums;
}

void CostCounter::add(size_t pipeline, const CostSums& sums) {
  Totals& totals = totals_[pipeline];
  totals.queries += sums.queries;
  totals.attended_bytes += sums.attended_bytes;
  totals.dense_bytes += sums.dense_bytes;
  CostSums state = sums;
  state.queries = state.attended_bytes = state.dense_bytes = 0;
  totals.state += state;
}

Cost CostCounter::cost(size_t pipeline, const attention::Pipeline& stages,
                       const attention::Clocks& clocks) const {
  CostSums totals = sums(pipeline);
  totals.index.resize(stages.stages().size());
  totals.tokens.resize(stages.stages().size());
  totals.sequences.resize(stages.stages().size());
  Cost cost;
  cost.attended_bytes_per_query = ratio(totals.attended_bytes, totals.queries);
  for (size_t s = 0; s < stages.stages().size(); ++s) {
    StageCost stage;
    stage.name = stages.stages()[s].masker.stage();
    stage.index_bytes_per_token = ratio(totals.index[s].tokens, static_cast<uint64_t>(totals.tokens[s]));
    stage.index_bytes_per_sequence =
        ratio(totals.index[s].sequence, static_cast<uint64_t>(totals.sequences[s]));
    stage.state_bytes_per_token = ratio(totals.index[s].opaque, static_cast<uint64_t>(totals.tokens[s]));
    stage.search_bytes_per_query = ratio(clocks.search_bytes[pipeline][s], clocks.queries[pipeline]);
    cost.stages.push_back(std::move(stage));
  }
  return cost;
}

double CostCounter::dense_bytes_per_query() const {
  return totals_.empty() ? 0 : ratio(totals_[0].dense_bytes, totals_[0].queries);
}

}  // namespace attnlab::measure
