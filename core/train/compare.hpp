// Trials of a comparison: sizes of subjects, how these are matched, and each trial's folder.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/config/compare_plan.hpp"
#include "core/train/training_run.hpp"

namespace attnlab::train {

/// What a subject takes, told by shapes alone.
struct SubjectSize {
  int64_t parameters = 0, attention_parameters = 0;
  int64_t hidden = 0;               ///< width of the MLP
  int64_t window = 0;               ///< tokens of a window of the task
  double flops_per_token = 0;       ///< of a forward of one window of the sweep; see graph::FlopCount
  double flops_per_update = 0;      ///< three forwards of the update's tokens: one, and two for gradients
  std::set<std::string> uncounted;  ///< work that the count leaves out
  /// Bytes of decode state that the schemes account for, all layers together: once per sequence, and per
  /// token. None where a layer reports neither.
  std::optional<double> state_bytes, state_bytes_per_token;
};
SubjectSize size_of(const Study& study);

/// Builds every subject, refuses those that look into the future, and brings their sizes to the baseline's as
/// the plan says: changes their mlp_dim or steps. The sizes afterwards. Throws UserError. [main thread]
std::vector<SubjectSize> match_sizes(config::ComparePlan& plan, const plugin::Catalog& catalog,
                                     const config::Document& comparison, std::vector<std::string>& warnings);

/// The study of a trial. Throws UserError as of the comparison. [main thread]
Study study_of(const config::ComparePlan& plan, size_t subject, uint64_t seed, const plugin::Catalog& catalog,
               const config::Document& comparison);

/// A hash of what the source gives: trials in one folder must have read the same.
std::string fingerprint_of(const data::TokenSource& source);

/// One subject with one seed, in OUT/<subject>/seed-<n>.
struct Trial {
  size_t subject = 0;
  uint64_t seed = 0;
  RunFolder folder;
};
/// All trials of a comparison, seed by seed, so that what is done first is balanced.
std::vector<Trial> trials_of(const config::ComparePlan& plan, const std::string& out);

enum class TrialState { absent, unfinished, finished, diverged };
/// What the folder holds. Throws UserError where that is another config's, with the first difference.
TrialState state_of(const Trial& trial, const io::Json& resolved);
/// Removes all that a trial wrote.
void remove_trial(const Trial& trial);

/// Takes a trial from where its folder is to its end, or to an interruption. A divergence ends it too: it is
/// written down, and the trial counts as failed.
TrialState run_trial(const Trial& trial, Study& study, const io::Json& resolved, const RunEvents& events);

/// A point of a loss curve.
struct CurvePoint {
  int64_t steps = 0;
  double loss = 0;
};

/// What a trial came to.
struct TrialResult {
  uint64_t seed = 0;
  TrialState state = TrialState::absent;
  int64_t diverged_at = -1;
  double loss = 0, accuracy = 0;  ///< of a finished trial, at its end
  int64_t targets = 0;
  std::vector<double> window_losses;
  std::vector<int64_t> window_targets;
  std::vector<CurvePoint> held_out;
  std::vector<CurvePoint> training;  ///< means of up to 120 stretches of equal length, at their ends
};
/// Reads a folder that `state_of` found in this state. Throws UserError for damaged files.
TrialResult read_trial(const Trial& trial, TrialState state);

}  // namespace attnlab::train
