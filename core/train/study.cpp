#include "core/train/study.hpp"

#include <fmt/core.h>
#include <attnlab/philox.hpp>

#include <cstring>

#include "core/data/recall_task.hpp"
#include "core/data/text.hpp"
#include "core/model/pipeline_selector.hpp"

namespace attnlab::train {
namespace {

using base::UserError;

model::GptShape shape_of(const config::ModelPlan& m, int64_t vocabulary) {
  model::GptShape shape;
  shape.vocabulary = vocabulary;
  shape.block = m.block, shape.layers = m.layers, shape.embed_dim = m.embed_dim;
  shape.query_heads = m.query_heads, shape.kv_heads = m.kv_heads;
  shape.norm = m.norm == "rms" ? model::Norm::rms : model::Norm::layer;
  shape.position = m.position == "learned" ? model::Position::learned
                   : m.position == "rope"  ? model::Position::rope
                                           : model::Position::none;
  shape.mlp = m.mlp == "swiglu" ? model::Mlp::swiglu : model::Mlp::gelu;
  shape.mlp_dim = m.mlp_dim, shape.bias = m.bias, shape.tied_head = m.tied_head;
  shape.dropout = m.dropout, shape.rope_theta = m.rope_theta;
  return shape;
}

data::RecallOptions recall_of(const config::TrainPlan& plan) {
  const config::TaskPlan& t = plan.task;
  return {t.pairs, t.queries, t.keys, t.values, plan.seed, t.evaluation_windows};
}

}  // namespace

TrainOptions options_of(const config::TrainPlan& plan) {
  const config::OptimiserPlan& t = plan.train;
  TrainOptions options;
  options.batch = t.batch, options.accumulate = t.accumulate, options.evaluate_batch = t.evaluate_batch;
  options.seed = plan.seed;
  options.schedule = {t.learning_rate, t.minimum_learning_rate, t.warmup,
                      t.constant_rate     ? 0
                      : t.decay_steps > 0 ? t.decay_steps
                                          : t.steps};
  options.adamw = {t.beta1, t.beta2, t.epsilon, t.weight_decay, t.clip};
  return options;
}

std::unique_ptr<data::TokenSource> open_task(const config::TrainPlan& plan,
                                             const std::optional<data::Tokeniser>& tokeniser) {
  const config::TaskPlan& task = plan.task;
  if (task.text.empty()) {
    auto recall = std::make_unique<data::RecallTask>(recall_of(plan));
    if (recall->block() > plan.model.block) {
      throw UserError("a window of the task is longer than the model's block",
                      {.pointer = "/model/block",
                       .found = std::to_string(plan.model.block),
                       .allowed = fmt::format("at least 2 pairs + 2 queries = {}", recall->block())});
    }
    return recall;
  }
  const bool bytes = task.tokeniser == "bytes";
  const std::string text =
      data::read_text(task.text, bytes ? data::TextEncoding::bytes : data::TextEncoding::utf8);
  const data::Tokeniser used =
      tokeniser ? *tokeniser : data::Tokeniser::of_kind(task.tokeniser, text, task.text);
  return std::make_unique<data::TextSource>(
      used, used.encode(text, task.text),
      data::TextOptions{task.training_fraction, plan.model.block, plan.seed});
}

std::unique_ptr<model::Gpt> make_model(const config::TrainPlan& plan, const plugin::Catalog& catalog,
                                       const config::Document& document, int64_t vocabulary,
                                       graph::Element precision, std::vector<std::string>& warnings) {
  std::vector<std::shared_ptr<const plugin::Scheme>> schemes;
  for (size_t layer = 0; layer < plan.model.attention.size(); ++layer) {
    const config::SchemePlan& scheme = plan.model.attention[layer];
    // Layers of one entry of the config share the instance: it is immutable.
    if (layer > 0 && scheme.pointer == plan.model.attention[layer - 1].pointer) {
      schemes.push_back(schemes.back());
      continue;
    }
    schemes.push_back(
        model::make_scheme(scheme, catalog, document, fmt::format("attention {}", layer), warnings));
  }
  auto model = std::make_unique<model::Gpt>(shape_of(plan.model, vocabulary), schemes, precision);
  model->parameters().initialise(plan.seed, plan.model.layers);
  return model;
}

Study make_study(const config::TrainPlan& plan, const plugin::Catalog& catalog,
                 const config::Document& document, graph::Element precision) {
  Study study;
  study.plan = plan;
  study.source = open_task(plan);
  if (study.source->tokeniser() != nullptr) study.tokeniser = *study.source->tokeniser();
  study.model =
      make_model(plan, catalog, document, study.source->vocabulary_size(), precision, study.warnings);
  return study;
}

bool is_causal(const model::Gpt& model) {
  const int64_t tokens = model.shape().block, vocabulary = model.shape().vocabulary;
  std::vector<int64_t> ids(static_cast<size_t>(tokens));
  attnlab::Philox random(1);
  for (int64_t& id : ids) id = static_cast<int64_t>(random.below(static_cast<uint64_t>(vocabulary)));
  const graph::Array before = graph::value_of(model.forward({1, tokens, ids}).logits).packed();
  const int64_t half = tokens / 2;
  for (int64_t t = half; t < tokens; ++t)
    ids[static_cast<size_t>(t)] = (ids[static_cast<size_t>(t)] + 1) % vocabulary;
  const graph::Array after = graph::value_of(model.forward({1, tokens, ids}).logits).packed();
  const size_t bytes = static_cast<size_t>(half * vocabulary) * graph::size_of(before.element());
  return std::memcmp(before.data<std::byte>(), after.data<std::byte>(), bytes) == 0;
}

void require_causality(const model::Gpt& model, const config::Document& document) {
  if (is_causal(model)) return;
  base::Mistake mistake = document.where("/attention");
  mistake.allowed = "schemes whose outputs depend on no later token";
  mistake.suggestion =
      "\"allow_noncausal\": true trains it all the same; its loss is then no language model's";
  throw UserError(
      "the model looks into the future: changing the second half of a window changes the first half's logits",
      mistake);
}

}  // namespace attnlab::train
