// Sources of token windows for language models: what to train on, and a fixed sweep to evaluate on.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/data/tokeniser.hpp"

namespace attnlab::data {

/// The target of a position that no loss counts.
constexpr int64_t ignored_target = -1;

/// Windows of equal length. `targets[b, t]` is what should follow `inputs[b, 0..t]`, or `ignored_target`.
struct TokenBatch {
  int64_t batch = 0;
  int64_t tokens = 0;
  std::vector<int64_t> inputs;   ///< [batch, tokens], each in [0, vocabulary)
  std::vector<int64_t> targets;  ///< [batch, tokens]
};

/// Immutable: safe from any thread.
class TokenSource {
 public:
  virtual ~TokenSource() = default;
  virtual int64_t vocabulary_size() const = 0;
  /// Tokens of a window.
  virtual int64_t block() const = 0;
  /// `batch` windows at random: a function of the source's seed and of `draw` alone, so that a resumed run
  /// sees what it would have seen. The first windows of a larger batch are those of a smaller one.
  virtual TokenBatch training(int64_t batch, uint64_t draw) const = 0;
  /// Windows of the full sweep; at least 1.
  virtual int64_t evaluation_windows() const = 0;
  /// Windows [first, first + count) of the sweep. Means over the sweep weigh each target alike, not each
  /// window: windows differ in how many targets they count.
  virtual TokenBatch evaluation(int64_t first, int64_t count) const = 0;
  /// Null when the task has no text form; lives as long as the source.
  virtual const Tokeniser* tokeniser() const { return nullptr; }
};

struct TextOptions {
  double training_fraction = 0.9;  ///< in (0, 1); the rest is for validation
  int64_t block = 256;
  uint64_t seed = 1;
};

/// One long text: its first floor(training_fraction tokens) tokens train, the others validate. The targets of
/// a window are its inputs shifted by one.
///
/// - Training windows start uniformly at random, with replacement, wherever input and targets lie in the
///   training split.
/// - The sweep's windows do not overlap. Together they count each token of the validation split but the first
///   exactly once as a target; the last window is padded with input 0 and ignored targets.
class TextSource final : public TokenSource {
 public:
  /// `tokens` are ids of `tokeniser`. Throws UserError for bad options and for a split of fewer than
  /// block + 1 tokens.
  TextSource(Tokeniser tokeniser, std::vector<int32_t> tokens, const TextOptions& options);

  int64_t vocabulary_size() const override { return tokeniser_.vocabulary_size(); }
  int64_t block() const override { return options_.block; }
  TokenBatch training(int64_t batch, uint64_t draw) const override;
  int64_t evaluation_windows() const override;
  TokenBatch evaluation(int64_t first, int64_t count) const override;
  const Tokeniser* tokeniser() const override { return &tokeniser_; }

  std::span<const int32_t> training_split() const;
  std::span<const int32_t> validation_split() const;

 private:
  Tokeniser tokeniser_;
  std::vector<int32_t> tokens_;
  TextOptions options_;
  size_t split_ = 0;  ///< tokens of the training split
};

}  // namespace attnlab::data
