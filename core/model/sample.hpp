// Sequences from a model, one token after the other.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/model/gpt.hpp"

namespace attnlab::model {

struct SampleOptions {
  int64_t tokens = 256;
  double temperature = 1;  ///< 0: always the most likely token
  int64_t top_k = 0;       ///< only among the k most likely; 0: all
  double top_p = 1;        ///< only among the fewest whose probability reaches p
  uint64_t seed = 1;
};

/// The next token from the last row of logits [1, T, vocabulary]; `draw` counts draws of the seed.
int64_t sample_token(const graph::Array& logits, const SampleOptions& options, uint64_t draw);

/// Continues `prompt` (at least one token), calling `sink` with each new token until it returns false. The
/// schemes decode on their state; where learned positions end, the last half of the block is read again and
/// decoding goes on. Returns the bytes of state at the end.
uint64_t sample(const Gpt& model, std::span<const int64_t> prompt, const SampleOptions& options,
                const std::function<bool(int64_t)>& sink);

}  // namespace attnlab::model
