// attnlab train.
#include <fmt/core.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <optional>

#include "core/base/parallel.hpp"
#include "core/cli/command.hpp"
#include "core/cli/interrupt.hpp"
#include "core/cli/progress.hpp"
#include "core/io/atomic_file.hpp"
#include "core/io/jsonl.hpp"
#include "core/kernels/table.hpp"
#include "core/train/checkpoint.hpp"
#include "core/train/study.hpp"

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

/// What must be equal for a run to be the same: titles and paths change nothing.
Json identity(Json config) {
  for (const char* key : {"title", "plugin_path"}) config.erase(key);
  // Erasing leaves nlohmann's ordered objects with stale diagnostics: built anew by text.
  config = Json::parse(config.dump());
  if (config["task"].contains("text")) config["task"]["text"] = "";
  return config;
}

/// The first place where two configs differ, as a JSON pointer.
std::string first_difference(const Json& a, const Json& b, const std::string& at = "") {
  if (a.type() != b.type() || !a.is_structured()) return a == b ? "" : at;
  if (a.is_array() && a.size() != b.size()) return at;
  for (const auto& [key, value] : a.items()) {
    const std::string here = at + "/" + key;
    if (a.is_object() && !b.contains(key)) return here;
    const Json& other = a.is_object() ? b[key] : b[std::stoul(key)];
    if (std::string found = first_difference(value, other, here); !found.empty()) return found;
  }
  return a.size() == b.size() ? "" : at;
}

/// The folder of a training run.
struct Folder {
  std::string path;
  std::string file(const char* name) const { return (fs::path(path) / name).string(); }
  std::string checkpoint() const { return file("checkpoint.safetensors"); }
};

Folder folder_of(const po::variables_map& values) {
  if (values.count("out") != 0) return {values["out"].as<std::string>()};
  return {(fs::path("attnlab-runs") / fs::path(positional(values)[0]).stem()).string()};
}

/// Keeps the lines of metrics.jsonl that the checkpoint knows of: a run that was killed may have written
/// more.
void keep_lines(const std::string& path, int64_t steps) {
  if (!fs::exists(path)) return;
  const std::string text = io::read_text(path, size_t{1} << 30);
  std::string kept;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const Json line = Json::parse(text.substr(begin, end - begin), nullptr, false);
    const bool update =
        line.is_object() && line.contains("step") && line["step"].is_number_integer() && line["step"] < steps;
    const bool evaluation = line.is_object() && line.contains("steps") && line["steps"].is_number_integer() &&
                            line["steps"] <= steps;
    if (update || evaluation) kept += text.substr(begin, end - begin) + "\n";
    begin = end + 1;
  }
  io::write_file_atomically(path, kept);
}

Json to_json(const train::StepRecord& r) {
  Json json = {{"step", r.step},
               {"loss", r.loss},
               {"gradient_norm", r.gradient_norm},
               {"learning_rate", r.learning_rate}};
  for (const auto& [name, value] : r.other_losses) json["losses"][name] = value;
  for (const auto& [name, value] : r.metrics) json["metrics"][name] = value;
  return json;
}

/// One run, from its first or its resumed step to its end.
class Run {
 public:
  Run(train::Study& study, const Folder& folder, const Json& resolved, bool quiet)
      : study_(study),
        folder_(folder),
        trainer_(*study.model, *study.source, train::options_of(study.plan)),
        progress_("attnlab train", quiet) {
    info_ = {resolved, study.tokeniser, study.source->vocabulary_size(), 0};
  }

  void resume() {
    const train::Checkpoint checkpoint(folder_.checkpoint());
    const std::string difference =
        first_difference(identity(checkpoint.info().config), identity(info_.config));
    if (!difference.empty()) {
      throw UserError("the checkpoint is of a run with another config",
                      {.file = folder_.checkpoint(),
                       .pointer = difference,
                       .suggestion = "the same config, or another --out"});
    }
    if (checkpoint.info().tokeniser != info_.tokeniser)
      throw UserError("the checkpoint is of a run on another text",
                      {.file = folder_.checkpoint(), .found = "other characters"});
    checkpoint.read_parameters(*study_.model);
    const auto options = train::options_of(study_.plan);
    trainer_.restore(checkpoint.info().steps, checkpoint.read_optimiser(*study_.model, options.adamw));
    keep_lines(folder_.file("metrics.jsonl"), checkpoint.info().steps);
    std::cerr << fmt::format("resumed at step {}\n", checkpoint.info().steps);
  }

