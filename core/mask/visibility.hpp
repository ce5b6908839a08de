// Which keys a row may see at all: causality, valid lengths and hidden entries of an additive bias.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "core/mask/mask.hpp"
#include "core/tensor/tensor.hpp"

namespace attnlab::mask {

/// Whether a bias makes its key invisible: -inf, or below half the lowest float (what frameworks add for
/// "forbidden").
inline bool hides(float bias) {
  return bias < std::numeric_limits<float>::lowest() / 2;
}

/// Row i of Sq sits at position i + valid - Sq. It sees key k when k < valid, when k is not later than its
/// position (if causal) and when its bias does not hide k. A row at a negative position (padding) sees
/// nothing if causal.
///
/// Immutable; copies share the bias. Any thread may read.
class Visibility {
 public:
  /// `valid`: [B] valid lengths in [0, Sk], or empty for Sk each. `bias`: float32 [B or 1, heads, Sq, Sk]
  /// with a heads extent that divides Hq, or an empty tensor. Throws UserError naming what does not fit.
  /// O(B).
  explicit Visibility(const Shape& shape, bool causal = true, std::vector<int64_t> valid = {},
                      tensor::Tensor bias = {});

  const Shape& shape() const { return shape_; }
  /// Extents over which visibility varies.
  const Extents& extents() const { return extents_; }
  bool has_bias() const { return !bias_.empty(); }
  /// Whether every entry is visible. O(B); a bias counts as hiding something.
  bool hides_nothing() const;

  /// End of the keys that causality and valid length leave to row q: min(valid, position + 1), at least 0.
  /// O(1).
  int64_t end(int64_t b, int64_t q) const;
  /// O(1).
  bool visible(int64_t b, int64_t h, int64_t q, int64_t k) const;
  /// Visible keys of a row, or those in [key_begin, key_end). O(1), with a bias O(keys).
  int64_t visible_count(int64_t b, int64_t h, int64_t q) const;
  int64_t visible_count(int64_t b, int64_t h, int64_t q, int64_t key_begin, int64_t key_end) const;

 private:
  /// The bias of row [b, h, q], indexed by key.
  const float* bias_row(int64_t b, int64_t h, int64_t q) const;

  Shape shape_;
  Extents extents_;
  Extents bias_extents_;
  bool causal_;
  std::vector<int64_t> valid_;  ///< [B]
  tensor::Tensor bias_;
};

}  // namespace attnlab::mask
