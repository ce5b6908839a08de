// Which stages of a pipeline run for which layers and query heads, and rows put together from several lists.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/attention/selection.hpp"
#include "core/attention/tile.hpp"
#include "core/config/run_plan.hpp"

namespace attnlab::attention {

/// Stages [begin, end) of a pipeline that run one after another for some heads; none: dense attention.
struct Variant {
  size_t begin = 0, end = 0;
  bool is_dense() const { return begin == end; }
};

/// The variants of a pipeline; a pipeline without a policy has one. Immutable, thread-safe.
class Policy {
 public:
  explicit Policy(const config::PipelinePlan& plan);

  const std::vector<Variant>& variants() const { return variants_; }
  /// The variant of a query head, which the policy must name (config::check_policy).
  size_t variant_of(int64_t layer, int64_t head) const;
  /// The variant of each query head of the tile's KV head, into `heads` [group]; true when they are all the
  /// same.
  bool variants_of(const Tile& tile, std::vector<size_t>& heads) const;
  bool is_dense(const Tile& tile) const;
  /// Whether a layer with so many query heads runs the variant.
  bool uses(int64_t layer, int64_t query_heads, size_t variant) const;

 private:
  std::optional<config::PolicyPlan> plan_;
  std::vector<Variant> variants_;
};

/// Copies the rows of the query heads that use `variant` into `to`, a selection of as many rows; rows that
/// share a list go on sharing it. O(active keys of these rows).
void take_rows(const Selection& from, const std::vector<size_t>& heads, size_t variant, Selection& to);

/// Gives the rows of the query heads that use `variant` all visible keys.
void take_dense_rows(const Tile& tile, const std::vector<size_t>& heads, size_t variant, Selection& to);

}  // namespace attnlab::attention
