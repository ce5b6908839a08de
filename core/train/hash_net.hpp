// What train-hash minimises: two MLPs, of queries and of keys, whose relaxed codes should agree where the
// exact attention is.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace attnlab::train {

enum class Activation { silu, relu, gelu, tanh };
/// "silu", as weight files and configs spell it.
const std::string& name_of(Activation activation);
const std::vector<std::string>& activation_names();

/// Extents of the two MLPs of one head, which are alike: head_dim -> hidden -> ... -> bits in `layers` linear
/// layers with the activation between them.
struct NetShape {
  int64_t head_dim = 1;
  int64_t layers = 3;  ///< 1 to 3
  int64_t hidden = 128;
  int64_t bits = 32;
  Activation activation = Activation::silu;

  int64_t inputs(int64_t layer) const { return layer == 0 ? head_dim : hidden; }
  int64_t outputs(int64_t layer) const { return layer + 1 == layers ? bits : hidden; }
  /// Numbers in one MLP: for each layer the weight [inputs, outputs], then the bias [outputs].
  int64_t mlp_size() const;
  /// Numbers in all: the query MLP, the key MLP, the logarithm of the score's scale and its offset.
  int64_t size() const { return 2 * mlp_size() + 2; }
  bool operator==(const NetShape&) const = default;
};

/// Queries and keys of one step, row-major, with what is known of each pair.
template <class Real>
struct Batch {
  enum Label : uint8_t { other, heavy, hidden };
  int64_t queries = 0, keys = 0;
  std::vector<Real> query;            ///< [queries, head_dim]
  std::vector<Real> key;              ///< [keys, head_dim]
  std::vector<uint8_t> label;         ///< [queries, keys]
  std::vector<Real> positive_weight;  ///< [queries] weight of the heavy keys of a query
};

/// Multi-label binary cross-entropy, the mean over all pairs that are not hidden, of the score
///   s = exp(log_scale) / sqrt(bits) * sum_b tanh(query_b) tanh(key_b) + offset
/// as the logit of "this key is heavy for this query". `gradient` [shape.size()] gets the gradient of it by
/// `parameters`. O((queries + keys) * mlp_size + queries * keys * bits), one thread, a pure function. Real is
/// float or double.
template <class Real>
Real loss_and_gradient(const NetShape& shape, std::span<const Real> parameters, const Batch<Real>& batch,
                       std::span<Real> gradient);

/// out[i, j] = scale * query_i . key_j for row-major [queries, width] and [keys, width].
void dot_products(std::span<const float> query, std::span<const float> key, int64_t width, float scale,
                  std::span<float> out);

/// Adam (Kingma and Ba, arXiv:1412.6980) with its usual constants; `step` counts from 1.
void adam_step(std::span<float> parameters, std::span<const float> gradient, std::span<float> first_moment,
               std::span<float> second_moment, int64_t step, double learning_rate);

}  // namespace attnlab::train
