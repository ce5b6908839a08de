// attnlab train-hash: learns the weights of hash_attention from the layers of a source.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/io/json.hpp"
#include "core/train/hash_head.hpp"

namespace attnlab::train {

/// How a training runs; none of it changes what is learned.
struct HashRun {
  std::string checkpoint;  ///< file of the state between steps; empty: none is written
  bool resume = false;     ///< go on from `checkpoint`
  double checkpoint_seconds = 30;
  /// Steps done and steps in all, over all layers. [main thread]
  std::function<void(int64_t done, int64_t total)> on_progress;
  /// Polled every few steps; true writes a checkpoint and ends with UserError (Exit::interrupted).
  std::function<bool()> cancelled;
};

struct HashTraining {
  HashWeights weights;
  std::vector<std::vector<HashRecall>> recall;  ///< [layers][heads]
};

/// Trains all heads of each of options.source_layers, one layer after the other, heads in parallel. The
/// result is a function of source and options alone: neither threads nor interruptions change a bit. Removes
/// the checkpoint at the end. Throws UserError, also for a checkpoint of another training.
HashTraining train_hash(const data::Source& source, const HashOptions& options, const HashRun& run);

/// All options, as the summary and checkpoints say them.
io::Json to_json(const HashOptions& options);

/// Adds the recall per layer and head, and the means: layers[] {layer, learned, random, heads[]}, learned,
/// random.
void put_recall(const HashTraining& training, io::Json& summary);

}  // namespace attnlab::train
