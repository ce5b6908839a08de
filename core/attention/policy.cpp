#include "core/attention/policy.hpp"

#include <algorithm>

namespace attnlab::attention {
namespace {

/// Calls body(row, count) for the rows of `to`'s queries whose head uses the variant: runs of neighbouring
/// heads.
template <class Body>
void for_each_span(int64_t rows, const std::vector<size_t>& heads, size_t variant, const Body& body) {
  const auto group = static_cast<int64_t>(heads.size());
  for (int64_t row = 0; row < rows;) {
    const auto uses = [&](int64_t r) { return heads[static_cast<size_t>(r % group)] == variant; };
    int64_t end = row;
    while (end < rows && end / group == row / group && uses(end)) ++end;
    if (end > row) body(row, end - row);
    row = std::max(end, row + 1);
  }
}

}  // namespace

Policy::Policy(const config::PipelinePlan& plan) : plan_(plan.policy) {
  if (!plan_) {
    variants_.push_back({0, plan.stages.size()});
    return;
  }
  for (const auto& variant : plan_->variants) variants_.push_back({variant.begin, variant.end});
}

size_t Policy::variant_of(int64_t layer, int64_t head) const {
  if (!plan_) return 0;
  const std::optional<size_t> variant = plan_->variant_of(layer, head);
  ATTNLAB_CHECK(variant.has_value(), "check_policy found a variant for every head");
  return *variant;
}

bool Policy::variants_of(const Tile& tile, std::vector<size_t>& heads) const {
  heads.resize(static_cast<size_t>(tile.group()));
  for (int64_t h = 0; h < tile.group(); ++h) {
    heads[static_cast<size_t>(h)] = variant_of(tile.problem().layer, tile.head_of(h));
  }
  return std::all_of(heads.begin(), heads.end(), [&](size_t variant) { return variant == heads[0]; });
}

bool Policy::is_dense(const Tile& tile) const {
  for (int64_t h = 0; h < tile.group(); ++h) {
    if (!variants_[variant_of(tile.problem().layer, tile.head_of(h))].is_dense()) return false;
  }
  return true;
}

bool Policy::uses(int64_t layer, int64_t query_heads, size_t variant) const {
  for (int64_t head = 0; head < query_heads; ++head) {
    if (variant_of(layer, head) == variant) return true;
  }
  return false;
}

void take_rows(const Selection& from, const std::vector<size_t>& heads, size_t variant, Selection& to) {
  for_each_span(to.rows(), heads, variant, [&](int64_t row, int64_t count) {
    for (const int64_t end = row + count; row < end;) {
      const int64_t span = std::min(from.span_end(row), end) - row;
      to.assign(row, span) = from.list(row);
      row += span;
    }
  });
}

void take_dense_rows(const Tile& tile, const std::vector<size_t>& heads, size_t variant, Selection& to) {
  for_each_span(to.rows(), heads, variant, [&](int64_t first, int64_t count) {
    for (int64_t row = first; row < first + count; ++row) {
      if (row > first && tile.shared_visibility()) {
        to.share(row, 1, first);
      } else {
        tile.visible_runs(row, to.assign(row, 1).runs);
      }
    }
  });
}

}  // namespace attnlab::attention
