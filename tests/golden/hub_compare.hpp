// Comparisons of golden cases; each names the first row and key where it fails.
#pragma once

#include <gtest/gtest.h>

#include "tests/golden/hub_product.hpp"

namespace attnlab::golden {

/// Equal bit for bit at every visible position.
::testing::AssertionResult same_mask(const HubCase& golden, const Plane& expected, const Plane& ours);

/// Every element within `tolerance` of the largest magnitude of its row. NaN agrees with nothing.
::testing::AssertionResult close(const Plane& expected, const Plane& ours, double tolerance = 1e-5);

/// Nothing active at invisible positions, no row empty, all finite, and the output is the double-precision
/// one on the outcome's own mask.
::testing::AssertionResult lawful(const HubCase& golden, const Outcome& outcome);

/// `mask` with these active keys, p = 1, in every row; `keys_of(row)` lists them.
template <class KeysOf>
Plane mask_of(const HubCase& golden, const KeysOf& keys_of) {
  Plane mask(golden.shape().rows(), golden.shape().keys, 0);
  for (int64_t row = 0; row < mask.rows(); ++row) {
    for (int64_t key : keys_of(row)) mask.row(row)[static_cast<size_t>(key)] = 1;
  }
  return mask;
}

/// Double-precision attention on a mask.
Plane attend(const HubCase& golden, const Plane& mask);

}  // namespace attnlab::golden
