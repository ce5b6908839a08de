// attnlab sample: text of a trained model.
#include <fmt/core.h>

#include <iostream>

#include "core/base/parallel.hpp"
#include "core/base/stopwatch.hpp"
#include "core/cli/command.hpp"
#include "core/cli/interrupt.hpp"
#include "core/cli/opened_checkpoint.hpp"
#include "core/model/sample.hpp"

namespace attnlab::cli {
namespace {

using base::UserError;
using io::Json;

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
  add_checkpoint_options(table);
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
  const OpenedCheckpoint opened(values);
  const auto& tokeniser = opened.checkpoint.info().tokeniser;
  if (!tokeniser)
    throw UserError("this model's task has no text form to sample", {.file = checkpoint_file(values)});
  const std::vector<int32_t> ids = tokeniser->encode(values["prompt"].as<std::string>(), "--prompt");
  if (ids.empty()) throw UserError("--prompt is empty", {.allowed = "at least one character"});
  const std::vector<int64_t> prompt(ids.begin(), ids.end());
  catch_interrupt();
  std::cout << values["prompt"].as<std::string>();
  int64_t written = 0;
  const base::Stopwatch watch;
  const uint64_t bytes = model::sample(*opened.model, prompt, options, [&](int64_t token) {
    const auto id = static_cast<int32_t>(token);
    std::cout << tokeniser->decode({&id, 1}) << std::flush;
    ++written;
    return !interrupted();
  });
  std::cout << "\n";
  const double seconds = watch.seconds();
  if (values.count("stats") != 0)
    std::cerr << fmt::format("{} tokens, {:.0f} tokens/s, {} bytes of decode state\n", written,
                             static_cast<double>(written) / seconds, bytes);
  return interrupted() ? static_cast<int>(base::Exit::interrupted) : 0;
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

}  // namespace attnlab::cli
