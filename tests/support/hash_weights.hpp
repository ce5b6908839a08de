// Random weight files of hash_attention.
#pragma once

#include <attnlab/philox.hpp>

#include <vector>

#include "core/train/hash_weights.hpp"

namespace attnlab::test {

/// Every number N(0, 1) / sqrt(inputs), biases too, so that bits are as often 0 as 1.
inline train::HashWeights random_hash_weights(const train::NetShape& shape, int64_t heads,
                                              bool per_query_head, const std::vector<int>& layers,
                                              uint64_t seed) {
  Philox random(seed);
  train::HashWeights weights{shape, per_query_head, heads, {}};
  auto mlp = [&] {
    std::vector<float> numbers;
    for (int64_t layer = 0; layer < shape.layers; ++layer) {
      const double deviation = 1 / std::sqrt(static_cast<double>(shape.inputs(layer)));
      for (int64_t i = 0; i < (shape.inputs(layer) + 1) * shape.outputs(layer); ++i)
        numbers.push_back(static_cast<float>(random.normal() * deviation));
    }
    return numbers;
  };
  for (int layer : layers) {
    auto& entry = weights.layers.emplace_back();
    entry.layer = layer;
    for (int64_t head = 0; head < heads; ++head) {
      entry.query.push_back(mlp());
      entry.key.push_back(mlp());
    }
  }
  return weights;
}

}  // namespace attnlab::test
