#include "core/measure/sharded.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "core/base/parallel.hpp"
#include "core/base/stopwatch.hpp"
#include "core/io/atomic_file.hpp"
#include "core/io/npy.hpp"
#include "core/measure/row_metrics.hpp"
#include "core/measure/shard_worker.hpp"

namespace attnlab::measure {
namespace {

using base::UserError;
using io::Json;
using Kind = Exchange::Kind;

/// Rank 0's part beside its own shard: merges the partial rows and measures them.
class Merger {
 public:
  Merger(const config::RunPlan& plan, const Pipelines& pipelines, const data::Source& source,
         const ExperimentOptions& options, Exchange& exchange, ShardWorker& worker, RunRecord& run)
      : plan_(plan),
        pipelines_(pipelines),
        source_(source),
        options_(options),
        exchange_(exchange),
        worker_(worker),
        run_(run),
        rows_(pipelines.size()),
        empty_rows_(pipelines.size()),
        heads_(measured_heads(plan, source.geometry())) {
    total_ = static_cast<int64_t>(wanted_layers(plan, source).size() * worker.sharding().kv_heads.size());
  }

  void merge_round(int layer, size_t begin, size_t end) {
    if (begin == 0) start_layer(layer);
    for (size_t index = begin; index < end; ++index) merge_head(index);
    done_ += static_cast<int64_t>(end - begin);
    if (options_.on_progress)
      options_.on_progress(done_ * worker_.rows().queries, total_ * worker_.rows().queries);
    poll();
    if (end == worker_.sharding().kv_heads.size()) end_layer(layer);
  }

  void poll() const {
    if (options_.cancelled && options_.cancelled()) {
      throw UserError("interrupted; the layers that were finished are in rows.jsonl", {},
                      base::Exit::interrupted);
    }
  }

  Quality quality(size_t pipeline) const { return quality_of(rows_[pipeline], empty_rows_[pipeline]); }

 private:
  void start_layer(int layer) {
    const data::Geometry& g = source_.geometry();
    const int64_t queries = worker_.rows().queries;
    tables_.assign(pipelines_.size(), RowTable(g.batch, g.query_heads, queries));
    outputs_.clear();
    for (size_t p = 0; p < pipelines_.size() && options_.dump.output; ++p) {
      const std::string folder = options_.dump_folder + "/" + pipelines_[p].name();
      io::create_directories(folder);
      const bool only_layer = wanted_layers(plan_, source_).size() == 1;
      const std::string prefix = only_layer ? "" : fmt::format("layer{:02}_", layer);
      outputs_.push_back(std::make_unique<io::NpyWriter>(
          folder + "/" + prefix + "output.npy", tensor::Shape{g.batch, g.query_heads, queries, g.value_dim}));
    }
  }

  void merge_head(size_t index) {
    const attention::HeadRows rows = worker_.rows();
    std::string empty(pipelines_.size() * static_cast<size_t>(rows.size()), 0);
    if (worker_.selects()) {
      empty = exchange_.wait(worker_.sharding().owner(index), Kind::selected, worker_.tag(index));
    }
    std::vector<PartialRows> shards;
    for (int rank = 0; rank < exchange_.count(); ++rank) {
      const std::string partial = exchange_.wait(rank, Kind::partial, worker_.tag(index));
      shards.push_back(PartialRows::read(partial, rows, source_.geometry().value_dim));
    }
    const base::Stopwatch watch;
    const int64_t group = rows.group, kv_head = worker_.sharding().kv_heads[index];
    const std::vector<float>& sinks = worker_.sink_logit();
    RowMerger merger(shards);
    for (int64_t row = 0; row < rows.size(); ++row) {
      const int64_t line = row / group, batch = line / rows.queries, query = line % rows.queries;
      const int64_t head = kv_head * group + row % group;
      std::optional<double> sink;
      if (!sinks.empty()) sink = double{sinks[static_cast<size_t>(head)]};
      merger.start(row, sink);
      for (size_t p = 0; p < pipelines_.size(); ++p) {
        const RowMetrics metrics = merger.merge(p);
        const size_t flag = p * static_cast<size_t>(rows.size()) + static_cast<size_t>(row);
        tables_[p].put(batch, head, query, metrics, empty[flag] != 0);
        if (!outputs_.empty()) {
          const int64_t place = (batch * source_.geometry().query_heads + head) * rows.queries + query;
          std::copy(merger.out().begin(), merger.out().end(),
                    outputs_[p]->values().begin() + place * source_.geometry().value_dim);
        }
      }
      compare_expected(batch, head, query, merger.exact_out());
    }
    worker_.record().merge_seconds += watch.seconds();
  }

  void compare_expected(int64_t batch, int64_t head, int64_t query, const std::vector<float>& exact) {
    const data::LayerProblem& shard = worker_.shard();
    if (shard.expected_output.data == nullptr) return;
    const int64_t first_head = shard.kv_head_begin * worker_.rows().group;
    const float* expected = shard.expected_output.row(batch, head - first_head, query);
    for (size_t i = 0; i < exact.size(); ++i) {
      run_.input.expected_output_difference =
          std::max(run_.input.expected_output_difference, std::abs(double{exact[i]} - double{expected[i]}));
    }
  }

  void end_layer(int layer) {
    for (auto& output : outputs_) output->commit();
    std::vector<HeadRecord> records;
    for (size_t p = 0; p < pipelines_.size(); ++p) {
      for (int64_t head : heads_) {
        records.push_back({pipelines_[p].name(), layer, head, tables_[p].quality({head})});
      }
      tables_[p].append(heads_, rows_[p], empty_rows_[p]);
    }
    if (options_.on_layer) options_.on_layer(records);
    run_.heads.insert(run_.heads.end(), records.begin(), records.end());
  }

