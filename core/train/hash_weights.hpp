// Weights of hash_attention: what train-hash writes and the masker reads (docs/reference/hash-weights.md).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/tensor/tensor.hpp"
#include "core/train/hash_net.hpp"

namespace attnlab::train {

/// The MLPs of one layer of the model, [heads][shape.mlp_size()] each.
struct HashLayer {
  int layer = 0;
  std::vector<std::vector<float>> query, key;
};

/// A weight file. `heads` are query heads or KV heads.
struct HashWeights {
  NetShape shape;
  bool per_query_head = false;
  int64_t heads = 0;
  std::vector<HashLayer> layers;  ///< by rising layer
};

/// The tensors of a layer: "layers.3.query.0.weight" [heads, inputs, outputs] and so on.
std::vector<std::pair<std::string, tensor::Tensor>> layer_tensors(const HashWeights& weights,
                                                                  const HashLayer& layer);

/// Replaces `path` atomically. Throws UserError (Exit::failed) when it cannot be written.
void write_hash_weights(const std::string& path, const HashWeights& weights);

/// The signs of an MLP's outputs for one vector: bit b of word b / 64 is set when output b is not negative.
/// The same arithmetic in the same order as the masker, in float32.
std::vector<uint64_t> hash_code(const NetShape& shape, std::span<const float> mlp, std::span<const float> x);

/// Bits in which two codes differ.
int64_t hamming_distance(std::span<const uint64_t> a, std::span<const uint64_t> b);

}  // namespace attnlab::train
