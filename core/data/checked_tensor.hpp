// Checks that every tensor from a file passes before a kernel sees it.
#pragma once

#include <string>

#include "core/tensor/tensor.hpp"

namespace attnlab::data {

/// A tensor as a file holds it; errors name `file` and `name`.
struct FileTensor {
  tensor::Tensor tensor;
  std::string file;
  std::string name;
};

/// Throws UserError unless the elements are floating point.
void check_floating(const FileTensor& source);

/// Throws UserError unless the shape is `expected`; `meaning` says where the extents come from.
void check_shape(const FileTensor& source, const tensor::Shape& expected, const std::string& meaning);

/// Some of a tensor's heads and tokens, in the order and element type of the file.
struct Slice {
  int64_t head_begin = 0, head_end = 0;
  int64_t token_begin = 0, token_end = 0;
};
/// A copy of the slice of a [token, head, channel] or [batch, head, token, channel] tensor, or the tensor
/// itself where the slice is all of it. Errors of the result name the slice as numpy would.
FileTensor slice_thd(const FileTensor& source, const Slice& slice);
FileTensor slice_bhsd(const FileTensor& source, const Slice& slice);

enum class Infinity { refused, negative_allowed };

/// The values in float32, sharing the bytes when they already are. Throws UserError naming the first element
/// (in row-major order) that is NaN, infinite or beyond float32's range. O(elements), parallel.
tensor::Tensor finite_f32(const FileTensor& source, Infinity infinity = Infinity::refused);

}  // namespace attnlab::data
