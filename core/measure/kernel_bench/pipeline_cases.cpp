// Whole pipelines on one query, against the bare kernel on the lists that they choose.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <utility>
#include <vector>

#include "core/attention/session.hpp"
#include "core/base/parallel.hpp"
#include "core/kernels/attention/list_union.hpp"
#include "core/measure/kernel_bench/kernel_case.hpp"
#include "core/measure/scope.hpp"

namespace attnlab::measure {
namespace {

using io::Json;

constexpr int64_t queries = 16;  ///< last positions of the sequence, attended one by one in turn

/// A pipeline on several layers, its key-side state built, and what it chose for each query.
class Subject {
 public:
  Subject(const Json& stages, const data::Geometry& geometry, int64_t most_layers, CaseContext& context)
      : kv_(context.kv({geometry.kv_heads, geometry.keys, geometry.head_dim})),
        geometry_(geometry),
        query_(normals(geometry.query_heads * queries * geometry.head_dim, 2)),
        engine_({.kernels = context.kernels, .exact = false}) {
    config::Document document;
    document.set("/pipelines", Json{{"subject", stages}}, {"bench", "."});
    document.set("/input", Json{{"workload", "gaussian"}}, {"bench", "."});
    const config::RunPlan plan = config::resolve(document, *context.catalog);
    pipelines_.emplace_back(plan.pipelines.front(), *context.catalog, document);
    options_.scale = 1 / std::sqrt(static_cast<float>(geometry.head_dim));
    options_.on_empty_row = config::EmptyRow::zeros;
    const int64_t layers = std::min(most_layers, kv_->layers());
    for (int64_t layer = 0; layer < layers; ++layer) problems_.push_back(problem(layer));
    for (const auto& problem : problems_) {
      sessions_.emplace_back(pipelines_, problem, geometry_, options_);
      append_all(config::Mode::decode, sessions_.back(), engine_, {}, 0);
    }
    record_lists();
  }

  /// Chooses and attends, the next query of the next layer.
  void run() {
    const auto [layer, query] = next();
    engine_.attend(sessions_[layer], query, 1, {}, [](const attention::TileOutcome&) {});
  }

  /// Attends what was chosen for that query.
  void run_bare() {
    const auto [layer, query] = next();
    const std::vector<HeadLists>& heads = lists_[layer * queries + static_cast<size_t>(query)];
    base::parallel_for(std::ssize(heads), [&, layer = layer, query = query](int64_t i, int worker) {
      attend(layer, query, heads[static_cast<size_t>(i)], workers_[static_cast<size_t>(worker)]);
    });
  }

  int64_t places() const { return static_cast<int64_t>(lists_.size()); }
  /// Bytes of keys and values that a query attends to, each once for a KV head, on average.
  double attended_bytes() const { return attended_bytes_; }

 private:
  /// The lists of a KV head's group, each of some neighbouring rows.
  struct HeadLists {
    int64_t kv_head = 0;
    std::vector<std::pair<int64_t, attention::RowList>> lists;
  };

  struct Worker {
    kernels::ListUnion united;
    std::vector<kernels::KeyList> lists;
  };

  data::LayerProblem problem(int64_t layer) const {
    const auto view = [&](const float* values, int64_t heads, int64_t tokens) {
      const int64_t head_size = tokens * geometry_.head_dim;
      return tensor::HeadView{
          values, 1, heads, tokens, geometry_.head_dim, heads * head_size, head_size, geometry_.head_dim};
    };
    data::LayerProblem problem;
    problem.layer = static_cast<int>(layer);
    problem.query = view(query_.get(), geometry_.query_heads, queries);
    problem.key = view(kv_->key(layer, 0), geometry_.kv_heads, geometry_.keys);
    problem.value = view(kv_->value(layer, 0), geometry_.kv_heads, geometry_.keys);
    problem.valid = {geometry_.keys};
    return problem;
  }

  void record_lists() {
    lists_.resize(sessions_.size() * queries);
    std::mutex mutex;
    double keys = 0;
    for (size_t layer = 0; layer < sessions_.size(); ++layer) {
      for (int64_t query = 0; query < queries; ++query) {
        engine_.attend(sessions_[layer], query, 1, {}, [&](const attention::TileOutcome& outcome) {
          const std::lock_guard lock(mutex);
          keys +=
              static_cast<double>(record_tile(outcome, lists_[layer * queries + static_cast<size_t>(query)]));
        });
      }
    }
    attended_bytes_ = keys / static_cast<double>(lists_.size()) * 2 *
                      static_cast<double>(geometry_.head_dim) * sizeof(float);
  }

  /// Returns the number of keys that some row of the tile attends to.
  int64_t record_tile(const attention::TileOutcome& outcome, std::vector<HeadLists>& heads) const {
    HeadLists& head = heads.emplace_back();
    head.kv_head = outcome.tile->index().kv_head;
    std::vector<uint8_t> taken(static_cast<size_t>(geometry_.keys));
    const auto take = [&](int32_t key) { taken[static_cast<size_t>(key)] = 1; };
    for (int64_t row = 0; row < outcome.tile->rows();) {
      const int64_t end = outcome.selection->span_end(row);
      const attention::RowList& list = outcome.selection->list(row);
      head.lists.emplace_back(end - row, list);
      for (const auto& run : list.runs) {
        for (int32_t key = run.begin; key < run.end; ++key) take(key);
      }
      std::for_each(list.ids.begin(), list.ids.end(), take);
      std::for_each(list.sampled.begin(), list.sampled.end(), take);
      row = end;
    }
    return std::count(taken.begin(), taken.end(), uint8_t{1});
  }

