// Multi-query associative recall (Arora et al., "Zoology", arXiv:2312.04927): a task whose answers are known.
#pragma once

#include "core/data/token_source.hpp"

namespace attnlab::data {

struct RecallOptions {
  int64_t pairs = 8;
  int64_t queries = 8;  ///< at most `pairs`: no key is asked twice
  int64_t keys = 32;    ///< key symbols, at least `pairs`
  int64_t values = 32;  ///< value symbols, at least 2: with one there is nothing to recall
  uint64_t seed = 1;
  int64_t evaluation_windows = 256;
};

/// A window of 2 pairs + 2 queries tokens,
///
///   k_1 v_1 ... k_pairs v_pairs   q_1 a_1 ... q_queries a_queries,
///
/// with distinct keys k in random order, values v drawn with replacement, and distinct queries q among the
/// keys. a_i is the value of q_i, and the target at q_i; no other position has a target. As no key is asked
/// twice, an answer stands nowhere but in its pair; guessing a value is right with probability 1 / values.
///
/// Keys are the ids [0, keys), values [keys, keys + values).
class RecallTask final : public TokenSource {
 public:
  /// Throws UserError for options out of range.
  explicit RecallTask(const RecallOptions& options);

  int64_t vocabulary_size() const override { return options_.keys + options_.values; }
  int64_t block() const override { return 2 * (options_.pairs + options_.queries); }
  TokenBatch training(int64_t batch, uint64_t draw) const override;
  int64_t evaluation_windows() const override { return options_.evaluation_windows; }
  TokenBatch evaluation(int64_t first, int64_t count) const override;

 private:
  RecallOptions options_;
};

}  // namespace attnlab::data
