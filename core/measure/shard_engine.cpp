#include <algorithm>
#include <limits>

#include "core/attention/dense_rows.hpp"
#include "core/attention/sparse_rows.hpp"
#include "core/base/parallel.hpp"
#include "core/base/stopwatch.hpp"
#include "core/measure/partial_rows.hpp"

namespace attnlab::measure {
namespace {

using attention::HeadMasks;
using attention::HeadRows;
using attention::RowList;
using attention::Selection;
using attention::Tile;
using attention::TileIndex;

constexpr int64_t max_queries_per_tile = 64;

/// Without stages.
attention::Clocks no_clocks(size_t pipelines) {
  attention::Clocks clocks;
  clocks.attend.resize(pipelines);
  clocks.queries.resize(pipelines);
  clocks.stages.resize(pipelines);
  clocks.search_bytes.resize(pipelines);
  return clocks;
}

bool is_dense(const std::vector<HeadMasks>& masks, size_t pipeline, int64_t line) {
  return masks.empty() || masks[pipeline].dense[static_cast<size_t>(line)] != 0;
}

/// Moves the lists of a tile's rows, from `row` on among all rows of the head, into `lists`; those of dense
/// queries hold what they see.
void take_lists(const Tile& tile, HeadMasks& masks, int64_t row, Selection& lists) {
  lists.reset(tile.rows());
  for (int64_t i = 0; i < tile.rows();) {
    const int64_t query_end = (i / tile.group() + 1) * tile.group();
    if (masks.dense[static_cast<size_t>((row + i) / tile.group())] != 0) {
      tile.visible_runs(i, lists.assign(i, 1).runs);
      ++i;
      continue;
    }
    const int64_t end = std::min(masks.lists.span_end(row + i) - row, query_end);
    RowList& list = masks.lists.list(row + i);
    if (!list.empty()) std::swap(lists.assign(i, end - i), list);
    i = end;
  }
}

}  // namespace

struct ShardEngine::Worker {
  Tile tile;
  attention::DenseRows dense;
  attention::SparseRows sparse;
  Selection lists;
  std::vector<uint8_t> empty;
  attention::Clocks clocks;
};

/// What the tiles of a call share.
struct ShardEngine::Call {
  const data::LayerProblem& problem;
  const data::Geometry& geometry;
  const attention::AttentionOptions& options;
  const HeadRows& rows;
  std::vector<HeadMasks>& masks;
  CostCounter& cost;
  PartialRows& result;
};

ShardEngine::ShardEngine(const attention::Execution& execution, size_t pipelines)
    : execution_(execution), pipelines_(pipelines), clocks_(no_clocks(pipelines)) {}
ShardEngine::~ShardEngine() = default;

PartialRows ShardEngine::attend(const data::LayerProblem& problem, const data::Geometry& geometry,
                                const attention::AttentionOptions& options, int64_t kv_head,
                                const HeadRows& rows, std::vector<HeadMasks>& masks, CostCounter& cost) {
  ATTNLAB_CHECK(problem.sink_logit.empty(), "a learned sink takes part once, after the shards are merged");
  const auto count = static_cast<size_t>(rows.size());
  const auto values = count * static_cast<size_t>(geometry.value_dim);
  constexpr float nothing = -std::numeric_limits<float>::infinity();
  PartialRows result;
  result.exact_out.assign(values, 0);
  result.exact_lse.assign(count, nothing);
  result.visible.assign(count, 0);
  result.pipelines.resize(pipelines_);
  for (size_t p = 0; p < pipelines_; ++p) {
    PartialRows::OfPipeline& pipeline = result.pipelines[p];
    pipeline.exact = true;
    for (int64_t line = 0; line < rows.batch * rows.queries; ++line) {
      pipeline.exact = pipeline.exact && is_dense(masks, p, line);
    }
    pipeline.out.assign(pipeline.exact ? 0 : values, 0);
    pipeline.lse.assign(pipeline.exact ? 0 : count, nothing);
    pipeline.sums.resize(count);
    pipeline.active.assign(count, 0);
  }
  if (problem.key.tokens == 0) return result;

  const int64_t row_bytes = problem.key.tokens * static_cast<int64_t>(sizeof(float)) * rows.group;
  const int64_t height = std::clamp<int64_t>(execution_.tile_bytes / row_bytes, 1, max_queries_per_tile);
  std::vector<TileIndex> tiles;
  for (int64_t b = 0; b < rows.batch; ++b) {
    for (int64_t q = 0; q < rows.queries; q += height) {
      tiles.push_back({b, kv_head, rows.query_begin + q, std::min(height, rows.queries - q)});
    }
  }
  while (workers_.size() < static_cast<size_t>(base::worker_slots())) {
    workers_.push_back(std::make_unique<Worker>());
  }
  for (auto& worker : workers_) {
    worker->dense.start(rows.queries * rows.group);
    worker->clocks = no_clocks(pipelines_);
  }
  const Call call{problem, geometry, options, rows, masks, cost, result};
  base::parallel_for(static_cast<int64_t>(tiles.size()), [&](int64_t i, int worker) {
    attend_tile(*workers_[static_cast<size_t>(worker)], call, tiles[static_cast<size_t>(i)]);
  });
  for (const auto& worker : workers_) clocks_.add(worker->clocks);
  return result;
}

void ShardEngine::attend_tile(Worker& worker, const Call& call, const TileIndex& index) {
  Tile& tile = worker.tile;
  tile.load(call.problem, call.geometry, call.options, *execution_.kernels, index);
  const int64_t row = call.rows.row(index.batch, index.query_begin);
  for (int64_t i = 0; i < tile.rows(); ++i) {
    call.result.visible[static_cast<size_t>(row + i)] = static_cast<int32_t>(tile.visible_count(i));
  }
  if (tile.key_count() == 0) return;
  tile.logits();
  worker.clocks.logits += tile.logits_seconds();
  const base::Stopwatch watch;
  worker.dense.attend(tile, 0, tile.rows(), call.result.exact_out.data() + row * call.geometry.value_dim,
                      call.result.exact_lse.data() + row);
  worker.clocks.exact_rows += watch.seconds();
  for (size_t p = 0; p < pipelines_; ++p) attend_pipeline(worker, call, p, row);
}

void ShardEngine::attend_pipeline(Worker& worker, const Call& call, size_t p, int64_t row) {
  Tile& tile = worker.tile;
  const int64_t width = tile.value_dim();
  PartialRows::OfPipeline& result = call.result.pipelines[p];
  const float* exact_lse = call.result.exact_lse.data() + row;
  attention::TileOutcome outcome;
  outcome.tile = &tile;
  outcome.pipeline = p;
  if (!result.exact) {
    const base::Stopwatch watch;
    take_lists(tile, call.masks[p], row, worker.lists);
    outcome.selection = &worker.lists;
    float* out = result.out.data() + row * width;
    float* lse = result.lse.data() + row;
    for (int64_t i = 0; i < tile.rows(); i += tile.group()) {
      if (is_dense(call.masks, p, (row + i) / tile.group())) {
        const float* exact = call.result.exact_out.data() + (row + i) * width;
        std::copy_n(exact, tile.group() * width, out + i * width);
        std::copy_n(exact_lse + i, tile.group(), lse + i);
      } else {
        worker.sparse.attend(tile, worker.lists, i, tile.group(), out + i * width, lse + i);
      }
    }
    worker.clocks.attend[p] += watch.seconds();
  }
  const base::Stopwatch watch;
  call.cost.add(outcome);
  RowList dense;
  for (int64_t i = 0; i < tile.rows(); ++i) {
    if (tile.visible_count(i) == 0) continue;
    const RowList& list = attention::active_list(outcome, i, dense);
    const auto at = static_cast<size_t>(row + i);
    result.active[at] = static_cast<int32_t>(list.size());
    result.sums[at] = weight_sums(list, tile.logits() + i * tile.logits_stride(), double{exact_lse[i]});
  }
  worker.clocks.visit += watch.seconds();
}

uint64_t ShardEngine::scratch_bytes() const {
  uint64_t bytes = 0;
  for (const auto& worker : workers_)
    bytes += worker->tile.bytes() + worker->dense.bytes() + worker->sparse.bytes();
  return bytes;
}

}  // namespace attnlab::measure
