#include "core/train/hash_trainer.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <memory>
#include <optional>

#include "core/base/error.hpp"
#include "core/base/hash.hpp"
#include "core/base/parallel.hpp"
#include "core/io/archive.hpp"
#include "core/io/safetensors.hpp"

namespace attnlab::train {
namespace {

using io::Json;
using tensor::DType;
using tensor::Tensor;
using Clock = std::chrono::steady_clock;

/// Between two looks at the clock and at Ctrl-C.
constexpr int64_t steps_between_polls = 5;

using Heads = std::vector<std::unique_ptr<HashHead>>;

Tensor rows_tensor(const std::vector<std::span<const float>>& rows) {
  const auto width = static_cast<int64_t>(rows.front().size());
  auto tensor = Tensor::zeros(DType::f32, {static_cast<int64_t>(rows.size()), width});
  auto out = tensor.mutable_values<float>().begin();
  for (const auto& row : rows) out = std::copy(row.begin(), row.end(), out);
  return tensor;
}

/// What must be equal for a checkpoint to belong to this training: the options, and the first layer's
/// numbers.
std::string identity(const data::Source& source, const HashOptions& options,
                     const data::LayerProblem& first) {
  Json json = to_json(options);
  const data::Geometry& g = source.geometry();
  json["input"] = {g.batch, g.query_heads, g.kv_heads, g.queries, g.keys, g.head_dim};
  for (const auto* view : {&first.query, &first.key}) {
    for (int64_t b = 0; b < view->batch; ++b) {
      for (int64_t h = 0; h < view->heads; ++h) {
        std::vector<float> rows;
        for (int64_t t = 0; t < view->tokens; ++t)
          rows.insert(rows.end(), view->row(b, h, t), view->row(b, h, t) + view->channels);
        json["content"].push_back(base::hash_hex(rows.data(), rows.size() * sizeof(float)));
      }
    }
  }
  return base::hash_hex(json.dump());
}

/// The state between two steps: finished layers, and the heads of the one in work.
class Checkpoint {
 public:
  Checkpoint(std::string path, std::string identity)
      : path_(std::move(path)), identity_(std::move(identity)) {}

  void write(const HashTraining& done, const Heads& heads, int64_t step) const {
    std::vector<std::pair<std::string, Tensor>> tensors;
    auto add = [&](const std::string& name, const auto& member) {
      std::vector<std::span<const float>> rows;
      for (const auto& head : heads) rows.emplace_back(member(*head));
      tensors.emplace_back(name, rows_tensor(rows));
    };
    add(
        "parameters", [](const HashHead& head) -> const auto& { return head.parameters; });
    add(
        "first_moment", [](const HashHead& head) -> const auto& { return head.first_moment; });
    add(
        "second_moment", [](const HashHead& head) -> const auto& { return head.second_moment; });
    for (size_t i = 0; i < done.weights.layers.size(); ++i) {
      const HashLayer& layer = done.weights.layers[i];
      for (const auto& [side, mlps] : {std::pair{"query", &layer.query}, std::pair{"key", &layer.key}}) {
        const std::vector<std::span<const float>> rows(mlps->begin(), mlps->end());
        tensors.emplace_back(fmt::format("done.{}.{}", i, side), rows_tensor(rows));
      }
      auto recall = Tensor::zeros(DType::f64, {static_cast<int64_t>(done.recall[i].size()), 4});
      auto* out = recall.mutable_values<double>().data();
      for (const HashRecall& r : done.recall[i]) {
        for (double figure : {r.learned, r.random, r.loss, static_cast<double>(r.queries)}) *out++ = figure;
      }
      tensors.emplace_back(fmt::format("done.{}.recall", i), recall);
    }
    io::write_safetensors(path_, tensors,
                          {{"format", "attnlab.hash_training/1"},
                           {"training", identity_},
                           {"done", std::to_string(done.weights.layers.size())},
                           {"step", std::to_string(step)}});
  }

