// Shared by the tests of the mask room.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "core/base/error.hpp"
#include "core/mask/mask.hpp"
#include "core/mask/visibility.hpp"

namespace attnlab::mask {

/// The text of the UserError that `action` throws, or "" when it throws none.
inline std::string refusal(const std::function<void()>& action) {
  try {
    action();
  } catch (const base::UserError& error) {
    return error.what();
  }
  return "";
}

#define EXPECT_REFUSAL(action, words)                                                  \
  do {                                                                                 \
    const std::string text_ = ::attnlab::mask::refusal([&] { (void)(action); });       \
    EXPECT_NE(text_.find(words), std::string::npos) << "refusal: \"" << text_ << "\""; \
  } while (false)

/// p of every entry of [B, Hq, Sq, Sk].
inline std::vector<float> plane(const Mask& mask) {
  const Shape& shape = mask.shape();
  std::vector<float> values;
  for (int64_t b = 0; b < shape.batch; ++b) {
    for (int64_t h = 0; h < shape.heads; ++h) {
      for (int64_t q = 0; q < shape.queries; ++q) {
        for (int64_t k = 0; k < shape.keys; ++k) values.push_back(mask.probability(b, h, q, k));
      }
    }
  }
  return values;
}

template <class T>
std::vector<T> vector_of(std::span<const T> values) {
  return {values.begin(), values.end()};
}

inline std::vector<int32_t> keys_of(const RowView& row) {
  std::vector<int32_t> keys;
  for (const Entry& entry : row) keys.push_back(entry.key);
  return keys;
}

/// Equal storage: state, extents and every array, bit for bit (no NaN and no -0 occurs in a mask).
inline bool same_storage(const Mask& a, const Mask& b) {
  return a.shape() == b.shape() && a.extents() == b.extents() && a.state() == b.state() &&
         vector_of(a.probability()) == vector_of(b.probability()) &&
         vector_of(a.log_weight()) == vector_of(b.log_weight()) &&
         vector_of(a.row_ptr()) == vector_of(b.row_ptr()) && vector_of(a.column()) == vector_of(b.column());
}

}  // namespace attnlab::mask