  const config::RunPlan& plan_;
  const Pipelines& pipelines_;
  const data::Source& source_;
  const ExperimentOptions& options_;
  Exchange& exchange_;
  ShardWorker& worker_;
  RunRecord& run_;
  std::vector<std::vector<RowMetrics>> rows_;
  std::vector<int64_t> empty_rows_, heads_;
  std::vector<RowTable> tables_;
  std::vector<std::unique_ptr<io::NpyWriter>> outputs_;
  int64_t done_ = 0, total_ = 0;
};

}  // namespace

Sharding::Sharding(const config::RunPlan& plan, const data::Geometry& geometry, int rank_count)
    : ranks(rank_count), keys(geometry.keys), kv_heads(measured_kv_heads(plan, geometry)) {}

std::vector<int64_t> Sharding::bounds() const {
  std::vector<int64_t> bounds;
  for (int rank = 0; rank <= ranks; ++rank) bounds.push_back(bound(rank));
  return bounds;
}

Json ranks_json(const std::vector<RankRecord>& ranks) {
  Json json = Json::array();
  for (const RankRecord& r : ranks) {
    json.push_back({{"rank", r.rank},
                    {"keys", r.keys},
                    {"shard_bytes", r.shard_bytes},
                    {"head_bytes", r.head_bytes},
                    {"index_bytes", r.index_bytes},
                    {"mask_bytes", r.mask_bytes},
                    {"sent_bytes", r.sent_bytes},
                    {"sent_mask_bytes", r.sent_mask_bytes},
                    {"sent_partial_bytes", r.sent_partial_bytes}});
  }
  return json;
}

Json rank_times_json(const std::vector<RankRecord>& ranks) {
  Json json = Json::array();
  for (const RankRecord& r : ranks) {
    json.push_back({{"rank", r.rank},
                    {"load_seconds", r.load_seconds},
                    {"select_seconds", r.select_seconds},
                    {"attend_seconds", r.attend_seconds},
                    {"merge_seconds", r.merge_seconds},
                    {"wait_seconds", r.wait_seconds},
                    {"peak_resident_bytes", r.peak_resident_bytes}});
  }
  return json;
}

void check_sharded(const ExperimentOptions& options) {
  const auto refuse = [](const char* what, const char* why) {
    throw UserError(fmt::format("{} is not for runs over ranks", what), {.found = what, .suggestion = why});
  };
  constexpr const char* plane =
      "no rank holds a plane of all keys: run it in one process, or dump the output";
  if (options.dump.mask) refuse("--dump mask", plane);
  if (options.dump.weights) refuse("--dump weights", plane);
  if (options.reference) refuse("--reference", "no rank holds all keys: run a shorter input in one process");
}

ShardedRun run_sharded(const config::RunPlan& plan, const Pipelines& pipelines, const data::Source& source,
                       const ExperimentOptions& options, Exchange& exchange) {
  const base::Stopwatch watch;
  check_sharded(options);
  ShardedRun result;
  RunRecord& run = result.run;
  const data::Geometry& geometry = source.geometry();
  run.input = describe_input(plan, source, attention_options(plan, source));
  ShardWorker worker(plan, pipelines, source, options, exchange);
  Merger merger(plan, pipelines, source, options, exchange, worker, run);
  exchange.on_wait = [&] { merger.poll(); };
  worker.run([&](int layer, size_t begin, size_t end) { merger.merge_round(layer, begin, end); });

  RunTotals totals(pipelines.size());
  totals.add(worker.summary());
  for (int rank = 1; rank < exchange.count(); ++rank) totals.add(exchange.wait(rank, Kind::summary, 0));
  CostSums queries;
  queries.queries =
      static_cast<uint64_t>(worker.rows().queries * geometry.batch) *
      static_cast<uint64_t>(worker.sharding().kv_heads.size() * wanted_layers(plan, source).size());
  for (size_t p = 0; p < pipelines.size(); ++p) totals.cost.add(p, queries);
  run.input.dense_bytes_per_query = totals.cost.dense_bytes_per_query();
  for (size_t p = 0; p < pipelines.size(); ++p) {
    PipelineFigures figures;
    figures.quality = merger.quality(p);
    // Where nothing is selected no clock has counted queries, and nothing is read to select.
    figures.cost = totals.cost.cost(p, pipelines[p], totals.clocks);
    figures.attend_seconds = totals.clocks.attend[p];
    figures.stage_seconds = totals.clocks.stages[p];
    figures.prompt_seen = worker.rows().query_begin > 0 || geometry.keys == geometry.queries;
    add_pipeline(plan, pipelines, p, figures, run).state_bytes = totals.state_bytes[p];
  }
  run.time.logits = totals.clocks.logits;
  run.time.exact_rows = totals.clocks.exact_rows;
  run.time.measure = totals.clocks.visit;
  run.time.threads = base::thread_count();
  run.time.scratch_bytes = totals.scratch_bytes;
  for (const RankRecord& rank : totals.ranks) run.time.load_seconds += rank.load_seconds;
  run.time.wall_seconds = watch.seconds();
  result.ranks = std::move(totals.ranks);
  return result;
}

void serve_shards(const config::RunPlan& plan, const Pipelines& pipelines, const data::Source& source,
                  const ExperimentOptions& options, Exchange& exchange) {
  ShardWorker worker(plan, pipelines, source, options, exchange);
  worker.run([](int, size_t, size_t) {});
  exchange.send(0, Kind::summary, 0, worker.summary());
}

}  // namespace attnlab::measure
