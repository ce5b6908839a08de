// The record of a comparison: what its subjects are, what their trials came to, and what that says.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/io/json.hpp"
#include "core/measure/paired.hpp"
#include "core/train/compare_costs.hpp"

namespace attnlab::measure {

/// The difference to the baseline within one seed: both read the same windows in the same order.
struct SeedDifference {
  uint64_t seed = 0;
  Estimate difference;  ///< over windows, weighed by their targets: the noise of the evaluation alone
};

struct ComparedSubject {
  std::string name;
  std::string attention;  ///< "mla latent_dim=32": the scheme and what its parameters are beside defaults
  int64_t steps = 0;
  train::SubjectSize size;
  train::MeasuredState state;
  std::optional<train::SubjectClock> clock;
  std::vector<train::TrialResult> trials;  ///< one for each seed

  // By `analyse`. NaN where a trial diverged: no mean speaks for what it left out.
  int64_t finished = 0, diverged = 0;
  Estimate loss, accuracy;  ///< over seeds
  PairedTest difference;    ///< of the loss to the baseline's, over the seeds that both finished
  double adjusted_p = std::numeric_limits<double>::quiet_NaN();  ///< Holm over all subjects
  std::vector<SeedDifference> by_seed;

  double flops() const { return static_cast<double>(steps) * size.flops_per_update; }
  /// Bytes of state of a sequence of `tokens`, by the line through what was measured.
  double state_bytes(double tokens) const { return state.per_sequence() + tokens * state.per_token(); }
};

struct Comparison {
  std::string title, match;
  std::vector<uint64_t> seeds;
  size_t baseline = 0;
  std::vector<ComparedSubject> subjects;
  int64_t window = 0;  ///< tokens
  int64_t windows = 0, targets = 0;
  int64_t decode_tokens = 0, decode_batch = 1;
  std::vector<std::string> notes;  ///< what a reader of the table must know, by `analyse`
  std::string command;
  io::Json machine;  ///< where the clocks ran; null: they did not

  const ComparedSubject& base() const { return subjects[baseline]; }
  bool complete() const;
  int64_t failed_trials() const;
};

/// Fills in the statistics and the notes.
void analyse(Comparison& comparison);

/// "mla latent_dim=32", of a list of layers each different one once.
std::string attention_text(const config::TrainPlan& plan, const plugin::Catalog& catalog);

/// All numbers; "clocks" holds those that differ from run to run.
io::Json to_json(const Comparison& comparison);
/// The clocks alone, as `take_clocks` reads them again.
io::Json clocks_json(const Comparison& comparison);
/// False, and nothing changes, where the text holds no clocks of these subjects.
bool take_clocks(const io::Json& clocks, Comparison& comparison);

}  // namespace attnlab::measure
