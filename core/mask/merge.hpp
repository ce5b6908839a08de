// The union of two masks.
#pragma once

#include "core/mask/mask.hpp"

namespace attnlab::mask {

/// What the union says of a key that both masks hold.
enum class MergeRule : uint8_t {
  /// Deterministic absorbs sampled: p = 1. Two masks that both hold sampled entries, at whatever keys, are
  /// refused.
  strict,
  /// min(1, p1 + p2) in float, as sparse-attention-hub computes it: for parity tests only. It is the
  /// probability of no
  /// sampling scheme (independent draws give p1 + p2 - p1 p2) and is not idempotent.
  reference_sum,
};

/// The union of masks of one shape; extents broadcast. Full absorbs, Empty is neutral. The result is Dense
/// when either operand is, else Sparse, and `normalized()`.
///
/// Commutative. `strict` is idempotent and associative where it is defined (a + b + c may be defined in one
/// grouping only, when a deterministic mask covers the sampled entries of another); `reference_sum` is
/// associative up to float rounding. A key of one operand only keeps its pair (p, -log p) bit for bit.
///
/// Throws UserError for unequal shapes, and under `strict` when both hold sampled entries and neither is
/// full: a key drawn by one scheme could also have been drawn by the other, so the union's inclusion
/// probability needs both schemes' p at every active key, and a mask records p only for the keys that were
/// drawn.
///
/// O(entries of both over the combined extents); a Dense operand costs Sk per row. No [Sq, Sk] plane unless
/// an operand has one.
Mask merge(const Mask& a, const Mask& b, MergeRule rule = MergeRule::strict);

}  // namespace attnlab::mask