  /// Fills `done`; `resume_heads` later fills the heads.
  void read(HashTraining& done, const std::vector<int>& layers) {
    archive_ = io::Archive::open(path_);
    const auto& metadata = archive_->metadata();
    auto text = [&](const char* key) { return metadata.contains(key) ? metadata.at(key) : std::string(); };
    if (text("format") != "attnlab.hash_training/1" || text("training") != identity_) {
      throw base::UserError("the checkpoint is of another training",
                            {.file = path_,
                             .allowed = "the same input and options as before, --threads apart",
                             .suggestion = "remove the file, or leave --resume out, to begin anew"});
    }
    auto number = [&](const char* key) {
      int64_t value = -1;
      const std::string digits = text(key);
      std::from_chars(digits.data(), digits.data() + digits.size(), value);
      return value;
    };
    const int64_t count = number("done");
    step_ = number("step");
    if (step_ < 0 || count < 0 || count >= static_cast<int64_t>(layers.size())) damaged("step");
    for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
      HashLayer layer{layers.at(i), {}, {}};
      for (const auto& [side, mlps] : {std::pair{"query", &layer.query}, std::pair{"key", &layer.key}})
        *mlps = rows(fmt::format("done.{}.{}", i, side), done.weights.heads, done.weights.shape.mlp_size());
      done.weights.layers.push_back(std::move(layer));
      const Tensor recall = archive_->read(fmt::format("done.{}.recall", i));
      if (recall.dtype() != DType::f64 || recall.shape() != tensor::Shape{done.weights.heads, 4})
        damaged("recall");
      auto& heads = done.recall.emplace_back();
      const auto values = recall.values<double>();
      for (size_t h = 0; h < values.size(); h += 4)
        heads.push_back({values[h], values[h + 1], values[h + 2], static_cast<int64_t>(values[h + 3])});
    }
  }

  /// The step that the heads had reached.
  int64_t resume_heads(Heads& heads) {
    auto of_heads = [&](const char* name) {
      return rows(name, static_cast<int64_t>(heads.size()), heads.front()->shape().size());
    };
    const auto parameters = of_heads("parameters"), first = of_heads("first_moment"),
               second = of_heads("second_moment");
    for (size_t h = 0; h < heads.size(); ++h) {
      heads[h]->parameters = parameters.at(h);
      heads[h]->first_moment = first.at(h);
      heads[h]->second_moment = second.at(h);
    }
    archive_.reset();
    return step_;
  }
  bool pending() const { return archive_.has_value(); }
  void remove() const { std::filesystem::remove(path_); }

 private:
  [[noreturn]] void damaged(const std::string& part) const {
    throw base::UserError("a damaged checkpoint", {.file = path_, .pointer = part});
  }
  std::vector<std::vector<float>> rows(const std::string& name, int64_t count, int64_t width) const {
    const Tensor tensor = archive_->read(name);
    if (tensor.dtype() != DType::f32 || tensor.shape() != tensor::Shape{count, width}) damaged(name);
    const float* from = tensor.values<float>().data();
    std::vector<std::vector<float>> result;
    for (int64_t row = 0; row < count; ++row)
      result.emplace_back(from + row * width, from + (row + 1) * width);
    return result;
  }

  std::string path_, identity_;
  int64_t step_ = 0;
  std::optional<io::Archive> archive_;  ///< the one being resumed
};

/// Weights that overflowed have no codes; hash_attention would refuse them.
void check_finite(const HashHead& head, int layer, size_t index) {
  for (const auto& mlp : {head.query_mlp(), head.key_mlp()}) {
    if (std::all_of(mlp.begin(), mlp.end(), [](float x) { return std::isfinite(x); })) continue;
    throw base::UserError(fmt::format("the training of layer {}, head {} diverged", layer, index),
                          {.found = "weights that are NaN or infinite",
                           .suggestion = "choose a smaller --learning-rate or --positive-weight"});
  }
}

/// Adds the means over heads.
void put_means(const std::vector<HashRecall>& heads, Json& json) {
  double learned = 0, random = 0;
  for (const auto& head : heads) {
    learned += head.learned / static_cast<double>(heads.size());
    random += head.random / static_cast<double>(heads.size());
  }
  json["learned"] = learned;
  json["random"] = random;
}

}  // namespace

