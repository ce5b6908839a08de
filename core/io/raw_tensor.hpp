// Checks that every reader of tensor files shares: names, shapes and bytes come from files nobody vouches
// for.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor/tensor.hpp"

namespace attnlab::io {

/// numpy's own limit on axes.
inline constexpr size_t max_rank = 64;

/// Where a tensor came from, for errors: the file and a place inside it ("" for the whole file).
struct Source {
  std::string file;
  std::string pointer;
};

/// `text` as an ASCII JSON string of at most about 60 characters: safe to print whatever it holds.
std::string printable(std::string_view text);

/// Names must be distinct, 1 to 1024 bytes of UTF-8 without control characters: reports print and serialise
/// them.
void check_names(const std::vector<std::string>& names, const std::string& file);

/// Bytes of a tensor. Throws UserError for negative extents, more than `max_rank` axes, or when the extents
/// other than 0 multiply beyond 63 bits (so that products in any order are safe later).
size_t checked_byte_size(tensor::DType dtype, const tensor::Shape& shape, const Source& source);

/// Zeros for decoded data. Throws UserError (Exit::failed) when the machine's memory cannot hold them.
tensor::Tensor allocate(tensor::DType dtype, tensor::Shape shape, const Source& source);

/// A tensor over `data`, which `storage` keeps alive and which holds `checked_byte_size` bytes. Shares the
/// bytes, or copies them when they are misaligned for `dtype`.
tensor::Tensor tensor_over(tensor::DType dtype, tensor::Shape shape, std::shared_ptr<const void> storage,
                           const std::byte* data, const Source& source);

/// Refuses boolean tensors with bytes other than 0 and 1, which would be undefined behaviour as C++ bool.
/// O(bytes).
void check_booleans(const tensor::Tensor& tensor, const Source& source);

}  // namespace attnlab::io
