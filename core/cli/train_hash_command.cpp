// attnlab train-hash.
#include <fmt/core.h>

#include <iostream>

#include "core/base/parallel.hpp"
#include "core/cli/command.hpp"
#include "core/cli/interrupt.hpp"
#include "core/cli/progress.hpp"
#include "core/io/atomic_file.hpp"
#include "core/measure/experiment.hpp"
#include "core/train/hash_trainer.hpp"

namespace attnlab::cli {
namespace {

namespace fs = std::filesystem;
using base::UserError;
using io::Json;

void options(po::options_description& table) {
  auto integer = [](const char* name, int64_t value) {
    return po::value<int64_t>()->value_name(name)->default_value(value);
  };
  auto real = [](const char* name, double value, const char* text) {
    return po::value<double>()->value_name(name)->default_value(value, text);
  };
  table.add_options()("out", po::value<std::string>()->value_name("FILE"),
                      "weight file to write, *.safetensors; a summary is written to FILE.json")(
      "layers", po::value<std::string>()->value_name("LIST"), "layers to train, such as 0,2-4; default all")(
      "top-k", po::value<std::string>()->value_name("K")->default_value("64"),
      "heavy keys of a query: a count, or a fraction such as 5%")(
      "per", po::value<std::string>()->value_name("HEAD")->default_value("kv_head"),
      "kv_head | query_head: who has MLPs of its own")("bits", integer("N", 32), "bits of a code")(
      "mlp-layers", integer("N", 3), "linear layers of an MLP, 1 to 3")("hidden", integer("N", 128),
                                                                        "width between the layers")(
      "activation", po::value<std::string>()->value_name("F")->default_value("silu"),
      "silu | relu | gelu | tanh")("steps", integer("N", 1000), "steps of Adam for each head")(
      "batch", integer("N", 32), "queries in a step")(
      "keys", integer("N", 1024), "keys in a step, drawn from those that its queries see")(
      "learning-rate", real("X", 1e-3, "1e-3"), "of Adam")("positive-weight", real("X", 20, "20"),
                                                           "weight of heavy keys in the loss")(
      "length-weight", real("X", 0, "0"), "added to it for each key that the query sees")(
      "held-out", real("X", 0.2, "0.2"), "share of the queries, the last ones, that only judge")(
      "seed", integer("N", 0), "of initial weights, batches and random projections")(
      "threads", po::value<int>()->value_name("N")->default_value(0, "all cores"),
      "threads; results do not depend on it")("resume", "go on from the checkpoint of an interrupted run")(
      "format", po::value<std::string>()->value_name("F")->default_value("table"), "stdout: table | json")(
      "quiet", "no progress");
}

/// An option that must lie in a range, which `allowed` says in words.
template <class Number>
Number checked(const po::variables_map& values, const char* name, Number low, Number high,
               const char* allowed) {
  const Number value = values[name].as<Number>();
  if (value >= low && value <= high) return value;
  throw UserError(std::string("--") + name + " is out of range",
                  {.found = fmt::format("{}", value), .allowed = allowed});
}

plugin::Size top_k_option(const po::variables_map& values) {
  const auto text = values["top-k"].as<std::string>();
  const plugin::Parameter parameter{.key = "--top-k", .type = plugin::ParameterType::count_or_fraction};
  const Json number = Json::parse(text, nullptr, false);
  return plugin::parse_value(parameter, number.is_number() ? number : Json(text), {}).as<plugin::Size>();
}

train::HashOptions hash_options(const po::variables_map& values) {
  constexpr double smallest = 1e-300, largest = 1e300;
  train::HashOptions o;
  o.bits = checked<int64_t>(values, "bits", 1, 4096, "1 to 4096");
  o.layers = checked<int64_t>(values, "mlp-layers", 1, 3, "1 to 3");
  o.hidden = checked<int64_t>(values, "hidden", 1, 65536, "1 to 65536");
  o.activation =
      static_cast<train::Activation>(choice_option(values, "activation", train::activation_names()));
  o.per_query_head = choice_option(values, "per", {"kv_head", "query_head"}) == 1;
  o.top_k = top_k_option(values);
  o.steps = checked<int64_t>(values, "steps", 1, 1'000'000'000, "1 to 1e9");
  o.batch = checked<int64_t>(values, "batch", 1, 65536, "1 to 65536");
  o.keys = checked<int64_t>(values, "keys", 1, 1 << 24, "1 to 2^24");
  o.learning_rate = checked(values, "learning-rate", smallest, largest, "a positive number");
  o.positive_weight = checked(values, "positive-weight", smallest, largest, "a positive number");
  o.length_weight = checked(values, "length-weight", 0.0, largest, "0 or a positive number");
  o.held_out = checked(values, "held-out", 1e-9, 1 - 1e-9, "a number in (0, 1)");
  o.seed = static_cast<uint64_t>(checked<int64_t>(values, "seed", 0, INT64_MAX, "0 or a positive integer"));
  return o;
}

void print_table(const Json& summary) {
  const auto percent = [](const Json& json) { return fmt::format("{:.1f} %", json.get<double>() * 100); };
  fmt::print("recall of the exact top-k, held-out queries\n\n{:<10}{:>10}{:>10}\n", "layer", "learned",
             "random");
  for (const auto& layer : summary["layers"]) {
    fmt::print("{:<10}{:>10}{:>10}\n", layer["layer"].get<int>(), percent(layer["learned"]),
               percent(layer["random"]));
  }
  fmt::print("{:<10}{:>10}{:>10}\n", "mean", percent(summary["learned"]), percent(summary["random"]));
}

int run(const po::variables_map& values) {
  const bool table = choice_option(values, "format", {"table", "json"}) == 0;
  if (values.count("out") == 0)
    throw UserError("train-hash needs --out", {.allowed = "--out FILE.safetensors"});
  const auto output = values["out"].as<std::string>();
  if (!output.ends_with(".safetensors"))
    throw UserError("--out: weights are written as safetensors",
                    {.found = output, .allowed = "*.safetensors"});
  train::HashOptions options = hash_options(values);
  const base::ThreadLimit threads(thread_option(values));
  const config::Document document = input_document(positional(values)[0]);
  config::RunPlan plan;
  plan.input = config::resolve_input(document);
  plan.attention = config::resolve_attention(document);
  const auto source = data::open_input(plan.input, document);
  const auto attention = measure::attention_options(plan, *source);
  options.causal = attention.causal;
  options.scale = double{attention.scale};
  options.source_layers = layers_option(values, *source);

  Progress progress("attnlab train-hash", values.count("quiet") != 0);
  train::HashRun hooks;
  hooks.checkpoint = output + ".checkpoint";
  hooks.resume = values.count("resume") != 0;
  hooks.on_progress = [&](int64_t done, int64_t total) { progress.update(done, total); };
  hooks.cancelled = interrupted;
  catch_interrupt();
  const train::HashTraining training = train::train_hash(*source, options, hooks);

  train::write_hash_weights(output, training.weights);
  Json summary = {{"out", output}, {"input", source->description()}, {"options", to_json(options)}};
  train::put_recall(training, summary);
  io::write_file_atomically(output + ".json", io::pretty_text(summary));
  if (table) {
    print_table(summary);
  } else {
    std::cout << io::pretty_text(summary);
  }
  std::cerr << "weights: " << output << "\n";
  return 0;
}

}  // namespace

Command train_hash_command() {
  return {
      .name = "train-hash",
      .arguments = "INPUT",
      .summary = "Learn the weights of hash_attention from a trace or any other input.",
      .details =
          "INPUT is a trace folder, a .npz or .safetensors file, or a config whose \"input\" is taken.\n"
          "For each head two MLPs learn codes of queries and keys that agree where the exact top-k is\n"
          "(arXiv:2412.14468). Prints how much of the exact top-k the codes find for the held-out queries, "
          "beside\n"
          "random projections of as many bits. Ctrl-C leaves FILE.checkpoint, from which --resume goes on "
          "to\n"
          "the same bytes.",
      .options = options,
      .run = run,
      .min_arguments = 1,
      .max_arguments = 1};
}

}  // namespace attnlab::cli
