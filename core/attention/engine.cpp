#include <algorithm>

#include "core/attention/dense_rows.hpp"
#include "core/attention/session.hpp"
#include "core/attention/sparse_rows.hpp"
#include "core/base/parallel.hpp"
#include "core/base/stopwatch.hpp"

namespace attnlab::attention {
namespace {

constexpr int64_t max_queries_per_tile = 64;

/// `dense_heads` [group] or empty: heads whose rows are dense.
void attend_rows(Tile& tile, const Selection& selection, const std::vector<uint8_t>& dense_heads,
                 DenseRows& dense, SparseRows& sparse, float* out, float* lse) {
  const auto is_dense = [&](int64_t row) {
    return !dense_heads.empty() && dense_heads[static_cast<size_t>(row % tile.group())] != 0;
  };
  for (int64_t row = 0; row < tile.rows();) {
    int64_t end = row + 1;
    while (end % tile.group() != 0 && is_dense(end) == is_dense(row)) ++end;
    float* row_out = out + row * tile.value_dim();
    if (is_dense(row)) {
      dense.attend(tile, row, end - row, row_out, lse + row);
    } else {
      sparse.attend(tile, selection, row, end - row, row_out, lse + row);
    }
    row = end;
  }
}

/// Marks rows that see keys but attend to none, and gives them all visible keys when the policy says so.
void handle_empty_rows(const Tile& tile, Selection& selection, std::vector<uint8_t>& empty) {
  empty.assign(static_cast<size_t>(tile.rows()), 0);
  for (int64_t row = 0; row < tile.rows(); ++row) {
    if (tile.visible_count(row) == 0 || !selection.list(row).empty()) continue;
    empty[static_cast<size_t>(row)] = 1;
    if (tile.options().on_empty_row != config::EmptyRow::dense) continue;
    RowList& list = selection.assign(row, 1);
    tile.visible_runs(row, list.runs);
  }
}

}  // namespace

void Clocks::clear(const std::vector<Pipeline>& pipelines) {
  logits = exact_rows = visit = 0;
  attend.assign(pipelines.size(), 0);
  queries.assign(pipelines.size(), 0);
  stages.resize(pipelines.size());
  search_bytes.resize(pipelines.size());
  for (size_t p = 0; p < pipelines.size(); ++p) {
    stages[p].assign(pipelines[p].stages().size(), 0);
    search_bytes[p].assign(pipelines[p].stages().size(), 0);
  }
}

void Clocks::add(const Clocks& other) {
  logits += other.logits;
  exact_rows += other.exact_rows;
  visit += other.visit;
  attend.resize(other.attend.size());
  queries.resize(other.queries.size());
  stages.resize(other.stages.size());
  search_bytes.resize(other.search_bytes.size());
  for (size_t p = 0; p < attend.size(); ++p) {
    attend[p] += other.attend[p];
    queries[p] += other.queries[p];
    stages[p].resize(other.stages[p].size());
    search_bytes[p].resize(other.search_bytes[p].size());
    for (size_t s = 0; s < stages[p].size(); ++s) {
      stages[p][s] += other.stages[p][s];
      search_bytes[p][s] += other.search_bytes[p][s];
    }
  }
}

const RowList& active_list(const TileOutcome& outcome, int64_t row, RowList& dense) {
  if (outcome.selection != nullptr) return outcome.selection->list(row);
  dense.clear();
  outcome.tile->visible_runs(row, dense.runs);
  return dense;
}

struct Engine::Worker {
  Tile tile;
  DenseRows dense;
  SparseRows sparse;
  PipelineWorkspace workspace;
  StepMass::Scratch mass;
  std::vector<float> exact_out, exact_lse, out, lse;
  std::vector<uint8_t> empty;
  Clocks clocks;
};

Engine::Engine(const Execution& execution) : execution_(execution) {
  ATTNLAB_CHECK(execution_.kernels != nullptr, "an engine needs kernels");
}
Engine::~Engine() = default;

void Engine::attend_tile(Worker& worker, Session& session, const TileIndex& index, const Visitor& visit) {
  Tile& tile = worker.tile;
  tile.load(session.problem(), session.geometry(), session.options(), *execution_.kernels, index);
  const auto out_size = static_cast<size_t>(tile.rows() * tile.value_dim());
  const auto row_count = static_cast<size_t>(tile.rows());
  worker.out.resize(out_size);
  worker.lse.resize(row_count);
  if (execution_.exact) {
    worker.exact_out.resize(out_size);
    worker.exact_lse.resize(row_count);
    tile.logits();
    const base::StopwatchInto watch(worker.clocks.exact_rows);
    worker.dense.attend(tile, 0, tile.rows(), worker.exact_out.data(), worker.exact_lse.data());
  }
  for (size_t p = 0; p < session.pipelines().size(); ++p) {
    const Pipeline& pipeline = session.pipelines()[p];
    StepMass* received = session.received(p);
    TileOutcome outcome;
    outcome.tile = &tile;
    outcome.pipeline = p;
    if (!execution_.select_only) {
      outcome.out = worker.out.data();
      outcome.lse = worker.lse.data();
    }
    outcome.empty = &worker.empty;
    // Also where a policy is dense and searches nothing: the cost is a mean over all queries.
    worker.clocks.queries[p] += static_cast<uint64_t>(index.query_count);
    if (execution_.exact) {
      outcome.exact_out = worker.exact_out.data();
      outcome.exact_lse = worker.exact_lse.data();
    }
    if (pipeline.is_dense(tile)) {
      worker.empty.assign(row_count, 0);
      if (execution_.exact) {
        // The dense row is computed once: it is the same thing.
        outcome.out = outcome.exact_out;
        outcome.lse = outcome.exact_lse;
      } else if (!execution_.select_only) {
        const base::StopwatchInto watch(worker.clocks.attend[p]);
        worker.dense.attend(tile, 0, tile.rows(), worker.out.data(), worker.lse.data());
      }
    } else {
      pipeline.select(tile, session.state(p), session.geometry(), worker.workspace);
      for (size_t s = 0; s < worker.workspace.stage_seconds.size(); ++s) {
        worker.clocks.stages[p][s] += worker.workspace.stage_seconds[s];
        worker.clocks.search_bytes[p][s] += worker.workspace.stage_read_bytes[s];
      }
      Selection& selection = worker.workspace.current;
      handle_empty_rows(tile, selection, worker.empty);
      // What keys receive follows from the rows' denominators.
      if (!execution_.select_only || received != nullptr) {
        const base::StopwatchInto watch(worker.clocks.attend[p]);
        attend_rows(tile, selection, worker.workspace.dense_heads, worker.dense, worker.sparse,
                    worker.out.data(), worker.lse.data());
      }
      outcome.selection = &selection;
    }
    // No variant that wants feedback runs on a dense tile.
    if (received != nullptr && outcome.selection != nullptr) {
      const int64_t head = index.batch * session.geometry().kv_heads + index.kv_head;
      for (int64_t row = 0; row < tile.rows(); ++row) {
        received->add(tile, head, row, worker.workspace.current.list(row),
                      worker.lse[static_cast<size_t>(row)], worker.mass);
      }
    }
    const base::StopwatchInto watch(worker.clocks.visit);
    visit(outcome);
  }
  worker.clocks.logits += tile.logits_seconds();
}

void Engine::attend_prompt_tile(Worker& worker, Session& session, const TileIndex& index) {
  Tile& tile = worker.tile;
  tile.load(session.problem(), session.geometry(), session.options(), *execution_.kernels, index);
  worker.out.resize(static_cast<size_t>(tile.rows() * tile.value_dim()));
  worker.lse.resize(static_cast<size_t>(tile.rows()));
  tile.logits();  // for the masses, and so for the rows too
  worker.dense.attend(tile, 0, tile.rows(), worker.out.data(), worker.lse.data());
  const int64_t head = index.batch * session.geometry().kv_heads + index.kv_head;
  RowList visible;
  for (int64_t row = 0; row < tile.rows(); ++row) {
    tile.visible_runs(row, visible.runs);
    for (size_t p = 0; p < session.pipelines().size(); ++p) {
      StepMass* received = session.received(p);
      if (received == nullptr) continue;
      received->add(tile, head, row, visible, worker.lse[static_cast<size_t>(row)], worker.mass);
    }
  }
}

template <class Body>
void Engine::for_each_tile(Session& session, int64_t begin, int64_t count,
                           const std::vector<int64_t>& kv_heads, const Body& body) {
  const data::Geometry& geometry = session.geometry();
  const int64_t row_bytes = geometry.keys * static_cast<int64_t>(sizeof(float)) * geometry.group();
  const int64_t height =
      std::clamp<int64_t>(execution_.tile_bytes / std::max<int64_t>(1, row_bytes), 1, max_queries_per_tile);
  const auto heads = kv_heads.empty() ? geometry.kv_heads : static_cast<int64_t>(kv_heads.size());
  tiles_.clear();
  for (int64_t b = 0; b < geometry.batch; ++b) {
    for (int64_t i = 0; i < heads; ++i) {
      const int64_t head = kv_heads.empty() ? i : kv_heads[static_cast<size_t>(i)];
      for (int64_t q = begin; q < begin + count; q += height) {
        tiles_.push_back({b, head, q, std::min(height, begin + count - q)});
      }
    }
  }
  // Later queries see more keys: the heavy tiles go first, so that no thread ends with one of them alone.
  std::reverse(tiles_.begin(), tiles_.end());

  const size_t slots = static_cast<size_t>(base::worker_slots());
  while (workers_.size() < slots) workers_.push_back(std::make_unique<Worker>());
  for (auto& worker : workers_) {
    worker->clocks.clear(session.pipelines());
    worker->dense.start(count * geometry.group());
  }
  base::parallel_for(static_cast<int64_t>(tiles_.size()), [&](int64_t i, int worker) {
    body(*workers_[static_cast<size_t>(worker)], tiles_[static_cast<size_t>(i)]);
  });
}

void Engine::attend_prompt(Session& session, int64_t count, const std::vector<int64_t>& kv_heads) {
  if (!session.wants_feedback()) return;
  for_each_tile(session, 0, count, kv_heads,
                [&](Worker& worker, const TileIndex& index) { attend_prompt_tile(worker, session, index); });
}

void Engine::attend(Session& session, int64_t begin, int64_t count, const std::vector<int64_t>& kv_heads,
                    const Visitor& visit) {
  for_each_tile(session, begin, count, kv_heads,
                [&](Worker& worker, const TileIndex& index) { attend_tile(worker, session, index, visit); });
  for (const auto& worker : workers_) clocks_.add(worker->clocks);
}

uint64_t Engine::scratch_bytes() const {
  uint64_t bytes = 0;
  for (const auto& worker : workers_)
    bytes += worker->tile.bytes() + worker->dense.bytes() + worker->sparse.bytes();
  return bytes;
}

}  // namespace attnlab::attention
