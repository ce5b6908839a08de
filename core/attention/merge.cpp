#include "core/attention/merge.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace attnlab::attention {

double merge_row(std::span<const PartialRow> parts, std::optional<double> sink_logit, std::span<double> out) {
  constexpr double nothing = -std::numeric_limits<double>::infinity();
  std::fill(out.begin(), out.end(), 0.0);
  double maximum = sink_logit.value_or(nothing);
  // NaN stays: std::max would pass over it.
  for (const PartialRow& part : parts) {
    if (!std::isnan(maximum) && !(part.lse <= maximum)) maximum = part.lse;
  }
  if (maximum == nothing) return nothing;
  double sum = sink_logit ? std::exp(*sink_logit - maximum) : 0;
  for (const PartialRow& part : parts) sum += std::exp(part.lse - maximum);
  for (const PartialRow& part : parts) {
    if (part.lse == nothing) continue;
    const double share = std::exp(part.lse - maximum) / sum;
    for (size_t i = 0; i < out.size(); ++i) out[i] += share * double{part.out[i]};
  }
  return maximum + std::log(sum);
}

}  // namespace attnlab::attention
