#include "core/attention/pipeline.hpp"

#include <attnlab/philox.hpp>

#include <algorithm>

#include "core/base/stopwatch.hpp"

namespace attnlab::attention {
namespace {

/// What the C callbacks of a prior need.
struct PriorContext {
  const Tile* tile;
  const Selection* selection;
  std::vector<Range>* candidates;
};

static_assert(sizeof(Range) == sizeof(attnlab_range), "runs cross the boundary without a copy");

const attnlab_range* to_abi(const std::vector<Range>& runs) {
  return reinterpret_cast<const attnlab_range*>(runs.data());
}

attnlab_prior make_prior(PriorContext& context) {
  attnlab_prior prior{};
  prior.struct_size = sizeof prior;
  prior.context = &context;
  prior.row = [](void* c, int64_t row, attnlab_row_prior* out) {
    const RowList& list = static_cast<PriorContext*>(c)->selection->list(row);
    out->nothing = list.empty() ? 1 : 0;
    out->runs = to_abi(list.runs);
    out->run_count = static_cast<int64_t>(list.runs.size());
    out->ids = list.ids.data();
    out->id_count = static_cast<int64_t>(list.ids.size());
    out->sampled_ids = list.sampled.data();
    out->sampled_log_weight = list.log_weight.data();
    out->sampled_count = static_cast<int64_t>(list.sampled.size());
  };
  prior.candidates = [](void* c, int64_t row, const attnlab_range** runs, int64_t* run_count) {
    auto* self = static_cast<PriorContext*>(c);
    const int64_t keys = candidates(self->selection->list(row), self->tile->visible_end(row),
                                    self->tile->hidden(row), *self->candidates);
    *runs = to_abi(*self->candidates);
    *run_count = static_cast<int64_t>(self->candidates->size());
    return keys;
  };
  return prior;
}

RowWriter::Outcome outcome_of(const plugin::Descriptor& method) {
  if (method.has(ATTNLAB_RETAINS)) return RowWriter::Outcome::retains;
  return method.has(ATTNLAB_REFINE) ? RowWriter::Outcome::refines : RowWriter::Outcome::adds;
}

attnlab_geometry geometry_of(int layer, const data::Geometry& geometry) {
  attnlab_geometry g{};
  g.struct_size = sizeof g;
  g.layer = layer;
  g.batch = geometry.batch;
  g.query_heads = geometry.query_heads;
  g.kv_heads = geometry.kv_heads;
  g.group = geometry.group();
  g.head_dim = geometry.head_dim;
  g.value_dim = geometry.value_dim;
  return g;
}

/// No stage follows the eviction: whatever stays in the cache is attended to.
void attend_to_retained(Selection& selection, RowList& kept, RowList& all) {
  kept.clear();
  for (int64_t row = 0; row < selection.rows(); row = selection.span_end(row)) {
    RowList& list = selection.list(row);
    kept.runs = list.retained;
    unite(kept, list, all);
    std::swap(list, all);
  }
}

}  // namespace

Pipeline::Pipeline(const config::PipelinePlan& plan, const plugin::Catalog& catalog,
                   const config::Document& document)
    : name_(plan.name), policy_(plan) {
  for (size_t s = 0; s < plan.stages.size(); ++s) {
    const auto& stage = plan.stages[s];
    const auto* entry = catalog.find(stage.masker);
    ATTNLAB_CHECK(entry != nullptr, "the plan was resolved against this catalog");
    const base::Mistake where = document.where(stage.pointer);
    stages_.push_back({plugin::Masker(catalog, *entry, stage.values, plan.name, plan.stage_label(s), where),
                       stage.selector, stage.seed});
  }
}

void Pipeline::check_geometry(const std::vector<int>& layers, const data::Geometry& geometry) const {
  for (const int layer : layers) {
    for (size_t v = 0; v < policy_.variants().size(); ++v) {
      if (!policy_.uses(layer, geometry.query_heads, v)) continue;
      for (size_t s = policy_.variants()[v].begin; s < policy_.variants()[v].end; ++s) {
        if (stages_[s].masker.has_columns()) stages_[s].masker.columns(geometry_of(layer, geometry));
      }
    }
  }
}

PipelineState Pipeline::make_state(int layer, const data::Geometry& geometry, uint64_t seed) const {
  PipelineState state(stages_.size());
  auto make = [&](size_t s, size_t index) {
    const plugin::Masker& masker = stages_[s].masker;
    if (!masker.has_columns() && !masker.has_state() && !masker.wants_end_prompt() &&
        !masker.wants_feedback()) {
      return;
    }
    const attnlab_geometry g = geometry_of(layer, geometry);
    for (int64_t i = 0; i < geometry.batch * geometry.kv_heads; ++i) {
      state[s].emplace_back(
          masker, g,
          mix_key(seed, stages_[s].seed, index, static_cast<uint64_t>(layer), static_cast<uint64_t>(i)));
    }
  };
  for (size_t v = 0; v < policy_.variants().size(); ++v) {
    if (!policy_.uses(layer, geometry.query_heads, v)) continue;
    const Variant& variant = policy_.variants()[v];
    for (size_t s = variant.begin; s < variant.end; ++s) make(s, s - variant.begin);
  }
  return state;
}

void Pipeline::select(Tile& tile, const PipelineState& state, const data::Geometry& geometry,
                      PipelineWorkspace& workspace) const {
  workspace.stage_seconds.assign(stages_.size(), 0);
  workspace.stage_read_bytes.assign(stages_.size(), 0);
  workspace.dense_heads.clear();
  std::vector<size_t>& heads = workspace.head_variants;
  if (policy_.variants_of(tile, heads)) {
    run(policy_.variants()[heads[0]], tile, state, geometry, workspace);
    return;
  }
  workspace.assembled.reset(tile.rows());
  for (size_t v = 0; v < policy_.variants().size(); ++v) {
    const Variant& variant = policy_.variants()[v];
    if (std::find(heads.begin(), heads.end(), v) == heads.end()) continue;
    if (variant.is_dense()) {
      take_dense_rows(tile, heads, v, workspace.assembled);
      continue;
    }
    run(variant, tile, state, geometry, workspace);
    take_rows(workspace.current, heads, v, workspace.assembled);
  }
  std::swap(workspace.current, workspace.assembled);
  for (size_t v : heads) workspace.dense_heads.push_back(policy_.variants()[v].is_dense() ? 1 : 0);
}

void Pipeline::run(const Variant& variant, Tile& tile, const PipelineState& state,
                   const data::Geometry& geometry, PipelineWorkspace& workspace) const {
  workspace.current.reset(tile.rows());
  const auto head = static_cast<size_t>(tile.index().batch * geometry.kv_heads + tile.index().kv_head);
  for (size_t s = variant.begin; s < variant.end; ++s) {
    const base::Stopwatch watch;
    const double logits_before = tile.logits_seconds();
    const Stage& stage = stages_[s];
    const KeyState* keys = state[s].empty() ? nullptr : &state[s][head];
    const uint64_t rng_key =
        mix_key(tile.options().seed, stage.seed, s - variant.begin,
                static_cast<uint64_t>(tile.problem().layer), static_cast<uint64_t>(tile.index().batch));
    const attnlab_tile& view = tile.view(rng_key, keys == nullptr ? nullptr : &keys->columns(),
                                         keys == nullptr ? nullptr : keys->opaque());
    workspace.writer.begin(tile, stage.samples());
    if (stage.masker.is_scorer()) {
      workspace.selector.run(stage.masker, *stage.selector, tile, view, workspace.current, workspace.writer);
    } else {
      PriorContext context{&tile, &workspace.current, &workspace.candidates};
      const attnlab_prior prior = make_prior(context);
      try {
        stage.masker.select(view, prior, workspace.writer.table());
      } catch (const base::UserError&) {
        // The plugin's message only says that the host refused; the writer knows what.
        if (workspace.writer.violation().empty()) throw;
      }
    }
    workspace.stage_read_bytes[s] = tile.read_bytes();
    workspace.writer.finish(workspace.current, outcome_of(stage.masker.descriptor()), workspace.next);
    if (const std::string& rule = workspace.writer.violation(); !rule.empty()) {
      stage.masker.fail(rule, "select", plugin::place_of(view));
    }
    std::swap(workspace.current, workspace.next);
    tile.clear_scratch();
    // Exact logits are shared work with a clock of their own.
    workspace.stage_seconds[s] = watch.seconds() - (tile.logits_seconds() - logits_before);
  }
  if (!variant.is_dense() && stages_[variant.end - 1].masker.descriptor().has(ATTNLAB_RETAINS)) {
    attend_to_retained(workspace.current, workspace.kept, workspace.all);
  }
}

size_t Pipeline::place_of(size_t stage) const {
  for (const Variant& variant : policy_.variants()) {
    if (variant.begin <= stage && stage < variant.end) return stage - variant.begin;
  }
  return stage;
}

bool Pipeline::wants_feedback() const {
  return std::any_of(stages_.begin(), stages_.end(),
                     [](const Stage& stage) { return stage.masker.wants_feedback(); });
}

void Pipeline::collect_warnings(std::vector<std::string>& warnings) const {
  for (const auto& stage : stages_) {
    warnings.insert(warnings.end(), stage.masker.warnings().begin(), stage.masker.warnings().end());
  }
}

}  // namespace attnlab::attention
