// The values of nodes: strided arrays whose views share memory.
#pragma once

#include <attnlab/plugin.hpp>
#include <boost/container/static_vector.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "core/tensor/tensor.hpp"

namespace attnlab::graph {

/// Elements of arrays: a graph works in one of the floating types; i64 holds indices.
enum class Element : uint8_t { f32, f64, i64 };

size_t size_of(Element element);

inline constexpr size_t kMaxRank = 8;
/// Extents or strides (in elements) of an array, outermost first.
using Extents = boost::container::static_vector<int64_t, kMaxRank>;

int64_t element_count(const Extents& shape);
std::string to_string(const Extents& shape);

/// An operand that an op does not take: shapes that do not fit, a bad axis. The message names the op.
struct OperandError : HostError {
  explicit OperandError(const std::string& message) : HostError(ATTNLAB_CONTRACT, message) {}
};

/// `axis` from the front; negative axes count from the end. Throws OperandError.
size_t axis_of(int64_t axis, size_t rank);
/// The shape that both broadcast to, as in NumPy. Throws OperandError.
Extents broadcast_shape(const Extents& a, const Extents& b);

/// A strided view of shared memory; copying shares. Immutable once a node holds it: who makes an array writes
/// it before anybody else sees it. Concurrent reads are safe.
class Array {
 public:
  Array() = default;
  /// Row-major and uninitialised, from the pool.
  Array(Element element, const Extents& shape);
  static Array zeros(Element element, const Extents& shape);
  static Array full(Element element, const Extents& shape, double value);
  /// The tensor's elements in `element`: shared when they already are of that type, otherwise converted.
  static Array from(const tensor::Tensor& tensor, Element element);

  bool empty() const { return memory_ == nullptr; }
  Element element() const { return element_; }
  const Extents& shape() const { return shape_; }
  const Extents& stride() const { return stride_; }
  size_t rank() const { return shape_.size(); }
  /// Extent of an axis; negative axes count from the end.
  int64_t extent(int64_t axis) const { return shape_[axis_of(axis, rank())]; }
  int64_t size() const { return element_count(shape_); }
  bool floating() const { return element_ != Element::i64; }
  bool contiguous() const;
  /// Bytes of the elements, shared or not.
  uint64_t bytes() const { return static_cast<uint64_t>(size()) * size_of(element_); }

  template <class T>
  const T* data() const {
    return reinterpret_cast<const T*>(data_);
  }
  template <class T>
  T* mutable_data() {
    return reinterpret_cast<T*>(data_);
  }
  /// The first element as a double; for scalars.
  double scalar() const;

  /// Row-major: itself, or a copy.
  Array packed() const;
  /// Converted, or itself.
  Array as(Element element) const;
  /// The same elements for the other rooms; row-major.
  tensor::Tensor to_tensor() const;

  // Views. They throw OperandError when they do not fit.
  Array permuted(const Extents& order) const;
  Array sliced(int64_t axis, int64_t begin, int64_t end) const;
  Array broadcast_to(const Extents& shape) const;
  /// One extent may be -1. Copies where strides do not allow a view.
  Array reshaped(Extents shape) const;

 private:
  Element element_ = Element::f32;
  Extents shape_, stride_;
  std::shared_ptr<const void> memory_;
  std::byte* data_ = nullptr;
};

/// Copies, and converts, the elements of `from` to those of `to`, an array of the same extents that its
/// maker still owns, or a view of one.
void copy_elements(const Array& from, Array& to);

/// Row-major strides.
Extents packed_strides(const Extents& shape);

}  // namespace attnlab::graph
