// Tensors: a shape over shared bytes, and strided views that kernels read.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/tensor/dtype.hpp"

namespace attnlab::tensor {

using Shape = std::vector<int64_t>;

/// Elements of a shape (1 for a scalar).
int64_t element_count(const Shape& shape);
/// "[2, 8, 128]".
std::string to_string(const Shape& shape);

/// A contiguous row-major tensor over shared bytes (heap or a mapped file). Copies share the bytes.
/// Thread safety: concurrent reads are safe; writes through `mutable_values` need a sole owner.
class Tensor {
 public:
  Tensor() = default;
  /// Bytes kept alive by `storage`; `data` points into it and is aligned for `dtype`.
  Tensor(DType dtype, Shape shape, std::shared_ptr<const void> storage, const std::byte* data);
  /// A fresh tensor of zeros, 64-byte aligned. Its pages are touched lazily.
  static Tensor zeros(DType dtype, Shape shape);

  bool empty() const { return data_ == nullptr; }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int64_t rank() const { return static_cast<int64_t>(shape_.size()); }
  int64_t size() const { return element_count(shape_); }
  size_t byte_size() const { return static_cast<size_t>(size()) * size_of(dtype_); }
  const std::byte* bytes() const { return data_; }

  /// Elements as T; T must be the type of `dtype` (checked by size).
  template <class T>
  std::span<const T> values() const {
    check_element_size(sizeof(T));
    return {reinterpret_cast<const T*>(data_), static_cast<size_t>(size())};
  }
  template <class T>
  std::span<T> mutable_values() {
    check_element_size(sizeof(T));
    return {const_cast<T*>(reinterpret_cast<const T*>(data_)), static_cast<size_t>(size())};
  }

  /// The same values in float32; shares the bytes when they already are. Integers and booleans convert too.
  Tensor to_f32() const;
  /// The same bytes under another shape of as many elements.
  Tensor reshaped(Shape shape) const;

 private:
  void check_element_size(size_t bytes) const;

  DType dtype_ = DType::f32;
  Shape shape_;
  std::shared_ptr<const void> storage_;
  const std::byte* data_ = nullptr;
};

/// Read-only float32 view over [batch, head, token, channel]; strides in elements, the channel stride is 1.
/// Does not own: the tensor it came from must outlive it.
struct HeadView {
  const float* data = nullptr;
  int64_t batch = 0, heads = 0, tokens = 0, channels = 0;
  int64_t batch_stride = 0, head_stride = 0, token_stride = 0;

  const float* row(int64_t b, int64_t h, int64_t t) const {
    return data + b * batch_stride + h * head_stride + t * token_stride;
  }
};

/// View of a contiguous float32 [B, H, S, D] tensor.
HeadView view_bhsd(const Tensor& tensor);
/// View of a contiguous float32 [token, head, dim] tensor as batch 1.
HeadView view_thd(const Tensor& tensor);

}  // namespace attnlab::tensor
