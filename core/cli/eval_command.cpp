// attnlab eval: a trained model on the held-out part of its task, as it is and under other attention.
#include <fmt/core.h>

#include <cmath>
#include <iostream>

#include "core/base/parallel.hpp"
#include "core/cli/opened_checkpoint.hpp"
#include "core/model/pipeline_selector.hpp"

namespace attnlab::cli {
namespace {

using base::UserError;
using io::Json;

/// One evaluation: of the model as it is, or with keys chosen by a pipeline.
struct Outcome {
  std::string name;
  train::Evaluation evaluation;
  double density = 1;
  bool causal = true;
};

void options(po::options_description& table) {
  table.add_options()(
      "pipeline", po::value<std::string>()->value_name("CONFIG"),
      "evaluate also under each pipeline of this config, in place of softmax attention to all keys")(
      "layers", po::value<std::string>()->value_name("LIST"),
      "layers whose attention the pipelines take over, such as 0,2-4; default all");
  add_evaluation_options(table);
  add_checkpoint_options(table);
}

std::vector<int64_t> chosen_layers(const po::variables_map& values, int64_t count) {
  std::vector<int64_t> layers;
  if (values.count("layers") == 0) {
    for (int64_t layer = 0; layer < count; ++layer) layers.push_back(layer);
    return layers;
  }
  for (const Json& item : parse_index_list("--layers", values["layers"].as<std::string>())) {
    const auto layer = item.get<int64_t>();
    if (layer >= count) {
      throw UserError("--layers: the model has no such layer",
                      {.found = std::to_string(layer), .allowed = fmt::format("0 to {}", count - 1)});
    }
    layers.push_back(layer);
  }
  return layers;
}

/// The model with the keys of some layers chosen by `plan`; as it was again afterwards.
Outcome under_pipeline(OpenedCheckpoint& opened, const train::Trainer& trainer,
                       const config::PipelinePlan& plan, const config::Document& document,
                       const std::vector<int64_t>& layers) {
  model::Gpt& model = *opened.model;
  const auto selector = std::make_shared<model::PipelineSelector>(plan, opened.catalog, document);
  for (const std::string& warning : selector->warnings()) std::cerr << "warning: " << warning << "\n";
  for (int64_t layer : layers) model.select_keys(layer, selector);
  Outcome outcome;
  outcome.name = plan.name;
  outcome.causal = train::is_causal(model);
  selector->reset_counts();
  outcome.evaluation = trainer.evaluate();
  const auto counts = selector->counts();
  double density = 0;
  for (int64_t layer : layers) {
    model.select_keys(layer, nullptr);
    const auto found = counts.find(static_cast<int>(layer));
    if (found == counts.end()) {
      const auto& scheme = model.layers()[static_cast<size_t>(layer)].scheme().descriptor().id;
      throw UserError(fmt::format("layer {} has no softmax attention that a pipeline could take over", layer),
                      {.found = "the scheme " + scheme, .suggestion = "--layers names those that have"});
    }
    density += found->second.density();
  }
  outcome.density = density / static_cast<double>(layers.size());
  return outcome;
}

std::vector<Outcome> under_pipelines(const po::variables_map& values, OpenedCheckpoint& opened,
                                     const train::Trainer& trainer) {
  std::vector<Outcome> outcomes;
  if (values.count("pipeline") == 0) {
    if (values.count("layers") != 0) throw UserError("--layers is of --pipeline");
    return outcomes;
  }
  const auto document = config::Document::load(values["pipeline"].as<std::string>());
  config::RunPlan run;
  config::resolve_pipelines(document, opened.catalog, run);
  const std::vector<int64_t> layers =
      chosen_layers(values, static_cast<int64_t>(opened.model->layers().size()));
  for (const config::PipelinePlan& plan : run.pipelines)
    outcomes.push_back(under_pipeline(opened, trainer, plan, document, layers));
  return outcomes;
}

Json to_json(const train::Evaluation& e) {
  return {{"loss", e.loss}, {"accuracy", e.accuracy}, {"targets", e.targets}};
}

void print_json(const train::Evaluation& own, const std::vector<Outcome>& outcomes, int64_t steps) {
  Json json = to_json(own);
  json["steps"] = steps;
  for (const Outcome& outcome : outcomes) {
    Json one = {{"pipeline", outcome.name}, {"density", outcome.density}};
    one.update(to_json(outcome.evaluation));
    one["loss_increase"] = outcome.evaluation.loss - own.loss;
    one["causal"] = outcome.causal;
    json["pipelines"].push_back(one);
  }
  std::cout << io::pretty_text(json);
}

void print_table(const train::Evaluation& own, const std::vector<Outcome>& outcomes, int64_t steps) {
  fmt::print("validation loss {:.4f}   accuracy {:.1f} %   {} targets, after {} steps\n", own.loss,
             100 * own.accuracy, own.targets, steps);
  if (outcomes.empty()) return;
  size_t width = std::string_view("as trained").size();
  for (const Outcome& outcome : outcomes) width = std::max(width, outcome.name.size());
  fmt::print("\n{:<{}}  {:>9}  {:>8}  {:>10}  {:>10}  {:>10}\n", "pipeline", width, "density", "loss",
             "increase", "perplexity", "accuracy");
  auto line = [&](const std::string& name, double density, const train::Evaluation& e, const char* note) {
    fmt::print("{:<{}}  {:>7.2f} %  {:>8.4f}  {:>+10.4f}  {:>10.3f}  {:>8.1f} %{}\n", name, width,
               100 * density, e.loss, e.loss - own.loss, std::exp(e.loss), 100 * e.accuracy, note);
  };
  line("as trained", 1, own, "");
  for (const Outcome& outcome : outcomes)
    line(outcome.name, outcome.density, outcome.evaluation,
         outcome.causal ? "" : "  (looks at later tokens: no language model's loss)");
}

int run(const po::variables_map& values) {
  simd_option(values);
  const base::ThreadLimit threads(thread_option(values));
  const bool json = wants_json(values);
  OpenedCheckpoint opened(values);
  const auto source = opened.open_task(values);
  if (!opened.plan.allow_noncausal) train::require_causality(*opened.model, opened.document);
  const train::Trainer trainer(*opened.model, *source, train::options_of(opened.plan));
  const train::Evaluation own = trainer.evaluate();
  const std::vector<Outcome> outcomes = under_pipelines(values, opened, trainer);
  (json ? print_json : print_table)(own, outcomes, opened.checkpoint.info().steps);
  return 0;
}

}  // namespace

Command eval_command() {
  return {
      .name = "eval",
      .arguments = "CHECKPOINT",
      .summary = "Evaluate a trained model on the held-out part of its task.",
      .details =
          "CHECKPOINT is a checkpoint.safetensors or the folder of a training run. The sweep counts each\n"
          "held-out token once and is the same for all models of a task. With --pipeline the softmax\n"
          "attention of the model runs over the keys that each pipeline of the config selects, and loss\n"
          "stands against density: the mean share of visible keys that the chosen layers attend to.",
      .options = options,
      .run = run,
      .min_arguments = 1,
      .max_arguments = 1};
}

}  // namespace attnlab::cli