  std::pair<size_t, int64_t> next() {
    const auto layers = static_cast<int64_t>(sessions_.size());
    const int64_t turn = turn_++;
    return {static_cast<size_t>(turn % layers), turn / layers % queries};
  }

  void attend(size_t layer, int64_t query, const HeadLists& head, Worker& worker) const {
    worker.lists.clear();
    for (const auto& [rows, list] : head.lists) {
      worker.lists.push_back({.rows = rows,
                              .runs = list.runs,
                              .ids = list.ids,
                              .sampled = list.sampled,
                              .log_weight = list.log_weight.data()});
    }
    kernels::Segment memory;
    memory.key = kv_->key(static_cast<int64_t>(layer), head.kv_head);
    memory.value = kv_->value(static_cast<int64_t>(layer), head.kv_head);
    memory.key_stride = memory.value_stride = geometry_.head_dim;
    constexpr int64_t most = 64;
    float out[most * 256], lse[most];
    kernels::AttendArguments arguments;
    arguments.query =
        query_.get() + (head.kv_head * geometry_.group() * queries + query) * geometry_.head_dim;
    arguments.query_stride = queries * geometry_.head_dim;
    arguments.rows = geometry_.group();
    arguments.head_dim = arguments.value_dim = arguments.out_stride = geometry_.head_dim;
    arguments.scale = options_.scale;
    arguments.out = out;
    arguments.lse = lse;
    worker.united.attend(kernels::active_table(), arguments, memory, worker.lists);
  }

  std::shared_ptr<const KvPool> kv_;
  data::Geometry geometry_;
  std::shared_ptr<float[]> query_;
  attention::Engine engine_;
  attention::AttentionOptions options_;
  std::vector<attention::Pipeline> pipelines_;  ///< one
  std::vector<data::LayerProblem> problems_;
  std::vector<attention::Session> sessions_;
  std::vector<std::vector<HeadLists>> lists_;  ///< [layer][query]
  std::vector<Worker> workers_ = std::vector<Worker>(static_cast<size_t>(base::worker_slots()));
  double attended_bytes_ = 0;
  int64_t turn_ = 0;
};

struct Pipeline {
  std::string name;
  Json stages;
  std::vector<int64_t> keys;
  int64_t most_layers = 64;  ///< fewer where the state of a layer takes long to build
  bool reads_keys = false;   ///< of every query: all keys, to choose
};

std::vector<Pipeline> pipelines(bool quick) {
  const int64_t window = quick ? 4 : 164;
  const auto magic_pig = [](int k, int l) {
    return Json{{"masker", "magic_pig"}, {"lsh_k", k}, {"lsh_l", l}};
  };
  const auto lengths = [quick](std::vector<int64_t> keys) {
    return quick ? std::vector<int64_t>{256} : keys;
  };
  const Json sink{{"masker", "sink"}, {"sink_size", 128}}, local{{"masker", "local"}, {"window_size", 128}};
  return {{"sink_local",
           {{{"masker", "sink"}, {"sink_size", window}}, {{"masker", "local"}, {"window_size", window}}},
           lengths({32768})},
          {"sink_local_oracle_top_k",
           {sink, local, {{"masker", "oracle_top_k"}, {"heavy_size", 0.1}}},
           lengths({8192, 32768}),
           64,
           true},
          {"magic_pig_k8_l32", Json::array({magic_pig(8, 32)}), lengths({32768}), 1},
          {"magic_pig_k10_l150", Json::array({magic_pig(10, 150)}), lengths({8192, 32768, 131072}), 1}};
}

}  // namespace

std::vector<KernelCase> pipeline_cases(bool quick) {
  std::vector<KernelCase> cases;
  for (const Pipeline& pipeline : pipelines(quick)) {
    for (int64_t keys : pipeline.keys) {
      data::Geometry geometry;
      geometry.query_heads = 32;
      geometry.kv_heads = 8;
      geometry.queries = queries;
      geometry.keys = keys;
      geometry.head_dim = geometry.value_dim = 128;
      const std::string shape = fmt::format("{}/k{}", pipeline.name, keys);
      // Both cases work on one subject, made by the first of them.
      const auto subject = std::make_shared<std::weak_ptr<Subject>>();
      const auto make_subject = [=](CaseContext& context) {
        auto made = subject->lock();
        if (made == nullptr) {
          made = std::make_shared<Subject>(pipeline.stages, geometry, pipeline.most_layers, context);
          *subject = made;
        }
        return made;
      };
      KernelCase bare;
      bare.name = "bare/" + shape;
      bare.family = shape;
      bare.make = [=](CaseContext& context) {
        const auto made = make_subject(context);
        return PreparedCase{[made] { made->run_bare(); }, made->places(), "attention to the lists alone",
                            made->attended_bytes()};
      };
      KernelCase whole;
      whole.name = "pipeline/" + shape;
      whole.family = shape;
      whole.baseline = bare.name;
      whole.make = [=](CaseContext& context) {
        const auto made = make_subject(context);
        const double key_bytes =
            static_cast<double>(geometry.kv_heads * keys * geometry.head_dim) * sizeof(float);
        return PreparedCase{[made] { made->run(); }, made->places(), "",
                            pipeline.reads_keys ? made->attended_bytes() + key_bytes : 0};
      };
      cases.push_back(std::move(bare));
      cases.push_back(std::move(whole));
    }
  }
  return cases;
}

}  // namespace attnlab::measure
