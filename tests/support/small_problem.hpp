// Small attention problems made in memory, and the planes that a pipeline gives on them.
#pragma once

#include <attnlab/philox.hpp>

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "core/attention/session.hpp"
#include "core/data/problem.hpp"

namespace attnlab::test {

/// What a case may vary.
struct Shape {
  int64_t batch = 1, query_heads = 1, kv_heads = 1, queries = 1, keys = 1, head_dim = 4, value_dim = 4;
  bool causal = true;
  enum class Bias { none, additive, holes, per_head_holes } bias = Bias::none;
  bool shorter_sequences = false;  ///< valid length of sequence b is keys - 2 b - 1
  bool sinks = false;
};

/// Owns the tensors that the views of `layer` point to.
struct SmallProblem {
  data::Geometry geometry;
  data::LayerProblem layer;
};

inline tensor::Tensor random_tensor(tensor::Shape shape, uint64_t key, double spread) {
  tensor::Tensor tensor = tensor::Tensor::zeros(tensor::DType::f32, std::move(shape));
  Philox random(key);
  for (float& value : tensor.mutable_values<float>()) value = static_cast<float>(random.normal() * spread);
  return tensor;
}

inline SmallProblem make_problem(const Shape& s, uint64_t seed) {
  SmallProblem p;
  p.geometry = {s.batch, s.query_heads, s.kv_heads, s.queries, s.keys, s.head_dim, s.value_dim};
  auto q = random_tensor({s.batch, s.query_heads, s.queries, s.head_dim}, mix_key(seed, 1), 1.5);
  auto k = random_tensor({s.batch, s.kv_heads, s.keys, s.head_dim}, mix_key(seed, 2), 1.5);
  auto v = random_tensor({s.batch, s.kv_heads, s.keys, s.value_dim}, mix_key(seed, 3), 1);
  p.layer.layer = 3;
  p.layer.query = tensor::view_bhsd(q);
  p.layer.key = tensor::view_bhsd(k);
  p.layer.value = tensor::view_bhsd(v);
  p.layer.storage = {q, k, v};
  for (int64_t b = 0; b < s.batch; ++b) {
    p.layer.valid.push_back(s.shorter_sequences ? std::max<int64_t>(1, s.keys - 2 * b - 1) : s.keys);
  }
  if (s.bias != Shape::Bias::none) {
    const int64_t heads = s.bias == Shape::Bias::per_head_holes ? s.query_heads : 1;
    p.layer.bias = random_tensor({1, heads, s.queries, s.keys}, mix_key(seed, 4), 0.5);
    if (s.bias != Shape::Bias::additive) {
      Philox random(mix_key(seed, 5));
      for (float& value : p.layer.bias.mutable_values<float>()) {
        if (random.below(4) == 0) value = -std::numeric_limits<float>::infinity();
      }
    }
  }
  for (int64_t h = 0; s.sinks && h < s.query_heads; ++h)
    p.layer.sink_logit.push_back(0.5f * static_cast<float>(h));
  return p;
}

/// What a pipeline gave: inclusion probability [B, Hq, Sq, Sk], output [B, Hq, Sq, Dv], LSE [B, Hq, Sq].
struct Planes {
  std::vector<float> probability, output, lse;
  std::vector<uint64_t> search_bytes;  ///< of each stage: cost, not a result
  bool operator==(const Planes& other) const {
    return probability == other.probability && output == other.output && lse == other.lse;
  }
};

/// How to run: nothing of this may change a bit of the rows after the prompt.
struct Manner {
  const kernels::KernelTable* kernels = &kernels::best_table();
  int64_t tile_bytes = 1 << 22;
  bool one_by_one = false;      ///< decode: keys appended query by query after the prompt
  int64_t prompt_queries = -1;  ///< queries that belong to the prompt, whose rows stay zero; -1: all of them
                                ///< are attended at once, or with one_by_one none
  int64_t chunk = 1 << 20;      ///< keys of the prompt, and after it, are appended in chunks of this size
  bool exact = true;            ///< dense rows beside every pipeline, from logits that maskers share
  enum class Detour { none, truncate, fork } detour = Detour::none;  ///< before the queries are attended
};

/// Appends keys up to `keys` in chunks.
inline void append_in_chunks(attention::Session& session, int64_t keys, int64_t chunk) {
  while (session.key_count() < keys) session.append(std::min(keys, session.key_count() + chunk));
}

inline std::vector<Planes> run_pipelines(const std::vector<attention::Pipeline>& pipelines,
                                         const SmallProblem& p, const attention::AttentionOptions& options,
                                         const Manner& manner = {}) {
  const data::Geometry& g = p.geometry;
  std::vector<Planes> planes(pipelines.size());
  for (auto& plane : planes) {
    const auto rows = static_cast<size_t>(g.batch * g.query_heads * g.queries);
    plane.probability.assign(rows * static_cast<size_t>(g.keys), 0);
    plane.output.assign(rows * static_cast<size_t>(g.value_dim), 0);
    plane.lse.assign(rows, 0);
  }
  const auto visit = [&](const attention::TileOutcome& outcome) {
    attention::Tile& tile = *outcome.tile;
    Planes& plane = planes[outcome.pipeline];
    for (int64_t row = 0; row < tile.rows(); ++row) {
      const int64_t line =
          (tile.index().batch * g.query_heads + tile.head_of(row)) * g.queries + tile.query_of(row);
      float* probability = plane.probability.data() + line * g.keys;
      attention::RowList dense;
      const attention::RowList& list = attention::active_list(outcome, row, dense);
      for (const auto& run : list.runs) std::fill(probability + run.begin, probability + run.end, 1.0f);
      for (int32_t key : list.ids) probability[key] = 1;
      for (size_t i = 0; i < list.sampled.size(); ++i) {
        probability[list.sampled[i]] = std::exp(-list.log_weight[i]);
      }
      std::copy_n(outcome.out + row * g.value_dim, g.value_dim, plane.output.data() + line * g.value_dim);
      plane.lse[static_cast<size_t>(line)] = outcome.lse[row];
    }
  };
  attention::Session session(pipelines, p.layer, g, options);
  attention::Engine engine({manner.kernels, manner.tile_bytes, manner.exact});
  const bool all_at_once = manner.prompt_queries < 0 && !manner.one_by_one;
  const int64_t first = std::max<int64_t>(0, manner.prompt_queries);
  const int64_t offset = g.keys - g.queries;
  const int64_t prompt = all_at_once ? g.keys : offset + first;
  append_in_chunks(session, prompt, manner.chunk);
  session.end_prompt();
  if (!all_at_once) {
    engine.attend_prompt(session, first, {});
    session.end_step();
  }
  if (manner.detour != Manner::Detour::none) {
    attention::Session other = session.fork();
    // Whoever goes on alone: the one that came back, or the one whose twin went on.
    attention::Session& wanderer = manner.detour == Manner::Detour::truncate ? session : other;
    append_in_chunks(wanderer, g.keys, 3);
    wanderer.truncate(prompt);
  }
  if (manner.one_by_one) {
    for (int64_t query = first; query < g.queries; ++query) {
      session.append(query + offset + 1);
      engine.attend(session, query, 1, {}, visit);
      session.end_step();
    }
  } else {
    append_in_chunks(session, g.keys, manner.chunk);
    engine.attend(session, first, g.queries - first, {}, visit);
  }
  for (size_t i = 0; i < planes.size(); ++i) planes[i].search_bytes = engine.clocks().search_bytes[i];
  return planes;
}

}  // namespace attnlab::test
