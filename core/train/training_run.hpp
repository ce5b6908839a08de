// A training run and its folder: metrics, checkpoints, how it goes on after a break and how it ends.
#pragma once

#include <functional>
#include <string>

#include "core/base/error.hpp"
#include "core/io/jsonl.hpp"
#include "core/train/checkpoint.hpp"
#include "core/train/study.hpp"

namespace attnlab::train {

/// What two configs of the same run agree in: titles and paths change nothing.
io::Json identity(io::Json resolved);
/// The first place where two configs differ, as a JSON pointer; "" where they do not.
std::string first_difference(const io::Json& a, const io::Json& b, const std::string& at = "");

/// The files of a run.
struct RunFolder {
  std::string path;

  std::string file(const char* name) const;
  std::string checkpoint() const { return file("checkpoint.safetensors"); }
  /// Removes what a run wrote beside its checkpoint.
  void clear() const;
};

/// The gradient of an update was not finite: the run has ended.
struct Divergence : base::UserError {
  Divergence(int64_t step, const std::string& folder);
  int64_t step;
};

/// What a run tells while it goes on.
struct RunEvents {
  /// After each update; `loss` is a running mean, `tokens_per_second` of this process's part of the run.
  std::function<void(int64_t steps, int64_t all, double loss, double tokens_per_second)> updated;
  /// After each evaluation; `loss` is the running mean, 0 before the first update.
  std::function<void(int64_t steps, double loss, const Evaluation& evaluation)> evaluated;
  /// Asked after each update: true saves and ends.
  std::function<bool()> interrupted;
};

/// One run, from its first or its resumed step to its end, in a folder that exists. Not thread-safe.
class TrainingRun {
 public:
  /// `study` must outlive it; `resolved` is its config.
  TrainingRun(Study& study, RunFolder folder, const io::Json& resolved, RunEvents events);

  /// Takes up the folder's checkpoint; returns the steps that it knows of. Throws UserError for a checkpoint
  /// of another config or text.
  int64_t resume();
  /// Writes metrics.jsonl and checkpoints. True when all steps were taken, false after an interruption.
  /// Throws Divergence; the last checkpoint stays.
  bool train();
  /// Writes result.json, which is equal for equal configs, and time.json, which is not; returns the first
  /// with the second as "time".
  io::Json finish() const;

  const Trainer& trainer() const { return trainer_; }

 private:
  double tokens_per_second() const;
  void record(const Evaluation& evaluation);
  void save();

  Study& study_;
  RunFolder folder_;
  RunEvents events_;
  Trainer trainer_;
  CheckpointInfo info_;
  Evaluation last_;
  double best_ = 0, recent_loss_ = 0, seconds_ = 0;
  int64_t steps_here_ = 0;
};

}  // namespace attnlab::train
