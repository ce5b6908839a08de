#include "core/train/training_run.hpp"

#include <fmt/core.h>

#include <cmath>
#include <filesystem>

#include "core/base/parallel.hpp"
#include "core/base/stopwatch.hpp"
#include "core/kernels/table.hpp"

namespace attnlab::train {
namespace {

namespace fs = std::filesystem;
using base::UserError;
using io::Json;

/// Keeps the lines of metrics.jsonl that the checkpoint knows of: a run that was killed may have written
/// more. Returns the least validation loss among them, or 0.
double keep_lines(const std::string& path, int64_t steps) {
  double best = 0;
  if (!fs::exists(path)) return best;
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
    if (evaluation && line.contains("validation_loss") && line["validation_loss"].is_number()) {
      const double loss = line["validation_loss"];
      best = best == 0 ? loss : std::min(best, loss);
    }
    begin = end + 1;
  }
  io::write_file_atomically(path, kept);
  return best;
}

Json to_json(const StepRecord& r) {
  Json json = {{"step", r.step},
               {"loss", r.loss},
               {"gradient_norm", r.gradient_norm},
               {"learning_rate", r.learning_rate}};
  for (const auto& [name, value] : r.other_losses) json["losses"][name] = value;
  for (const auto& [name, value] : r.metrics) json["metrics"][name] = value;
  return json;
}

}  // namespace

Json identity(Json config) {
  for (const char* key : {"title", "plugin_path"}) io::erase_member(config, key);
  // Erasing leaves nlohmann's ordered objects with stale diagnostics: built anew by text.
  config = Json::parse(config.dump());
  if (config["task"].contains("text")) config["task"]["text"] = "";
  return config;
}

std::string first_difference(const Json& a, const Json& b, const std::string& at) {
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

std::string RunFolder::file(const char* name) const {
  return (fs::path(path) / name).string();
}

void RunFolder::clear() const {
  for (const char* name : {"metrics.jsonl", "result.json", "time.json"}) fs::remove(file(name));
}

Divergence::Divergence(int64_t at, const std::string& folder)
    : UserError(fmt::format("training diverged: at step {} the gradient is not finite", at),
                {.file = folder,
                 .suggestion = "a lower /train/learning_rate, or /train/clip; the last checkpoint is kept"},
                base::Exit::failed),
      step(at) {}

TrainingRun::TrainingRun(Study& study, RunFolder folder, const Json& resolved, RunEvents events)
    : study_(study),
      folder_(std::move(folder)),
      events_(std::move(events)),
      trainer_(*study.model, *study.source, options_of(study.plan)) {
  info_ = {resolved, study.tokeniser, study.source->vocabulary_size(), 0};
}

int64_t TrainingRun::resume() {
  const Checkpoint checkpoint(folder_.checkpoint());
  const std::string difference = first_difference(identity(checkpoint.info().config), identity(info_.config));
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
  const auto options = options_of(study_.plan);
  const int64_t steps = checkpoint.info().steps;
  trainer_.restore(steps, checkpoint.read_optimiser(*study_.model, options.adamw));
  best_ = keep_lines(folder_.file("metrics.jsonl"), steps);
  return steps;
}

bool TrainingRun::train() {
  const config::OptimiserPlan& plan = study_.plan.train;
  io::JsonlWriter metrics(folder_.file("metrics.jsonl"));
  auto evaluate = [&] {
    record(trainer_.evaluate());
    metrics.append({{"steps", trainer_.steps()},
                    {"validation_loss", last_.loss},
                    {"validation_accuracy", last_.accuracy}});
    if (events_.evaluated) events_.evaluated(trainer_.steps(), recent_loss_, last_);
  };
  if (trainer_.steps() == 0) evaluate();
  while (trainer_.steps() < plan.steps) {
    const base::Stopwatch watch;
    const StepRecord step = trainer_.step();
    seconds_ += watch.seconds();
    ++steps_here_;
    metrics.append(to_json(step));
    if (!std::isfinite(step.gradient_norm)) throw Divergence(step.step, folder_.path);
    recent_loss_ = recent_loss_ == 0 ? step.loss : 0.95 * recent_loss_ + 0.05 * step.loss;
    if (events_.updated) events_.updated(trainer_.steps(), plan.steps, recent_loss_, tokens_per_second());
    const bool last = trainer_.steps() == plan.steps;
    if (last || trainer_.steps() % plan.evaluate_every == 0) evaluate();
    if (last || trainer_.steps() % plan.checkpoint_every == 0) save();
    if (!last && events_.interrupted && events_.interrupted()) {
      save();
      return false;
    }
  }
  // Killed between the last checkpoint and its result: the lines are there, the figures are not.
  if (last_.targets == 0) record(trainer_.evaluate());
  return true;
}

void TrainingRun::record(const Evaluation& evaluation) {
  last_ = evaluation;
  best_ = best_ == 0 ? last_.loss : std::min(best_, last_.loss);
}

Json TrainingRun::finish() const {
  Json result = {{"title", study_.plan.title},
                 {"steps", trainer_.steps()},
                 {"parameters", study_.model->parameters().count()},
                 {"vocabulary", study_.source->vocabulary_size()},
                 {"validation_loss", last_.loss},
                 {"validation_accuracy", last_.accuracy},
                 {"validation_targets", last_.targets},
                 {"best_validation_loss", best_}};
  io::write_file_atomically(folder_.file("result.json"), io::pretty_text(result));
  const Json time = {
      {"updates", steps_here_},
      {"seconds", seconds_},
      {"tokens_per_second", tokens_per_second()},
      {"milliseconds_per_update", steps_here_ == 0 ? 0 : 1e3 * seconds_ / static_cast<double>(steps_here_)},
      {"threads", base::thread_count()},
      {"simd", kernels::active_table().target}};
  io::write_file_atomically(folder_.file("time.json"), io::pretty_text(time));
  result["time"] = time;
  return result;
}

double TrainingRun::tokens_per_second() const {
  const config::OptimiserPlan& t = study_.plan.train;
  const double tokens = static_cast<double>(steps_here_ * t.batch * t.accumulate * study_.source->block());
  return seconds_ > 0 ? tokens / seconds_ : 0;
}

void TrainingRun::save() {
  info_.steps = trainer_.steps();
  save_checkpoint(folder_.checkpoint(), *study_.model, trainer_.optimiser(), info_);
}

}  // namespace attnlab::train
