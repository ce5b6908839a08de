// Partial softmax attention over disjoint keys, put together.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace attnlab::attention {

/// Attention of a row over some of its keys.
struct PartialRow {
  const float* out = nullptr;  ///< [value_dim]
  double lse = 0;              ///< -inf: no keys, and `out` is not read
};

/// out = sum_i exp(lse_i - lse) out_i, lse = log(sum_i exp(lse_i) + exp(sink)), in double and in the order of
/// the parts; a learned sink logit takes part in the denominator alone. Returns lse; -inf and zeros when
/// there is nothing. O(parts value_dim).
double merge_row(std::span<const PartialRow> parts, std::optional<double> sink_logit, std::span<double> out);

}  // namespace attnlab::attention
