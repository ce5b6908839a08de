#include "core/measure/experiment.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <limits>
#include <mutex>

#include "core/base/parallel.hpp"
#include "core/config/resolve_policy.hpp"
#include "core/io/atomic_file.hpp"
#include "core/kernels/select.hpp"
#include "core/measure/cost.hpp"
#include "core/measure/picture.hpp"
#include "core/measure/reference.hpp"
#include "core/measure/row_metrics.hpp"

namespace attnlab::measure {
namespace {

using attention::Pipeline;
using attention::TileOutcome;
using base::UserError;

constexpr int64_t default_queries = 64;

/// Queries that are attended together between two looks at the clock and at Ctrl-C.
constexpr int64_t chunk = 1024;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

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

int64_t measured_queries(const config::RunPlan& plan, const data::Geometry& geometry) {
  if (plan.queries) return *plan.queries;
  return plan.mode == config::Mode::prefill ? geometry.queries : std::min(default_queries, geometry.queries);
}

std::vector<int> wanted_layers(const config::RunPlan& plan, const data::Source& source) {
  if (plan.layers.empty()) return source.layers();
  return {plan.layers.begin(), plan.layers.end()};
}

InputRecord describe_input(const config::RunPlan& plan, const data::Source& source,
                           const attention::AttentionOptions& attention) {
  const data::Geometry& g = source.geometry();
  InputRecord input;
  input.description = source.description();
  input.mode = name_of(plan.mode);
  input.batch = g.batch;
  input.query_heads = g.query_heads;
  input.kv_heads = g.kv_heads;
  input.queries = g.queries;
  input.keys = g.keys;
  input.head_dim = g.head_dim;
  input.value_dim = g.value_dim;
  input.measured_queries = measured_queries(plan, g);
  for (int layer : wanted_layers(plan, source)) input.layers.push_back(layer);
  input.causal = attention.causal;
  input.scale = double{attention.scale};
  input.kv_bytes_per_token = static_cast<double>(g.head_dim + g.value_dim) * sizeof(float);
  return input;
}

StageRecord describe_stage(const config::PipelinePlan& plan, size_t index, const plugin::Descriptor& method) {
  const config::StagePlan& stage = plan.stages[index];
  const io::Json written = to_json(stage, method);
  io::Json parameters = io::Json::object();
  for (const auto& [key, value] : written.items()) {
    if (key != "masker" && key != "name") parameters[key] = value;
  }
  // A config may not give what a preset fixes; a reader wants to know it.
  for (size_t i = 0; i < method.parameters.size(); ++i) {
    if (method.parameters[i].fixed) parameters[method.parameters[i].key] = to_json(stage.values[i]);
  }
  return {plan.stage_label(index), stage.masker, parameters};
}

PipelineRecord describe_pipeline(const config::PipelinePlan& plan,
                                 const std::vector<const plugin::Descriptor*>& descriptors) {
  PipelineRecord record;
  record.name = plan.name;
  std::vector<io::Json> stages;
  for (size_t s = 0; s < plan.stages.size(); ++s) {
    stages.push_back(to_json(plan.stages[s], *descriptors[s]));
    record.stages.push_back(describe_stage(plan, s, *descriptors[s]));
  }
  if (plan.policy) record.policy = policy_json(plan, stages);
  return record;
}

void attend_by_mode(config::Mode mode, attention::Session& session, attention::Engine& engine,
                    const std::vector<int64_t>& kv_heads, int64_t begin, int64_t count,
                    const attention::Visitor& visit, const std::function<void(int64_t)>& advance) {
  const data::Geometry& geometry = session.geometry();
  // Query i of Sq sits at position i + Sk - Sq.
  const int64_t offset = geometry.keys - geometry.queries;
  if (mode == config::Mode::decode) {
    session.append(begin + offset);
    session.end_prompt();
    engine.attend_prompt(session, begin, kv_heads);
    session.end_step();
    for (int64_t query = begin; query < begin + count; ++query) {
      session.append(query + offset + 1);
      engine.attend(session, query, 1, kv_heads, visit);
      session.end_step();
      advance(1);
    }
    return;
  }
  if (mode == config::Mode::question) {
    session.append(begin + offset);
    session.end_prompt();
    engine.attend_prompt(session, begin, kv_heads);
    session.end_step();
    session.append(geometry.keys);
  } else {
    session.append(geometry.keys);
    session.end_prompt();
  }
  for (int64_t query = begin; query < begin + count; query += chunk) {
    const int64_t rows = std::min(chunk, begin + count - query);
    engine.attend(session, query, rows, kv_heads, visit);
    advance(rows);
  }
}

attention::AttentionOptions attention_options(const config::RunPlan& plan, const data::Source& source) {
  attention::AttentionOptions options;
  const double head_dim = static_cast<double>(source.geometry().head_dim);
  options.causal = plan.attention.causal.value_or(source.causal().value_or(true));
  options.scale =
      static_cast<float>(plan.attention.scale.value_or(source.scale().value_or(1 / std::sqrt(head_dim))));
  options.on_empty_row = plan.attention.on_empty_row;
  options.seed = plan.seed;
  return options;
}

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
  const auto start = std::chrono::steady_clock::now();
  const data::Geometry& geometry = source.geometry();
  const attention::AttentionOptions attention = attention_options(plan, source);
  const std::vector<int> layers = wanted_layers(plan, source);
  const int64_t count = measured_queries(plan, geometry);
  const int64_t begin = geometry.queries - count;

