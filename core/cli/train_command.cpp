// attnlab train.
#include <fmt/core.h>

#include <filesystem>
#include <iostream>

#include "core/base/parallel.hpp"
#include "core/cli/command.hpp"
#include "core/cli/interrupt.hpp"
#include "core/cli/progress.hpp"
#include "core/io/atomic_file.hpp"
#include "core/train/training_run.hpp"

namespace attnlab::cli {
namespace {

namespace fs = std::filesystem;
using base::Exit;
using base::UserError;
using io::Json;

void options(po::options_description& table) {
  table.add_options()("set", po::value<std::vector<std::string>>()->value_name("/PTR=VALUE")->composing(),
                      "override a config value; VALUE is JSON, else a string (repeatable)")(
      "seed", po::value<int64_t>()->value_name("N"), "seed of first weights, windows and dropout")(
      "out", po::value<std::string>()->value_name("DIR"), "result folder; default attnlab-runs/<config>")(
      "resume", "go on from the folder's checkpoint, to the same weights as without the break")(
      "fresh", "begin again in a folder that holds a checkpoint")(
      "threads", po::value<int>()->value_name("N")->default_value(0, "all cores"),
      "threads; results do not depend on it")("quiet", "no progress");
  add_plugin_options(table);
  add_simd_option(table);
}

train::RunFolder folder_of(const po::variables_map& values) {
  if (values.count("out") != 0) return {values["out"].as<std::string>()};
  return {(fs::path("attnlab-runs") / fs::path(positional(values)[0]).stem()).string()};
}

/// Progress on stderr, evaluations on stdout.
train::RunEvents events_of(Progress& progress) {
  train::RunEvents events;
  events.updated = [&](int64_t steps, int64_t all, double loss, double tokens_per_second) {
    progress.update(steps, all, fmt::format("loss {:.3f}, {:.0f} tokens/s", loss, tokens_per_second));
  };
  events.evaluated = [](int64_t steps, double loss, const train::Evaluation& evaluation) {
    std::cout << fmt::format(
                     "step {:>6}   training loss {:>7}   validation loss {:.4f}   accuracy {:5.1f} %\n",
                     steps, loss == 0 ? "-" : fmt::format("{:.4f}", loss), evaluation.loss,
                     100 * evaluation.accuracy)
              << std::flush;
  };
  events.interrupted = interrupted;
  return events;
}

int run(const po::variables_map& values) {
  simd_option(values);
  const base::ThreadLimit threads(thread_option(values));
  const config::Document document = load_document(values);
  const plugin::Catalog catalog = load_catalog(values, config::plugin_folders(document));
  const config::TrainPlan plan = config::resolve_training(document, catalog);
  const train::RunFolder folder = folder_of(values);
  const bool resumes = values.count("resume") != 0;
  const bool holds = fs::exists(folder.checkpoint());
  if (resumes && !holds) throw UserError("--resume: there is no checkpoint", {.file = folder.checkpoint()});
  if (holds && !resumes && values.count("fresh") == 0) {
    throw UserError("the folder holds a training run",
                    {.file = folder.path,
                     .suggestion = "--resume goes on with it, --fresh begins again, --out names another"});
  }
  train::Study study = train::make_study(plan, catalog, document);
  for (const std::string& warning : study.warnings) std::cerr << "warning: " << warning << "\n";
  if (!plan.allow_noncausal) train::require_causality(*study.model, document);

  const Json resolved = config::to_json(plan, catalog);
  io::create_directories(folder.path);
  Progress progress("attnlab train", values.count("quiet") != 0);
  train::TrainingRun training(study, folder, resolved, events_of(progress));
  if (resumes) {
    std::cerr << fmt::format("resumed at step {}\n", training.resume());
  } else {
    folder.clear();
  }
  io::write_file_atomically(folder.file("resolved.json"), io::pretty_text(resolved));
  catch_interrupt("\ninterrupted: saving a checkpoint after this step\n");
  if (!training.train()) {
    std::cerr << fmt::format("checkpoint: {}\nattnlab train {} --out {} --resume goes on\n",
                             folder.checkpoint(), positional(values)[0], folder.path);
    return static_cast<int>(Exit::interrupted);
  }
  const Json result = training.finish();
  std::cout << fmt::format("{} parameters, {:.1f} ms an update, {:.0f} tokens/s\n",
                           result["parameters"].get<int64_t>(),
                           result["time"]["milliseconds_per_update"].get<double>(),
                           result["time"]["tokens_per_second"].get<double>());
  std::cerr << "results: " << folder.path << "\n";
  return 0;
}

}  // namespace

Command train_command() {
  return {.name = "train",
          .arguments = "CONFIG",
          .summary = "Train a small GPT whose attention layers are schemes.",
          .details =
              "CONFIG names a model, its attention, a task (a text, or generated recall) and an optimiser. "
              "Writes\n"
              "checkpoint.safetensors, metrics.jsonl, result.json, time.json and resolved.json. The same "
              "config and\n"
              "seed give the same weights, whatever the threads. Ctrl-C saves; --resume goes on to the "
              "weights that\n"
              "an unbroken run would have reached. A model that looks into the future is refused unless the "
              "config\n"
              "says \"allow_noncausal\": true.",
          .options = options,
          .run = run,
          .min_arguments = 1,
          .max_arguments = 1};
}

}  // namespace attnlab::cli
