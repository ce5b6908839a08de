// One pair of MLPs in training: the queries and keys of one head, its batches, and what it recalls in the
// end.
#pragma once

#include <attnlab/philox.hpp>

#include <optional>
#include <string>
#include <vector>

#include "core/data/problem.hpp"
#include "core/plugin/parameter.hpp"
#include "core/train/hash_weights.hpp"

namespace attnlab::train {

/// How weights are learned; all that decides the result, beside the input.
struct HashOptions {
  int64_t layers = 3, hidden = 128, bits = 32;
  Activation activation = Activation::silu;
  bool per_query_head = false;
  plugin::Size top_k{false, 64, 0};  ///< heavy keys of a query
  int64_t steps = 1000;
  int64_t batch = 32;   ///< queries in a step
  int64_t keys = 1024;  ///< keys in a step, drawn from those that its queries see
  double learning_rate = 1e-3;
  double positive_weight = 20;  ///< of heavy keys in the loss ...
  double length_weight = 0;     ///< ... plus this times the number of keys that the query sees
  double held_out = 0.2;        ///< share of the queries, the last ones, that only judge
  uint64_t seed = 0;
  bool causal = true;
  double scale = 1;                ///< of the logits; matters beside a bias only
  std::vector<int> source_layers;  ///< layers of the source to train
};

/// Share of the exact top-k that the top-k of the codes holds, mean over held-out queries.
struct HashRecall {
  double learned = 0;
  double random = 0;  ///< random projections (SimHash) of as many bits
  double loss = 0;    ///< of the last step
  int64_t queries = 0;
};

/// Not thread-safe; heads are independent of each other, so that threads cannot change what is learned.
class HashHead {
 public:
  /// `head` is a KV head, or a query head with options.per_query_head. Copies the head's queries and keys.
  /// Throws UserError when no query of one side of the split sees more keys than the top-k.
  HashHead(const data::LayerProblem& problem, const data::Geometry& geometry, const HashOptions& options,
           int64_t head);

  const NetShape& shape() const { return shape_; }
  /// Fresh parameters, and those of a checkpoint. All three have shape().size() elements.
  std::vector<float> parameters, first_moment, second_moment;
  float loss = 0;

  /// Step `step` (from 1): a function of the options, the input and the parameters alone.
  void train_step(int64_t step);
  /// The MLPs for raw vectors, the standardisation of training folded in.
  std::vector<float> query_mlp() const;
  std::vector<float> key_mlp() const;
  HashRecall evaluate() const;

 private:
  /// A query that sees more keys than it has heavy ones.
  struct Query {
    int64_t sequence, index, query_head;
  };
  struct Standard {
    std::vector<float> mean, inverse_deviation;  ///< by channel
  };

  int64_t visible_end(const Query& query) const;
  std::span<const float> vector_of(const Query& query) const;
  /// scale * q.k + bias of keys [0, end), -inf where the bias hides them; returns how many are not hidden.
  int64_t exact_logits(const Query& query, std::vector<float>& out) const;
  Standard standard_of_queries(const std::vector<Query>& queries) const;
  Standard standard_of_keys(int64_t queries) const;
  std::vector<float> folded(std::span<const float> mlp, const Standard& standard) const;
  Batch<float> draw(Philox& random) const;
  double recall(const std::vector<Query>& queries, const NetShape& shape, std::span<const float> query_mlp,
                std::span<const float> key_mlp) const;

  const data::LayerProblem& problem_;
  data::Geometry geometry_;
  const HashOptions& options_;
  NetShape shape_;
  int64_t kv_head_;
  uint64_t key_;                          ///< of everything random
  std::vector<std::vector<float>> keys_;  ///< [sequence][Sk * head_dim]
  std::vector<Query> training_, judging_;
  Standard query_standard_, key_standard_;
};

/// Indices of the `count` largest values, ties to the lower index, ascending; -inf is never taken.
std::vector<int32_t> largest(std::span<const float> values, int64_t count);

}  // namespace attnlab::train