  std::vector<int64_t> heads = plan.heads, kv_heads;
  for (int64_t head : heads) kv_heads.push_back(head / geometry.group());
  kv_heads.erase(std::unique(kv_heads.begin(), kv_heads.end()), kv_heads.end());
  if (heads.empty()) {
    for (int64_t h = 0; h < geometry.query_heads; ++h) heads.push_back(h);
  }

  RunRecord run;
  run.input = describe_input(plan, source, attention);
  std::vector<PipelineTotals> totals(pipelines.size());
  PictureCounter picture(layers.front(), heads.front(), begin, count, geometry.keys, pipelines.size());
  CostCounter cost(pipelines.size());
  attention::Engine engine(options.execution);
  Pacer pacer(options, count * static_cast<int64_t>(layers.size()));
  for (int layer_id : layers) {
    const auto load_start = std::chrono::steady_clock::now();
    const data::LayerProblem problem = source.load(layer_id);
    run.time.load_seconds += seconds_since(load_start);
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
    std::vector<const plugin::Descriptor*> descriptors;
    for (const auto& stage : pipelines[p].stages()) descriptors.push_back(&stage.masker.descriptor());
    PipelineRecord record = describe_pipeline(plan.pipelines[p], descriptors);
    record.quality = quality_of(totals[p].rows, totals[p].empty_rows);
    record.active = picture.take_active(p);
    record.reference_error = totals[p].reference_error;
    record.state_bytes = totals[p].state_bytes;
    record.cost = cost.cost(p, pipelines[p], clocks);
    PipelineTime time{record.name, clocks.attend[p], {}};
    for (size_t s = 0; s < record.stages.size(); ++s) {
      time.stages.emplace_back(record.stages[s].name, clocks.stages[p][s]);
      const auto& method = pipelines[p].stages()[s].masker.descriptor();
      const bool prefill = plan.mode == config::Mode::prefill;
      if (prefill && (method.has(ATTNLAB_RETAINS) || method.has(ATTNLAB_NEEDS_FEEDBACK))) {
        run.notes.push_back(
            fmt::format("{}: {} evicts only after the prompt, and prefill is the prompt: use decode",
                        record.name, record.stages[s].name));
      } else if (prefill && method.has(ATTNLAB_PROMPT_FITTED)) {
        run.notes.push_back(
            fmt::format("{}: {} is fitted on the whole prompt, so prefill rows know later keys", record.name,
                        record.stages[s].name));
      } else if (!prefill && method.has(ATTNLAB_NEEDS_FEEDBACK) && begin == 0 &&
                 geometry.keys > geometry.queries) {
        run.notes.push_back(
            fmt::format("{}: {} saw no queries of the prompt, as the input has none before the measured "
                        "ones: measure fewer",
                        record.name, record.stages[s].name));
      }
    }
    if (record.quality.empty_rows > 0) {
      run.notes.push_back(fmt::format("{}: {} rows selected no key (on_empty_row = {})", record.name,
                                      record.quality.empty_rows, name_of(plan.attention.on_empty_row)));
    }
    run.time.pipelines.push_back(std::move(time));
    run.pipelines.push_back(std::move(record));
  }
  run.plane = picture.take_plane();
  run.time.logits = clocks.logits;
  run.time.exact_rows = clocks.exact_rows;
  run.time.measure = clocks.visit;
  run.time.threads = base::thread_count();
  run.time.scratch_bytes = engine.scratch_bytes();
  run.time.wall_seconds = seconds_since(start);
  return run;
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