io::Json to_json(const HashOptions& o) {
  return {{"bits", o.bits},
          {"mlp_layers", o.layers},
          {"hidden", o.hidden},
          {"activation", name_of(o.activation)},
          {"per", o.per_query_head ? "query_head" : "kv_head"},
          {"top_k", to_json(plugin::Value{o.top_k})},
          {"steps", o.steps},
          {"batch", o.batch},
          {"keys", o.keys},
          {"learning_rate", o.learning_rate},
          {"positive_weight", o.positive_weight},
          {"length_weight", o.length_weight},
          {"held_out", o.held_out},
          {"seed", o.seed},
          {"causal", o.causal},
          {"scale", o.scale},
          {"layers", o.source_layers}};
}

void put_recall(const HashTraining& training, io::Json& summary) {
  summary["layers"] = Json::array();
  std::vector<HashRecall> all;
  for (size_t i = 0; i < training.recall.size(); ++i) {
    Json layer = {{"layer", training.weights.layers[i].layer}};
    put_means(training.recall[i], layer);
    for (const auto& head : training.recall[i]) {
      layer["heads"].push_back({{"learned", head.learned},
                                {"random", head.random},
                                {"loss", head.loss},
                                {"queries", head.queries}});
      all.push_back(head);
    }
    summary["layers"].push_back(layer);
  }
  put_means(all, summary);
}

HashTraining train_hash(const data::Source& source, const HashOptions& options, const HashRun& run) {
  const data::Geometry& geometry = source.geometry();
  HashTraining training;
  HashWeights& weights = training.weights;
  weights.shape = {geometry.head_dim, options.layers, options.hidden, options.bits, options.activation};
  weights.per_query_head = options.per_query_head;
  weights.heads = options.per_query_head ? geometry.query_heads : geometry.kv_heads;
  Checkpoint checkpoint(run.checkpoint, identity(source, options, source.load(options.source_layers.at(0))));
  if (run.resume) checkpoint.read(training, options.source_layers);

  const auto layers = static_cast<int64_t>(options.source_layers.size());
  auto written = Clock::now();
  for (auto done = static_cast<int64_t>(weights.layers.size()); done < layers; ++done) {
    const int index = options.source_layers[static_cast<size_t>(done)];
    const data::LayerProblem problem = source.load(index);
    Heads heads(static_cast<size_t>(weights.heads));
    base::parallel_for(weights.heads, [&](int64_t h, int) {
      heads[static_cast<size_t>(h)] = std::make_unique<HashHead>(problem, geometry, options, h);
    });
    int64_t step = checkpoint.pending() ? checkpoint.resume_heads(heads) : 0;
    while (step < options.steps) {
      const bool stop = run.cancelled && run.cancelled();
      const std::chrono::duration<double> since = Clock::now() - written;
      if (!run.checkpoint.empty() && (stop || since.count() >= run.checkpoint_seconds)) {
        checkpoint.write(training, heads, step);
        written = Clock::now();
      }
      if (stop) {
        throw base::UserError("interrupted", {.suggestion = "the same command with --resume goes on"},
                              base::Exit::interrupted);
      }
      const int64_t until = std::min(options.steps, step + steps_between_polls);
      base::parallel_for(weights.heads, [&](int64_t h, int) {
        for (int64_t s = step; s < until; ++s) heads[static_cast<size_t>(h)]->train_step(s + 1);
      });
      step = until;
      if (run.on_progress) run.on_progress(done * options.steps + step, layers * options.steps);
    }
    HashLayer layer{index, {}, {}};
    for (size_t h = 0; h < heads.size(); ++h) check_finite(*heads[h], index, h);
    for (const auto& head : heads) {
      layer.query.push_back(head->query_mlp());
      layer.key.push_back(head->key_mlp());
    }
    auto& recall = training.recall.emplace_back(heads.size());
    base::parallel_for(weights.heads, [&](int64_t h, int) {
      recall[static_cast<size_t>(h)] = heads[static_cast<size_t>(h)]->evaluate();
    });
    weights.layers.push_back(std::move(layer));
  }
  if (!run.checkpoint.empty()) checkpoint.remove();
  return training;
}

}  // namespace attnlab::train
