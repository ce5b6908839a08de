// Small attention problems and tiles for tests.
#pragma once

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "core/attention/session.hpp"
#include "core/kernels/table.hpp"
#include "tests/unit/plugin_test_support.hpp"

namespace attnlab::attention {

/// One layer with its extents.
struct SmallProblem {
  data::Geometry geometry;
  data::LayerProblem layer;
};

inline SmallProblem problem_of(const data::Geometry& geometry, const std::vector<float>& query,
                               const std::vector<float>& key, const std::vector<float>& value) {
  using tensor::DType;
  SmallProblem problem{geometry, {}};
  const auto& g = geometry;
  auto& layer = problem.layer;
  layer.storage = {io::tensor_of<float>(DType::f32, {g.batch, g.query_heads, g.queries, g.head_dim}, query),
                   io::tensor_of<float>(DType::f32, {g.batch, g.kv_heads, g.keys, g.head_dim}, key),
                   io::tensor_of<float>(DType::f32, {g.batch, g.kv_heads, g.keys, g.value_dim}, value)};
  layer.query = tensor::view_bhsd(layer.storage[0]);
  layer.key = tensor::view_bhsd(layer.storage[1]);
  layer.value = tensor::view_bhsd(layer.storage[2]);
  layer.valid.assign(static_cast<size_t>(g.batch), g.keys);
  return problem;
}

/// Standard normal q, k and v.
inline SmallProblem random_problem(const data::Geometry& g, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  const auto draw = [&](int64_t count) {
    std::vector<float> values(static_cast<size_t>(count));
    for (float& v : values) v = normal(random);
    return values;
  };
  return problem_of(g, draw(g.batch * g.query_heads * g.queries * g.head_dim),
                    draw(g.batch * g.kv_heads * g.keys * g.head_dim),
                    draw(g.batch * g.kv_heads * g.keys * g.value_dim));
}

/// Gives the problem a bias [1, heads, Sq, Sk] that hides each entry with the given probability.
inline void hide_at_random(SmallProblem& problem, int64_t heads, double share, unsigned seed) {
  std::mt19937 random(seed);
  std::bernoulli_distribution hidden(share);
  const auto& g = problem.geometry;
  std::vector<float> bias(static_cast<size_t>(heads * g.queries * g.keys));
  for (float& b : bias) b = hidden(random) ? -std::numeric_limits<float>::infinity() : 0.0f;
  problem.layer.bias = io::tensor_of<float>(tensor::DType::f32, {1, heads, g.queries, g.keys}, bias);
}

/// The tile of all queries of (batch 0, KV head 0).
inline Tile tile_of(const SmallProblem& problem, bool causal = true) {
  Tile tile;
  AttentionOptions options;
  options.causal = causal;
  tile.load(problem.layer, problem.geometry, options, kernels::best_table(),
            {0, 0, 0, problem.geometry.queries});
  return tile;
}

/// Is the key visible to this row of the tile, by the definition?
inline bool visible(const Tile& tile, int64_t row, int64_t key) {
  if (key >= tile.visible_end(row)) return false;
  const uint64_t* hidden = tile.hidden(row);
  return hidden == nullptr || ((hidden[key / 64] >> (key % 64)) & 1) == 0;
}

}  // namespace attnlab::attention
