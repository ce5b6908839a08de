// AdamW with gradient clipping and a cosine schedule.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/model/parameters.hpp"

namespace attnlab::train {

/// Learning rate over steps: linear warm-up, then half a cosine down to `minimum` at `decay_steps`.
struct Schedule {
  double peak = 1e-3;
  double minimum = 1e-4;
  int64_t warmup = 100;
  int64_t decay_steps = 0;  ///< 0: constant after warm-up

  /// Of step `step`, counted from 0: peak (step + 1) / (warmup + 1) before `warmup`, `minimum` after
  /// `decay_steps`.
  double at(int64_t step) const;
};

struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.99, epsilon = 1e-8;
  double weight_decay = 0.1;  ///< of tensors with two or more axes; vectors do not decay
  double clip = 1;            ///< largest norm of all gradients together; 0: no clipping
};

/// Moments of all parameters (arXiv:1711.05101). Not thread-safe.
class AdamW {
 public:
  AdamW(const model::ParameterSet& parameters, const AdamWOptions& options);

  /// One update in place by gradients in the order of the set, which must be of its precision; returns their
  /// norm before clipping. Infinite or NaN gradients change nothing: the caller sees the norm.
  double update(model::ParameterSet& parameters, std::span<const graph::Array> gradients,
                double learning_rate);

  /// Updates made.
  int64_t steps() const { return steps_; }
  /// First and second moments in the order of the set, for checkpoints.
  const std::vector<graph::Array>& first() const { return first_; }
  const std::vector<graph::Array>& second() const { return second_; }
  void restore(int64_t steps, std::vector<graph::Array> first, std::vector<graph::Array> second);

 private:
  AdamWOptions options_;
  int64_t steps_ = 0;
  std::vector<graph::Array> first_, second_;
};

}  // namespace attnlab::train
