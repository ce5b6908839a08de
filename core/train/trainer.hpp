// Trains a GPT on windows of tokens.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/data/token_source.hpp"
#include "core/model/gpt.hpp"
#include "core/train/adamw.hpp"

namespace attnlab::train {

struct TrainOptions {
  int64_t batch = 12;      ///< windows of a forward
  int64_t accumulate = 1;  ///< forwards whose gradients one update averages
  int64_t evaluate_batch = 32;
  uint64_t seed = 1;
  Schedule schedule;
  AdamWOptions adamw;
};

/// What one update saw.
struct StepRecord {
  int64_t step = 0;  ///< from 0
  double loss = 0;   ///< mean cross-entropy of the batch, without other losses
  std::map<std::string, double>
      other_losses;  ///< that schemes reported, each averaged over layers; added to the loss
  std::map<std::string, double> metrics;  ///< likewise, not added
  double gradient_norm = 0;               ///< before clipping; not finite: nothing was updated
  double learning_rate = 0;
};

struct Evaluation {
  double loss = 0;      ///< mean cross-entropy over all targets of the sweep
  double accuracy = 0;  ///< share of targets whose class has the largest logit
  int64_t targets = 0;
  /// Of each window of the sweep, where asked for: mean cross-entropy of its targets, 0 where it has none,
  /// and how many it has.
  std::vector<double> window_losses{};
  std::vector<int64_t> window_targets{};
};

/// Each step is a function of parameters, moments, seed and step number, so that a run resumed from these
/// goes on with the same bits. Not thread-safe; one step uses all threads.
class Trainer {
 public:
  /// Model and source must outlive it.
  Trainer(model::Gpt& model, const data::TokenSource& source, const TrainOptions& options);

  StepRecord step();
  /// The full fixed sweep, the same for every model on the same source.
  Evaluation evaluate(bool by_window = false) const;

  /// Steps taken.
  int64_t steps() const { return steps_; }
  const AdamW& optimiser() const { return optimiser_; }
  void restore(int64_t steps, AdamW optimiser);

 private:
  model::Gpt& model_;
  const data::TokenSource& source_;
  TrainOptions options_;
  AdamW optimiser_;
  int64_t steps_ = 0;
};

/// The loss that training minimises, with the parts that `record` receives: mean cross-entropy plus the
/// losses that schemes report, those of one name averaged over the layers that report it.
Var training_loss(const model::Pass& pass, const data::TokenBatch& batch, StepRecord& record);

}  // namespace attnlab::train
