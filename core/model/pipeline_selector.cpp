#include "core/model/pipeline_selector.hpp"

#include <atomic>

#include "core/graph/op.hpp"

namespace attnlab::model {
namespace {

using graph::Array;
using graph::Element;

tensor::HeadView view_of(const Array& x) {
  const auto& s = x.stride();
  return {x.data<float>(), x.extent(0), x.extent(1), x.extent(2), x.extent(3), s[0], s[1], s[2]};
}

/// What one row attends to, in the order of its list.
struct RowEntries {
  std::vector<int64_t> key;
  std::vector<float> log_weight;

  void read(const attention::RowList& list) {
    key.clear(), log_weight.clear();
    for (const auto& run : list.runs) {
      for (int64_t j = run.begin; j < run.end; ++j) key.push_back(j);
    }
    key.insert(key.end(), list.ids.begin(), list.ids.end());
    log_weight.assign(key.size(), 0.0F);
    key.insert(key.end(), list.sampled.begin(), list.sampled.end());
    log_weight.insert(log_weight.end(), list.log_weight.begin(), list.log_weight.end());
  }
};

}  // namespace

/// Memory that calls share.
struct PipelineSelector::Work {
  Work() : engine({.kernels = &kernels::active_table(), .exact = false}) {}

  attention::Engine engine;
  std::vector<RowEntries> rows;
  std::map<int, SelectionCount> counts;
};

PipelineSelector::PipelineSelector(const config::PipelinePlan& plan, const plugin::Catalog& catalog,
                                   const config::Document& document)
    : work_(std::make_unique<Work>()) {
  pipeline_.emplace_back(plan, catalog, document);
}
PipelineSelector::~PipelineSelector() = default;

graph::SelectedAttention PipelineSelector::attend(const graph::SelectorCall& call) const {
  const std::lock_guard lock(mutex_);
  data::LayerProblem problem;
  problem.layer = call.layer;
  problem.query = view_of(call.q), problem.key = view_of(call.k), problem.value = view_of(call.v);
  data::Geometry geometry;
  geometry.batch = call.q.extent(0);
  geometry.query_heads = call.q.extent(1), geometry.kv_heads = call.k.extent(1);
  geometry.queries = call.q.extent(2), geometry.keys = call.k.extent(2);
  geometry.head_dim = call.q.extent(3), geometry.value_dim = call.v.extent(3);
  problem.valid.assign(static_cast<size_t>(geometry.batch), geometry.keys);
  attention::AttentionOptions options;
  options.causal = call.causal, options.scale = static_cast<float>(call.scale);
  options.on_empty_row = call.dense_when_empty ? config::EmptyRow::dense : config::EmptyRow::error;
  options.seed = call.random_key;
  pipeline_[0].check_geometry({call.layer}, geometry);

  // In memory as [B, Sq, Hq, dv]: joining heads is then a view.
  Array out =
      Array(Element::f32, {geometry.batch, geometry.queries, geometry.query_heads, geometry.value_dim})
          .permuted({0, 2, 1, 3});
  Array lse(Element::f32, {geometry.batch, geometry.query_heads, geometry.queries});
  const int64_t row_count = lse.size();
  if (call.keep_rows) work_->rows.resize(static_cast<size_t>(row_count));
  std::atomic<uint64_t> active{0}, visible{0};
  std::atomic<int64_t> empty{0};
  attention::Session session(pipeline_, problem, geometry, options);
  session.append(geometry.keys);
  session.end_prompt();
  work_->engine.attend(session, 0, geometry.queries, {}, [&](const attention::TileOutcome& outcome) {
    const attention::Tile& tile = *outcome.tile;
    attention::RowList dense;
    uint64_t tile_active = 0, tile_visible = 0;
    for (int64_t row = 0; row < tile.rows(); ++row) {
      const int64_t head = tile.head_of(row), query = tile.query_of(row);
      const auto& stride = out.stride();
      std::copy_n(
          outcome.out + row * geometry.value_dim, geometry.value_dim,
          out.mutable_data<float>() + tile.index().batch * stride[0] + head * stride[1] + query * stride[2]);
      const int64_t at = (tile.index().batch * geometry.query_heads + head) * geometry.queries + query;
      lse.mutable_data<float>()[at] = outcome.lse[row];
      const attention::RowList& list = attention::active_list(outcome, row, dense);
      tile_active += static_cast<uint64_t>(list.size());
      tile_visible += static_cast<uint64_t>(tile.visible_count(row));
      if ((*outcome.empty)[static_cast<size_t>(row)] != 0) ++empty;
      if (call.keep_rows) work_->rows[static_cast<size_t>(at)].read(list);
    }
    active += tile_active, visible += tile_visible;
  });
  if (empty > 0 && !call.dense_when_empty) {
    throw graph::OperandError(std::to_string(empty.load()) + " of " + std::to_string(row_count) +
                              " rows select no key; let the pipeline begin with sink or local");
  }
  SelectionCount& count = work_->counts[call.layer];
  count.active += active, count.visible += visible, count.rows += static_cast<uint64_t>(row_count);

  graph::SelectedAttention result{out, lse, {}, {}, {}};
  if (!call.keep_rows) return result;
  result.row_begin = Array(Element::i64, {row_count + 1});
  auto* begin = result.row_begin.mutable_data<int64_t>();
  begin[0] = 0;
  for (int64_t row = 0; row < row_count; ++row)
    begin[row + 1] = begin[row] + static_cast<int64_t>(work_->rows[static_cast<size_t>(row)].key.size());
  result.key = Array(Element::i64, {begin[row_count]});
  result.log_weight = Array(Element::f32, {begin[row_count]});
  for (int64_t row = 0; row < row_count; ++row) {
    const RowEntries& entries = work_->rows[static_cast<size_t>(row)];
    std::copy(entries.key.begin(), entries.key.end(), result.key.mutable_data<int64_t>() + begin[row]);
    std::copy(entries.log_weight.begin(), entries.log_weight.end(),
              result.log_weight.mutable_data<float>() + begin[row]);
  }
  return result;
}

std::map<int, SelectionCount> PipelineSelector::counts() const {
  const std::lock_guard lock(mutex_);
  return work_->counts;
}

void PipelineSelector::reset_counts() {
  const std::lock_guard lock(mutex_);
  work_->counts.clear();
}

std::vector<std::string> PipelineSelector::warnings() const {
  std::vector<std::string> all;
  pipeline_[0].collect_warnings(all);
  return all;
}

std::shared_ptr<const plugin::Scheme> make_scheme(const config::SchemePlan& plan,
                                                  const plugin::Catalog& catalog,
                                                  const config::Document& document, const std::string& name,
                                                  std::vector<std::string>& warnings) {
  std::vector<plugin::Value> values = plan.values;
  for (const auto& [index, pipeline] : plan.pipelines) {
    auto selector = std::make_shared<const PipelineSelector>(pipeline, catalog, document);
    for (const std::string& warning : selector->warnings()) warnings.push_back(warning);
    std::get<plugin::StageList>(values[index].data).selector =
        std::shared_ptr<const graph::KeySelector>(selector);
  }
  auto scheme = std::make_shared<const plugin::Scheme>(catalog, *catalog.find(plan.scheme), values,
                                                       plugin::Usage{"", name, document.where(plan.pointer)});
  for (const std::string& warning : scheme->instance().warnings()) warnings.push_back(warning);
  return scheme;
}

}  // namespace attnlab::model
