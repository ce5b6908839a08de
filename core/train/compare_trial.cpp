// The folder of one trial of a comparison.
#include <fmt/core.h>

#include <cmath>
#include <filesystem>

#include "core/train/compare.hpp"

namespace attnlab::train {
namespace {

namespace fs = std::filesystem;
using base::UserError;
using io::Json;

constexpr const char* kResolved = "resolved.json";
constexpr const char* kWindows = "windows.json";
constexpr const char* kDivergence = "diverged.json";
constexpr int64_t kStretches = 120;

[[noreturn]] void damaged(const std::string& file, const std::string& what) {
  throw UserError("a trial's file is damaged",
                  {.file = file, .found = what, .suggestion = "--fresh trains all trials again"});
}

Json read_json(const std::string& file) {
  return io::parse_untrusted(io::read_text(file, size_t{1} << 30), file);
}

/// Runs `body`, whose exceptions of nlohmann mean that the file is not what a trial writes.
template <class Body>
auto reading(const std::string& file, const Body& body) {
  try {
    return body();
  } catch (const Json::exception& error) {
    damaged(file, error.what());
  }
}

void save_windows(const RunFolder& folder, const Evaluation& evaluation) {
  const Json json = {{"losses", evaluation.window_losses}, {"targets", evaluation.window_targets}};
  io::write_file_atomically(folder.file(kWindows), json.dump() + "\n");
}

/// Held-out points, and means of the training losses over stretches of steps.
void read_curves(const std::string& file, TrialResult& result) {
  const std::string text = io::read_text(file, size_t{1} << 30);
  std::vector<double> losses;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const Json line = Json::parse(text.begin() + static_cast<ptrdiff_t>(begin),
                                  text.begin() + static_cast<ptrdiff_t>(end), nullptr, false);
    begin = end + 1;
    if (!line.is_object()) continue;
    if (line.contains("validation_loss") && line["validation_loss"].is_number())
      result.held_out.push_back({line.at("steps"), line["validation_loss"]});
    if (line.contains("loss") && line["loss"].is_number()) losses.push_back(line["loss"]);
  }
  const auto steps = static_cast<int64_t>(losses.size());
  for (int64_t first = 0, i = 1; first < steps; ++i) {
    const int64_t last = std::max(first + 1, steps * i / std::min(steps, kStretches));
    double sum = 0;
    for (int64_t step = first; step < last; ++step) sum += losses[static_cast<size_t>(step)];
    result.training.push_back({last, sum / static_cast<double>(last - first)});
    first = last;
  }
}

}  // namespace

TrialState state_of(const Trial& trial, const Json& resolved) {
  const RunFolder& folder = trial.folder;
  if (!fs::exists(folder.file(kResolved))) return TrialState::absent;
  const std::string difference = reading(folder.file(kResolved), [&] {
    return first_difference(identity(read_json(folder.file(kResolved))), identity(resolved));
  });
  if (!difference.empty()) {
    throw UserError("the folder holds this trial with another config",
                    {.file = folder.file(kResolved),
                     .pointer = difference,
                     .suggestion = "--out names another folder, --fresh trains all trials again"});
  }
  if (fs::exists(folder.file(kDivergence))) return TrialState::diverged;
  const bool finished = fs::exists(folder.file("result.json")) && fs::exists(folder.file(kWindows));
  return finished ? TrialState::finished : TrialState::unfinished;
}

void remove_trial(const Trial& trial) {
  trial.folder.clear();
  for (const char* name : {kResolved, kWindows, kDivergence, "checkpoint.safetensors"})
    fs::remove(trial.folder.file(name));
}

TrialState run_trial(const Trial& trial, Study& study, const Json& resolved, const RunEvents& events) {
  const RunFolder& folder = trial.folder;
  io::create_directories(folder.path);
  TrainingRun run(study, folder, resolved, events);
  if (fs::exists(folder.checkpoint())) {
    run.resume();
  } else {
    remove_trial(trial);
  }
  io::write_file_atomically(folder.file(kResolved), io::pretty_text(resolved));
  try {
    if (!run.train()) return TrialState::unfinished;
  } catch (const Divergence& divergence) {
    io::write_file_atomically(folder.file(kDivergence), Json{{"step", divergence.step}}.dump() + "\n");
    return TrialState::diverged;
  }
  const Evaluation evaluation = run.trainer().evaluate(true);
  if (!std::isfinite(evaluation.loss)) {
    io::write_file_atomically(folder.file(kDivergence), Json{{"step", run.trainer().steps()}}.dump() + "\n");
    return TrialState::diverged;
  }
  save_windows(folder, evaluation);
  run.finish();
  return TrialState::finished;
}

TrialResult read_trial(const Trial& trial, TrialState state) {
  const RunFolder& folder = trial.folder;
  TrialResult result;
  result.seed = trial.seed;
  result.state = state;
  if (state == TrialState::diverged) {
    const std::string file = folder.file(kDivergence);
    result.diverged_at = reading(file, [&] { return read_json(file).at("step").get<int64_t>(); });
  }
  if (state != TrialState::finished) return result;
  const std::string figures = folder.file("result.json"), windows = folder.file(kWindows);
  reading(figures, [&] {
    const Json json = read_json(figures);
    result.loss = json.at("validation_loss").get<double>();
    result.accuracy = json.at("validation_accuracy").get<double>();
    result.targets = json.at("validation_targets").get<int64_t>();
  });
  reading(windows, [&] {
    const Json json = read_json(windows);
    result.window_losses = json.at("losses").get<std::vector<double>>();
    result.window_targets = json.at("targets").get<std::vector<int64_t>>();
  });
  if (result.window_losses.size() != result.window_targets.size())
    damaged(windows, "losses and targets of different lengths");
  reading(folder.file("metrics.jsonl"), [&] { read_curves(folder.file("metrics.jsonl"), result); });
  return result;
}

}  // namespace attnlab::train