  /// True when all steps were taken, false after Ctrl-C.
  bool train() {
    io::JsonlWriter metrics(folder_.file("metrics.jsonl"));
    const config::OptimiserPlan& plan = study_.plan.train;
    if (trainer_.steps() == 0) evaluate(metrics);
    while (trainer_.steps() < plan.steps) {
      const auto begin = std::chrono::steady_clock::now();
      const train::StepRecord record = trainer_.step();
      seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
      ++steps_here_;
      metrics.append(to_json(record));
      if (!std::isfinite(record.gradient_norm)) {
        throw UserError(
            fmt::format("training diverged: at step {} the gradient is not finite", record.step),
            {.file = folder_.path,
             .suggestion = "a lower /train/learning_rate, or /train/clip; the last checkpoint is kept"},
            Exit::failed);
      }
      recent_loss_ = recent_loss_ == 0 ? record.loss : 0.95 * recent_loss_ + 0.05 * record.loss;
      progress_.update(trainer_.steps(), plan.steps,
                       fmt::format("loss {:.3f}, {:.0f} tokens/s", recent_loss_, tokens_per_second()));
      const bool last = trainer_.steps() == plan.steps;
      if (last || trainer_.steps() % plan.evaluate_every == 0) evaluate(metrics);
      if (last || trainer_.steps() % plan.checkpoint_every == 0) save();
      if (!last && interrupted()) {
        save();
        return false;
      }
    }
    return true;
  }

  /// result.json holds what is equal for equal configs, time.json what is not.
  Json finish() const {
    Json result = {{"title", study_.plan.title},
                   {"steps", trainer_.steps()},
                   {"parameters", study_.model->parameters().count()},
                   {"vocabulary", study_.source->vocabulary_size()},
                   {"validation_loss", last_.loss},
                   {"validation_accuracy", last_.accuracy},
                   {"validation_targets", last_.targets},
                   {"best_validation_loss", best_}};
    io::write_file_atomically(folder_.file("result.json"), result.dump(2) + "\n");
    const Json time = {
        {"updates", steps_here_},
        {"seconds", seconds_},
        {"tokens_per_second", tokens_per_second()},
        {"milliseconds_per_update", steps_here_ == 0 ? 0 : 1e3 * seconds_ / static_cast<double>(steps_here_)},
        {"threads", base::thread_count()},
        {"simd", kernels::active_table().target}};
    io::write_file_atomically(folder_.file("time.json"), time.dump(2) + "\n");
    result["time"] = time;
    return result;
  }

 private:
  double tokens_per_second() const {
    const config::OptimiserPlan& t = study_.plan.train;
    const double tokens = static_cast<double>(steps_here_ * t.batch * t.accumulate * study_.source->block());
    return seconds_ > 0 ? tokens / seconds_ : 0;
  }

  void evaluate(io::JsonlWriter& metrics) {
    last_ = trainer_.evaluate();
    best_ = best_ == 0 ? last_.loss : std::min(best_, last_.loss);
    metrics.append({{"steps", trainer_.steps()},
                    {"validation_loss", last_.loss},
                    {"validation_accuracy", last_.accuracy}});
    std::cout << fmt::format(
                     "step {:>6}   training loss {:>7}   validation loss {:.4f}   accuracy {:5.1f} %\n",
                     trainer_.steps(), recent_loss_ == 0 ? "-" : fmt::format("{:.4f}", recent_loss_),
                     last_.loss, 100 * last_.accuracy)
              << std::flush;
  }

  void save() {
    info_.steps = trainer_.steps();
    train::save_checkpoint(folder_.checkpoint(), *study_.model, trainer_.optimiser(), info_);
  }

  train::Study& study_;
  Folder folder_;
  train::Trainer trainer_;
  Progress progress_;
  train::CheckpointInfo info_;
  train::Evaluation last_;
  double best_ = 0, recent_loss_ = 0, seconds_ = 0;
  int64_t steps_here_ = 0;
};

int run(const po::variables_map& values) {
  simd_option(values);
  const base::ThreadLimit threads(thread_option(values));
  const config::Document document = load_document(values);
  const plugin::Catalog catalog = load_catalog(values, config::plugin_folders(document));
  const config::TrainPlan plan = config::resolve_training(document, catalog);
  const Folder folder = folder_of(values);
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
  Run training(study, folder, resolved, values.count("quiet") != 0);
  if (resumes) {
    training.resume();
  } else {
    for (const char* name : {"metrics.jsonl", "result.json", "time.json"}) fs::remove(folder.file(name));
  }
  io::write_file_atomically(folder.file("resolved.json"), resolved.dump(2) + "\n");
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
