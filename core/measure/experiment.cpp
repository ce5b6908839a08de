#include "core/measure/experiment.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <mutex>

#include "core/base/parallel.hpp"
#include "core/base/stopwatch.hpp"
#include "core/config/resolve_policy.hpp"
#include "core/io/atomic_file.hpp"
#include "core/kernels/selection/select.hpp"
#include "core/measure/cost.hpp"
#include "core/measure/picture.hpp"
#include "core/measure/reference.hpp"
#include "core/measure/row_metrics.hpp"

namespace attnlab::measure {
namespace {

using attention::Pipeline;
using attention::TileOutcome;
using base::UserError;

/// Largest of values that arrive from several threads.
void raise(std::atomic<double>& largest, double value) {
  double current = largest;
  while (value > current && !largest.compare_exchange_weak(current, value)) {
  }
}

/// Results of one pipeline that grow over the layers.
struct PipelineTotals {
  std::vector<RowMetrics> rows;
  int64_t empty_rows = 0;
  std::atomic<double> reference_error{-1};
  uint64_t state_bytes = 0;
};

/// One layer of a run: its tables, dumps and the visitor that fills them.
class LayerRun {
 public:
  LayerRun(const std::vector<Pipeline>& pipelines, const data::LayerProblem& problem,
           const data::Geometry& geometry, const ExperimentOptions& options, int64_t query_begin,
           int64_t query_count, bool only_layer, std::vector<PipelineTotals>& totals, PictureCounter& picture,
           CostCounter& cost)
      : problem_(problem),
        geometry_(geometry),
        options_(options),
        query_begin_(query_begin),
        totals_(totals),
        picture_(picture),
        cost_(cost) {
    for (const auto& pipeline : pipelines) {
      tables_.emplace_back(geometry.batch, geometry.query_heads, query_count);
      if (!options.dump.any()) continue;
      const std::string folder = options.dump_folder + "/" + pipeline.name();
      io::create_directories(folder);
      const std::string prefix = only_layer ? "" : fmt::format("layer{:02}_", problem.layer);
      dumps_.push_back(std::make_unique<Dump>(options.dump, folder, prefix, geometry, query_count));
    }
  }

  void visit(const TileOutcome& outcome) {
    const attention::Tile& tile = *outcome.tile;
    PipelineTotals& totals = totals_[outcome.pipeline];
    cost_.add(outcome);
    for (int64_t row = 0; row < tile.rows(); ++row) {
      const int64_t query = tile.query_of(row) - query_begin_;
      const int64_t head = tile.head_of(row);
      tables_[outcome.pipeline].put(tile.index().batch, head, query, measure_row(outcome, row),
                                    (*outcome.empty)[static_cast<size_t>(row)] != 0);
      if (!dumps_.empty()) dumps_[outcome.pipeline]->put(outcome, row, query);
      if (options_.reference) raise(totals.reference_error, reference_deviation(outcome, row));
      if (picture_.layer() == problem_.layer && picture_.head() == head && tile.index().batch == 0) {
        picture_.add(outcome, row, query);
      }
      if (outcome.pipeline == 0) compare_exact(outcome, row);
    }
  }

  void commit_dumps() {
    for (auto& dump : dumps_) dump->commit();
  }
  const RowTable& table(size_t pipeline) const { return tables_[pipeline]; }
  double expected_difference() const { return expected_difference_; }
  double mass_difference() const { return mass_difference_; }

 private:
  /// What the input knows about the right answer.
  void compare_exact(const TileOutcome& outcome, int64_t row) {
    attention::Tile& tile = *outcome.tile;
    const int64_t batch = tile.index().batch;
    if (problem_.expected_output.data != nullptr) {
      const float* expected = problem_.expected_output.row(batch, tile.head_of(row), tile.query_of(row));
      for (int64_t i = 0; i < geometry_.value_dim; ++i) {
        raise(expected_difference_,
              std::abs(double{outcome.exact_out[row * geometry_.value_dim + i]} - double{expected[i]}));
      }
    }
    // The last query is enough: one construction serves all rows of a head, and each check costs a softmax.
    if (problem_.true_mass.empty() || tile.query_of(row) != geometry_.queries - 1) return;
    const float* mass = problem_.true_mass.values<float>().data() +
                        (batch * geometry_.kv_heads + tile.index().kv_head) * geometry_.keys;
    const float* logits = tile.logits() + row * tile.logits_stride();
    const kernels::Range visible{0, static_cast<int32_t>(tile.visible_end(row))};
    const double lse = kernels::log_sum_exp(logits, {&visible, 1});
    double total = 0;
    for (int64_t j = 0; j < visible.end; ++j) total += double{mass[j]};
    for (int64_t j = 0; j < visible.end; ++j) {
      raise(mass_difference_, std::abs(std::exp(double{logits[j]} - lse) - double{mass[j]} / total));
    }
  }

