#include "core/data/token_source.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <attnlab/philox.hpp>
#include <cmath>
#include <limits>

#include "core/base/error.hpp"

namespace attnlab::data {
namespace {

// Models number positions in int32, and batch and block must multiply without overflow.
constexpr int64_t max_block = std::numeric_limits<int32_t>::max();

// Part of the key, so that window starts share no stream with weights or dropout of the same seed.
constexpr uint64_t window_purpose = 0x77696e646f77;  // "window"

void check(const TextOptions& options) {
  if (!(options.training_fraction > 0 && options.training_fraction < 1)) {
    throw base::UserError("text: bad training_fraction",
                          {.found = fmt::format("{}", options.training_fraction),
                           .allowed = "a number between 0 and 1, both excluded"});
  }
  if (options.block < 1 || options.block > max_block) {
    throw base::UserError("text: bad block", {.found = std::to_string(options.block),
                                              .allowed = fmt::format("an integer from 1 to {}", max_block)});
  }
}

void check_length(const char* split, size_t tokens, const TextOptions& options) {
  const auto found = static_cast<int64_t>(tokens);
  if (found > options.block) return;
  throw base::UserError(
      fmt::format("text: too short for its {} split", split),
      {.found = fmt::format("{} tokens", found),
       .allowed = fmt::format("at least {} tokens: a block of {} and the target of its last token",
                              options.block + 1, options.block),
       .suggestion = found < 2 ? "take a longer text"
                               : fmt::format("take a longer text, or a block of at most {}", found - 1)});
}

/// Writes row `row` of a batch: the tokens from `start` on and what follows each, as far as the split goes.
void write_window(std::span<const int32_t> split, int64_t start, int64_t row, TokenBatch& batch) {
  const int64_t targets = std::min(batch.tokens, std::ssize(split) - 1 - start);
  const auto from = split.begin() + start;
  std::copy_n(from, targets, batch.inputs.begin() + row * batch.tokens);
  std::copy_n(from + 1, targets, batch.targets.begin() + row * batch.tokens);
}

TokenBatch padding(int64_t batch, int64_t tokens) {
  const auto size = static_cast<size_t>(batch * tokens);
  return {.batch = batch,
          .tokens = tokens,
          .inputs = std::vector<int64_t>(size, 0),
          .targets = std::vector<int64_t>(size, ignored_target)};
}

}  // namespace

TextSource::TextSource(Tokeniser tokeniser, std::vector<int32_t> tokens, const TextOptions& options)
    : tokeniser_(std::move(tokeniser)), tokens_(std::move(tokens)), options_(options) {
  check(options);
  const auto known = [&](int32_t id) { return id >= 0 && id < tokeniser_.vocabulary_size(); };
  ATTNLAB_CHECK(std::all_of(tokens_.begin(), tokens_.end(), known), "tokens of another tokeniser");
  split_ = static_cast<size_t>(options.training_fraction * static_cast<double>(tokens_.size()));
  check_length("training", training_split().size(), options);
  check_length("validation", validation_split().size(), options);
}

std::span<const int32_t> TextSource::training_split() const {
  return std::span(tokens_).first(split_);
}

std::span<const int32_t> TextSource::validation_split() const {
  return std::span(tokens_).subspan(split_);
}

TokenBatch TextSource::training(int64_t batch, uint64_t draw) const {
  ATTNLAB_CHECK(batch >= 1, "an empty batch");
  TokenBatch result = padding(batch, options_.block);
  Philox philox(mix_key(options_.seed, window_purpose), draw);
  const uint64_t starts = split_ - static_cast<uint64_t>(options_.block);
  for (int64_t row = 0; row < batch; ++row) {
    write_window(training_split(), static_cast<int64_t>(philox.below(starts)), row, result);
  }
  return result;
}

int64_t TextSource::evaluation_windows() const {
  const int64_t targets = std::ssize(validation_split()) - 1;
  return (targets + options_.block - 1) / options_.block;
}

TokenBatch TextSource::evaluation(int64_t first, int64_t count) const {
  ATTNLAB_CHECK(first >= 0 && count >= 1 && count <= evaluation_windows() - first, "no such windows");
  TokenBatch result = padding(count, options_.block);
  for (int64_t row = 0; row < count; ++row) {
    write_window(validation_split(), (first + row) * options_.block, row, result);
  }
  return result;
}

}  // namespace attnlab::data
