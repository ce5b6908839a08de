// Which channels of a head carry its logits: offline calibration of double_sparsity.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/data/problem.hpp"

namespace attnlab::train {

/// Mean magnitudes of each channel, [query heads, head_dim] each. Query heads of a group share `key`.
struct ChannelImportance {
  std::vector<double> query;    ///< |q_c| over the queries
  std::vector<double> key;      ///< |k_c| over the keys inside the valid length
  std::vector<double> product;  ///< |q_c k_c| over the pairs of a query and a key that it sees
};

/// One layer, over all its sequences; `causal`: a query sees the keys up to its position. A bias is ignored.
/// O(tokens * heads * head_dim): |q_c k_c| = |q_c| |k_c|, so that running sums over keys do. Double
/// precision, the same bits for any number of threads.
ChannelImportance channel_importance(const data::LayerProblem& layer, const data::Geometry& geometry,
                                     bool causal);

/// The channels of each head, most important first, ties by the lower channel: [heads, head_dim].
std::vector<int32_t> sorted_channels(std::span<const double> importance, int64_t head_dim);

}  // namespace attnlab::train