  const data::LayerProblem& problem_;
  const data::Geometry& geometry_;
  const ExperimentOptions& options_;
  int64_t query_begin_;
  std::vector<PipelineTotals>& totals_;
  PictureCounter& picture_;
  CostCounter& cost_;
  std::vector<RowTable> tables_;
  std::vector<std::unique_ptr<Dump>> dumps_;
  std::atomic<double> expected_difference_{-1}, mass_difference_{-1};
};

/// Counts rows for progress and stops when asked to.
class Pacer {
 public:
  Pacer(const ExperimentOptions& options, int64_t total) : options_(options), total_(total) {}
  void advance(int64_t rows) {
    done_ += rows;
    if (options_.on_progress) options_.on_progress(done_, total_);
    if (options_.cancelled && options_.cancelled()) {
      throw UserError("interrupted; the layers that were finished are in rows.jsonl", {},
                      base::Exit::interrupted);
    }
  }

 private:
  const ExperimentOptions& options_;
  int64_t done_ = 0, total_;
};

}  // namespace

void check_plan(const config::RunPlan& plan, const data::Source& source, const config::Document& document,
                const ExperimentOptions& options) {
  const data::Geometry& geometry = source.geometry();
  auto refuse = [&](const std::string& pointer, const std::string& summary, const std::string& found,
                    const std::string& allowed) {
    base::Mistake mistake = document.where(pointer);
    mistake.found = found;
    mistake.allowed = allowed;
    throw UserError(summary, mistake);
  };
  for (int64_t layer : plan.layers) {
    const auto& layers = source.layers();
    if (std::find(layers.begin(), layers.end(), static_cast<int>(layer)) != layers.end()) continue;
    std::vector<std::string> names;
    for (int l : layers) names.push_back(std::to_string(l));
    refuse("/layers", "the input has no such layer", std::to_string(layer), base::join(names));
  }
  for (int64_t head : plan.heads) {
    if (head < geometry.query_heads) continue;
    refuse("/heads", "the input has no such query head", std::to_string(head),
           fmt::format("0 to {}", geometry.query_heads - 1));
  }
  if (plan.queries && *plan.queries > geometry.queries) {
    refuse("/queries", "the input has fewer queries", std::to_string(*plan.queries),
           fmt::format("1 to {}", geometry.queries));
  }
  if (plan.mode == config::Mode::decode && !attention_options(plan, source).causal) {
    refuse("/mode", "decode is causal, and this input is not", "decode", "prefill | question");
  }
  const std::vector<int> run = wanted_layers(plan, source);
  for (const auto& pipeline : plan.pipelines) {
    config::check_policy(pipeline, document, source.layers(), run, geometry.query_heads, geometry.group());
  }
  const uint64_t bytes = dump_bytes(options.dump, geometry, measured_queries(plan, geometry)) *
                         plan.pipelines.size() * run.size();
  if (bytes > options.max_dump_bytes) {
    throw UserError(
        "the dump would be too large",
        {.found = fmt::format("{} bytes ({:.1f} GiB): {} pipelines x {} layers x {} x {} x {} rows", bytes,
                              static_cast<double>(bytes) / (1 << 30), plan.pipelines.size(), run.size(),
                              geometry.batch, geometry.query_heads, measured_queries(plan, geometry)),
         .allowed = fmt::format("at most {} bytes (--max-dump-bytes)", options.max_dump_bytes),
         .suggestion = "choose fewer --layers or --queries, or raise --max-dump-bytes"});
  }
}

RunRecord run_experiment(const config::RunPlan& plan, const std::vector<Pipeline>& pipelines,
                         const data::Source& source, const ExperimentOptions& options) {
  const base::Stopwatch watch;
  const data::Geometry& geometry = source.geometry();
  const attention::AttentionOptions attention = attention_options(plan, source);
  const std::vector<int> layers = wanted_layers(plan, source);
  const int64_t count = measured_queries(plan, geometry);
  const int64_t begin = geometry.queries - count;

  const std::vector<int64_t> kv_heads = measured_kv_heads(plan, geometry);
  const std::vector<int64_t> heads = measured_heads(plan, geometry);

  RunRecord run;
  run.input = describe_input(plan, source, attention);
  std::vector<PipelineTotals> totals(pipelines.size());
  PictureCounter picture(layers.front(), heads.front(), begin, count, geometry.keys, pipelines.size());
  CostCounter cost(pipelines.size());
  attention::Engine engine(options.execution);
  Pacer pacer(options, count * static_cast<int64_t>(layers.size()));
  for (int layer_id : layers) {
    const base::Stopwatch load_watch;
    const data::LayerProblem problem = source.load(layer_id);
    run.time.load_seconds += load_watch.seconds();
    attention::Session session(pipelines, problem, geometry, attention);
    LayerRun layer(pipelines, problem, geometry, options, begin, count, layers.size() == 1, totals, picture,
                   cost);
    attend_by_mode(
        plan.mode, session, engine, kv_heads, begin, count,
        [&](const TileOutcome& outcome) { layer.visit(outcome); }, [&](int64_t n) { pacer.advance(n); });
    layer.commit_dumps();
    cost.add_state(session);

    std::vector<HeadRecord> records;
    for (size_t p = 0; p < pipelines.size(); ++p) {
      for (int64_t head : heads) {
        records.push_back({pipelines[p].name(), layer_id, head, layer.table(p).quality({head})});
      }
      layer.table(p).append(heads, totals[p].rows, totals[p].empty_rows);
      totals[p].state_bytes += session.state_bytes(p);
    }
    if (options.on_layer) options.on_layer(records);
    run.heads.insert(run.heads.end(), records.begin(), records.end());
    run.input.expected_output_difference =
        std::max(run.input.expected_output_difference, layer.expected_difference());
    run.input.true_mass_difference = std::max(run.input.true_mass_difference, layer.mass_difference());
  }

  run.input.dense_bytes_per_query = cost.dense_bytes_per_query();
  const attention::Clocks& clocks = engine.clocks();
  for (size_t p = 0; p < pipelines.size(); ++p) {
    PipelineFigures figures;
    figures.quality = quality_of(totals[p].rows, totals[p].empty_rows);
    figures.cost = cost.cost(p, pipelines[p], clocks);
    figures.attend_seconds = clocks.attend[p];
    figures.stage_seconds = clocks.stages[p];
    figures.prompt_seen = begin > 0 || geometry.keys == geometry.queries;
    PipelineRecord& record = add_pipeline(plan, pipelines, p, figures, run);
    record.active = picture.take_active(p);
    record.reference_error = totals[p].reference_error;
    record.state_bytes = totals[p].state_bytes;
  }
  run.plane = picture.take_plane();
  run.time.logits = clocks.logits;
  run.time.exact_rows = clocks.exact_rows;
  run.time.measure = clocks.visit;
  run.time.threads = base::thread_count();
  run.time.scratch_bytes = engine.scratch_bytes();
  run.time.wall_seconds = watch.seconds();
  return run;
}

PipelineRecord& add_pipeline(const config::RunPlan& plan, const Pipelines& pipelines, size_t index,
                             const PipelineFigures& figures, RunRecord& run) {
  std::vector<const plugin::Descriptor*> descriptors;
  for (const auto& stage : pipelines[index].stages()) descriptors.push_back(&stage.masker.descriptor());
  PipelineRecord record = describe_pipeline(plan.pipelines[index], descriptors);
  record.quality = figures.quality;
  record.cost = figures.cost;
  PipelineTime time{record.name, figures.attend_seconds, {}};
  for (size_t s = 0; s < record.stages.size(); ++s) {
    time.stages.emplace_back(record.stages[s].name, figures.stage_seconds[s]);
  }
  add_notes(record, descriptors, plan.mode, figures.prompt_seen, run.notes);
  if (record.quality.empty_rows > 0) {
    run.notes.push_back(fmt::format("{}: {} rows selected no key (on_empty_row = {})", record.name,
                                    record.quality.empty_rows, name_of(plan.attention.on_empty_row)));
  }
  run.time.pipelines.push_back(std::move(time));
  run.pipelines.push_back(std::move(record));
  return run.pipelines.back();
}

PipelineRecord failed_pipeline(const config::PipelinePlan& plan, const plugin::Catalog& catalog,
                               const std::string& failure) {
  std::vector<const plugin::Descriptor*> descriptors;
  for (const auto& stage : plan.stages) descriptors.push_back(&catalog.find(stage.masker)->descriptor);
  PipelineRecord record = describe_pipeline(plan, descriptors);
  record.failure = failure;
  constexpr double none = std::numeric_limits<double>::quiet_NaN();
  const Summary nothing{0, none, none, none, none, none};
  record.quality = {nothing, nothing, nothing, nothing, nothing, 0};
  record.cost.attended_bytes_per_query = none;
  return record;
}

}  // namespace attnlab::measure
