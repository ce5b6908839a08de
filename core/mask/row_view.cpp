#include "core/mask/row_view.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace attnlab::mask {

float log_weight_of(float probability) {
  return probability == 1 ? 0.0f : static_cast<float>(-std::log(double{probability}));
}

float probability_of(float log_weight) {
  if (log_weight == 0) return 1;
  return std::max(static_cast<float>(std::exp(-double{log_weight})),
                  std::numeric_limits<float>::denorm_min());
}

Entry RowView::entry(int64_t position) const {
  Entry result;
  result.key = key(position);
  if (probability_) result.probability = probability_[position];
  if (log_weight_) result.log_weight = log_weight_[position];
  if (!probability_ && log_weight_) result.probability = probability_of(result.log_weight);
  if (!log_weight_ && probability_) result.log_weight = log_weight_of(result.probability);
  return result;
}

int64_t RowView::active_before(int64_t key) const {
  if (column_) return std::lower_bound(column_, column_ + extent_, key) - column_;
  const int64_t positions = std::min(key, extent_);
  if (!probability_) return positions;
  return std::count_if(probability_, probability_ + positions, [](float p) { return p > 0; });
}

Entry RowView::at(int32_t key) const {
  const Entry absent{key, 0, 0};
  if (!column_) return key < extent_ && holds_entry(key) ? entry(key) : absent;
  const auto* found = std::lower_bound(column_, column_ + extent_, key);
  return found != column_ + extent_ && *found == key ? entry(found - column_) : absent;
}

}  // namespace attnlab::mask
