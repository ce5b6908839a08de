#include "core/data/recall_task.hpp"

#include <fmt/core.h>

#include <attnlab/philox.hpp>
#include <numeric>

#include "core/base/error.hpp"

namespace attnlab::data {
namespace {

constexpr int64_t max_symbols = 1 << 20;
constexpr int64_t max_windows = 1 << 20;

// Part of the keys: evaluation windows are independent of training windows, and neither shares a stream with
// the weights or dropout of a model of the same seed.
constexpr uint64_t training_purpose = 0x7265632074726e;    // "rec trn"
constexpr uint64_t evaluation_purpose = 0x72656320657661;  // "rec eva"

void check(const RecallOptions& options) {
  const auto within = [](const char* name, int64_t found, int64_t minimum, int64_t maximum,
                         const std::string& reason = "") {
    if (found >= minimum && found <= maximum) return;
    throw base::UserError(fmt::format("recall: bad {}", name),
                          {.found = std::to_string(found),
                           .allowed = fmt::format("an integer from {} to {}{}", minimum, maximum, reason)});
  };
  within("keys", options.keys, 1, max_symbols);
  within("values", options.values, 2, max_symbols);
  within("pairs", options.pairs, 1, options.keys, ", the number of keys: keys of a window are distinct");
  within("queries", options.queries, 1, options.pairs, ", the number of pairs: no key is asked twice");
  within("evaluation_windows", options.evaluation_windows, 1, max_windows);
}

/// Moves `count` distinct items at random to the front: every ordered choice is equally likely (Fisher and
/// Yates).
void choose(std::span<int64_t> items, int64_t count, Philox& philox) {
  for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
    std::swap(items[i], items[i + philox.below(items.size() - i)]);
  }
}

void write_window(const RecallOptions& options, Philox philox, std::span<int64_t> inputs,
                  std::span<int64_t> targets) {
  std::vector<int64_t> keys(static_cast<size_t>(options.keys));
  std::iota(keys.begin(), keys.end(), int64_t{0});
  choose(keys, options.pairs, philox);
  size_t at = 0;
  std::vector<int64_t> value_of(keys.size());
  const std::span chosen = std::span(keys).first(static_cast<size_t>(options.pairs));
  for (const int64_t key : chosen) {
    const auto value = static_cast<int64_t>(philox.below(static_cast<uint64_t>(options.values)));
    value_of[static_cast<size_t>(key)] = options.keys + value;
    inputs[at++] = key;
    inputs[at++] = options.keys + value;
  }
  choose(chosen, options.queries, philox);
  for (const int64_t key : chosen.first(static_cast<size_t>(options.queries))) {
    const int64_t answer = value_of[static_cast<size_t>(key)];
    targets[at] = answer;
    inputs[at++] = key;
    inputs[at++] = answer;
  }
}

/// Windows of the streams [first, first + count) under one key.
TokenBatch windows(const RecallOptions& options, uint64_t key, int64_t first, int64_t count, int64_t tokens) {
  const auto size = static_cast<size_t>(count * tokens), block = static_cast<size_t>(tokens);
  TokenBatch batch{.batch = count,
                   .tokens = tokens,
                   .inputs = std::vector<int64_t>(size),
                   .targets = std::vector<int64_t>(size, ignored_target)};
  for (size_t row = 0; row < static_cast<size_t>(count); ++row) {
    write_window(options, Philox(key, static_cast<uint64_t>(first) + row),
                 std::span(batch.inputs).subspan(row * block, block),
                 std::span(batch.targets).subspan(row * block, block));
  }
  return batch;
}

}  // namespace

RecallTask::RecallTask(const RecallOptions& options) : options_(options) {
  check(options);
}

TokenBatch RecallTask::training(int64_t batch, uint64_t draw) const {
  ATTNLAB_CHECK(batch >= 1, "an empty batch");
  return windows(options_, mix_key(options_.seed, training_purpose, draw), 0, batch, block());
}

TokenBatch RecallTask::evaluation(int64_t first, int64_t count) const {
  ATTNLAB_CHECK(first >= 0 && count >= 1 && count <= evaluation_windows() - first, "no such windows");
  return windows(options_, mix_key(options_.seed, evaluation_purpose), first, count, block());
}

}  // namespace attnlab::data
