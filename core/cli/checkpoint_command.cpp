// attnlab sample and attnlab eval: what can be done with a checkpoint.
#include <fmt/core.h>

#include <chrono>
#include <filesystem>
#include <iostream>

#include "core/base/parallel.hpp"
#include "core/cli/command.hpp"
#include "core/cli/interrupt.hpp"
#include "core/model/sample.hpp"
#include "core/train/checkpoint.hpp"
#include "core/train/study.hpp"

namespace attnlab::cli {
namespace {

namespace fs = std::filesystem;
using base::UserError;
using io::Json;

/// The checkpoint of a file or of a training run's folder.
std::string checkpoint_file(const po::variables_map& values) {
  const std::string path = positional(values)[0];
  return fs::is_directory(path) ? (fs::path(path) / "checkpoint.safetensors").string() : path;
}

/// A checkpoint with its model.
struct Opened {
  train::Checkpoint checkpoint;
  config::Document document;
  plugin::Catalog catalog;
  config::TrainPlan plan;
  std::unique_ptr<model::Gpt> model;

  explicit Opened(const po::variables_map& values) : checkpoint(checkpoint_file(values)) {
    const Json& config = checkpoint.info().config;
    if (!config.is_object())
      throw UserError("is a damaged checkpoint: it holds no config", {.file = checkpoint_file(values)});
    const config::Origin origin{checkpoint_file(values), fs::current_path().string()};
    for (const auto& [key, value] : config.items()) document.set("/" + config::escape(key), value, origin);
    if (values.count("set") != 0) {
      for (const auto& assignment : values["set"].as<std::vector<std::string>>()) document.set(assignment);
    }
    catalog = load_catalog(values, config::plugin_folders(document));
    plan = config::resolve_training(document, catalog);
    std::vector<std::string> warnings;
    model = train::make_model(plan, catalog, document, checkpoint.info().vocabulary, graph::Element::f32,
                              warnings);
    for (const std::string& warning : warnings) std::cerr << "warning: " << warning << "\n";
    checkpoint.read_parameters(*model);
  }
};

void common_options(po::options_description& table) {
  table.add_options()("threads", po::value<int>()->value_name("N")->default_value(0, "all cores"),
                      "threads; results do not depend on it");
  add_plugin_options(table);
  add_simd_option(table);
}

void sample_options(po::options_description& table) {
  table.add_options()("prompt",
                      po::value<std::string>()->value_name("TEXT")->default_value("\n", "a line break"),
                      "text to continue")("tokens", po::value<int64_t>()->value_name("N")->default_value(256),
                                          "tokens to write")(
      "temperature", po::value<double>()->value_name("T")->default_value(1, "1"),
      "logits are divided by it; 0: always the most likely token")(
      "top-k", po::value<int64_t>()->value_name("K")->default_value(0),
      "only among the K most likely; 0: all")("top-p",
                                              po::value<double>()->value_name("P")->default_value(1, "1"),
                                              "only among the fewest whose probability reaches P")(
      "seed", po::value<int64_t>()->value_name("N")->default_value(1), "seed of the draws")(
      "stats", "state bytes and tokens/s on stderr");
  common_options(table);
}

model::SampleOptions read_sample_options(const po::variables_map& values) {
  auto refuse = [](const char* option, const std::string& found, const char* allowed) {
    throw UserError(std::string(option) + " is out of range", {.found = found, .allowed = allowed});
  };
  model::SampleOptions o;
  o.tokens = values["tokens"].as<int64_t>();
  o.temperature = values["temperature"].as<double>();
  o.top_k = values["top-k"].as<int64_t>();
  o.top_p = values["top-p"].as<double>();
  o.seed = static_cast<uint64_t>(values["seed"].as<int64_t>());
  if (o.tokens < 1 || o.tokens > 100'000'000) refuse("--tokens", std::to_string(o.tokens), "1 to 1e8");
  if (!(o.temperature >= 0 && o.temperature <= 1e6))
    refuse("--temperature", fmt::format("{}", o.temperature), "0 to 1e6");
  if (o.top_k < 0) refuse("--top-k", std::to_string(o.top_k), "0 or more");
  if (!(o.top_p > 0 && o.top_p <= 1)) refuse("--top-p", fmt::format("{}", o.top_p), "a number in (0, 1]");
  return o;
}

int run_sample(const po::variables_map& values) {
  simd_option(values);
  const base::ThreadLimit threads(thread_option(values));
  const model::SampleOptions options = read_sample_options(values);
  const Opened opened(values);
  const auto& tokeniser = opened.checkpoint.info().tokeniser;
  if (!tokeniser)
    throw UserError("this model's task has no text form to sample", {.file = checkpoint_file(values)});
  const std::vector<int32_t> ids = tokeniser->encode(values["prompt"].as<std::string>(), "--prompt");
  if (ids.empty()) throw UserError("--prompt is empty", {.allowed = "at least one character"});
  const std::vector<int64_t> prompt(ids.begin(), ids.end());
  catch_interrupt();
  std::cout << values["prompt"].as<std::string>();
  int64_t written = 0;
  const auto begin = std::chrono::steady_clock::now();
  const uint64_t bytes = model::sample(*opened.model, prompt, options, [&](int64_t token) {
    const auto id = static_cast<int32_t>(token);
    std::cout << tokeniser->decode({&id, 1}) << std::flush;
    ++written;
    return !interrupted();
  });
  std::cout << "\n";
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (values.count("stats") != 0)
    std::cerr << fmt::format("{} tokens, {:.0f} tokens/s, {} bytes of decode state\n", written,
                             static_cast<double>(written) / seconds, bytes);
  return interrupted() ? static_cast<int>(base::Exit::interrupted) : 0;
}

void eval_options(po::options_description& table) {
  table.add_options()("set", po::value<std::vector<std::string>>()->value_name("/PTR=VALUE")->composing(),
                      "override a value of the checkpoint's config, such as /task/text=FILE (repeatable)")(
      "format", po::value<std::string>()->value_name("F")->default_value("table"), "stdout: table | json");
  common_options(table);
}

int run_eval(const po::variables_map& values) {
  simd_option(values);
  const base::ThreadLimit threads(thread_option(values));
  const auto format = values["format"].as<std::string>();
  if (format != "table" && format != "json")
    throw UserError("--format: unknown value", {.found = format,
                                                .allowed = "table | json",
                                                .suggestion = base::did_you_mean(format, {"table", "json"})});
  Opened opened(values);
  const auto source = train::open_task(opened.plan, opened.checkpoint.info().tokeniser);
  if (source->vocabulary_size() != opened.checkpoint.info().vocabulary) {
    throw UserError("the task has another vocabulary than the checkpoint",
                    {.file = checkpoint_file(values),
                     .found = std::to_string(source->vocabulary_size()),
                     .allowed = std::to_string(opened.checkpoint.info().vocabulary)});
  }
  if (!opened.plan.allow_noncausal) train::require_causality(*opened.model, opened.document);
  const train::Trainer trainer(*opened.model, *source, train::options_of(opened.plan));
  const train::Evaluation e = trainer.evaluate();
  if (format == "json") {
    std::cout << Json{{"loss", e.loss},
                      {"accuracy", e.accuracy},
                      {"targets", e.targets},
                      {"steps", opened.checkpoint.info().steps}}
                     .dump(2)
              << "\n";
  } else {
    fmt::print("validation loss {:.4f}   accuracy {:.1f} %   {} targets, after {} steps\n", e.loss,
               100 * e.accuracy, e.targets, opened.checkpoint.info().steps);
  }
  return 0;
}

}  // namespace

Command sample_command() {
  return {
      .name = "sample",
      .arguments = "CHECKPOINT",
      .summary = "Write text with a trained model.",
      .details =
          "CHECKPOINT is a checkpoint.safetensors or the folder of a training run. Schemes decode on their\n"
          "state, token by token. The same seed gives the same text.",
      .options = sample_options,
      .run = run_sample,
      .min_arguments = 1,
      .max_arguments = 1};
}

Command eval_command() {
  return {
      .name = "eval",
      .arguments = "CHECKPOINT",
      .summary = "Evaluate a trained model on the held-out part of its task.",
      .details =
          "CHECKPOINT is a checkpoint.safetensors or the folder of a training run. The sweep counts each\n"
          "held-out token once and is the same for all models of a task.",
      .options = eval_options,
      .run = run_eval,
      .min_arguments = 1,
      .max_arguments = 1};
}

}  // namespace attnlab::cli
