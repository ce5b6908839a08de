// The header of numpy's .npy format: magic, version, length, a Python dict literal, padding to 64 bytes.
#pragma once

#include <cstddef>
#include <string>

#include "core/tensor/tensor.hpp"

namespace attnlab::io {

struct NpyHeader {
  tensor::DType dtype = tensor::DType::f32;
  tensor::Shape shape;
  bool fortran_order = false;
  bool big_endian = false;
  size_t data_offset = 0;  ///< bytes from the start of the file to the first element
};

/// Reads versions 1.0, 2.0 and 3.0 with a parser for exactly the literals numpy writes: keys in any order,
/// nothing evaluated, at most 1 MiB. Throws UserError naming `file`. The extents are not yet checked against
/// the data.
NpyHeader parse_npy_header(const std::byte* data, size_t size, const std::string& file);

/// The header numpy would write for a little-endian C-order array; its length is a multiple of 64 bytes.
std::string format_npy_header(tensor::DType dtype, const tensor::Shape& shape);

/// The tensor in a type that numpy has: bfloat16 widens to float32, which is exact; others are returned as
/// they are.
tensor::Tensor as_numpy_type(const tensor::Tensor& tensor);

}  // namespace attnlab::io
