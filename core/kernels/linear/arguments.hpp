// Plain argument structs of linear attention, the same for the kernels and for the double-precision
// reference.
#pragma once

#include <cstdint>

#include "core/kernels/head_rows.hpp"

namespace attnlab::kernels {

/// What queries and keys become, element by element, before their products; elu_plus_one is that of
/// arXiv:2006.16236.
enum class FeatureMap : uint8_t { identity, relu, elu_plus_one, exponential };

/// With features f = phi(q) scale and g = phi(k), and sums over tokens j <= i (`causal`) or over all,
///   S_i = S_0 + sum_j g_j v_j^T,  z_i = z_0 + sum_j g_j,  out_i = f_i S_i, divided by f_i . z_i with
///   `normalise`
/// (equations 8 to 12 of arXiv:2006.16236). A row whose denominator is 0 is 0. Tokens at and beyond a batch
/// entry's length have no influence, and their outputs and gradients are 0.
struct LinearAttentionArguments {
  int64_t batch = 0;
  int64_t heads = 0;
  int64_t tokens = 0;
  int64_t head_dim = 0;
  int64_t value_dim = 0;
  FeatureMap feature_map = FeatureMap::identity;
  bool causal = true;
  bool normalise = false;
  float scale = 1;
  const int64_t* lengths = nullptr;  ///< [batch], each in [0, tokens]; null: all tokens
  HeadRows<const float> query;       ///< [batch, heads, tokens, head_dim]
  HeadRows<const float> key;
  HeadRows<const float> value;  ///< [batch, heads, tokens, value_dim]
  HeadRows<float> out;
  float* denominator = nullptr;            ///< [batch, heads, tokens] or null; the gradient needs it
  const float* initial_state = nullptr;    ///< S_0 [batch, heads, head_dim, value_dim], null: 0
  const float* initial_key_sum = nullptr;  ///< z_0 [batch, heads, head_dim], null: 0
  float* final_state = nullptr;            ///< S after the last token, or null; may be the initial one
  float* final_key_sum = nullptr;          ///< kept with `normalise` only

  int64_t length(int64_t b) const { return lengths == nullptr ? tokens : lengths[b]; }
};

/// Gradients of a loss given those of the outputs. `forward` is what the forward call had, with `out` and, if
/// normalised, `denominator` as it left them; its final state is ignored.
struct LinearGradientArguments {
  LinearAttentionArguments forward;
  HeadRows<const float> d_out;
  const float* d_final_state = nullptr;  ///< null: 0
  const float* d_final_key_sum = nullptr;
  HeadRows<float> d_query, d_key, d_value;  ///< written, not added to
  float* d_initial_state = nullptr;         ///< or null
  float* d_initial_key_sum = nullptr;
};

}  // namespace attnlab::kernels
