#include "core/graph/array.hpp"

#include <algorithm>
#include <cstring>

#include "core/graph/runs.hpp"
#include "core/tensor/buffer_pool.hpp"

namespace attnlab::graph {
namespace {

template <class From, class To>
void convert(const Array& from, Array& to) {
  const From* x = from.data<From>();
  To* y = to.mutable_data<To>();
  for_each_run<2>(from.shape(), {from.stride(), to.stride()}, [&](auto offset, int64_t count, auto step) {
    const From* in = x + offset[0];
    To* out = y + offset[1];
    if (step[0] == 1 && step[1] == 1) {
      for (int64_t i = 0; i < count; ++i) out[i] = static_cast<To>(in[i]);
    } else {
      for (int64_t i = 0; i < count; ++i) out[i * step[1]] = static_cast<To>(in[i * step[0]]);
    }
  });
}

template <class From>
void convert_from(const Array& from, Array& to) {
  switch (to.element()) {
    case Element::f32:
      return convert<From, float>(from, to);
    case Element::f64:
      return convert<From, double>(from, to);
    case Element::i64:
      return convert<From, int64_t>(from, to);
  }
}

}  // namespace

void copy_elements(const Array& from, Array& to) {
  switch (from.element()) {
    case Element::f32:
      return convert_from<float>(from, to);
    case Element::f64:
      return convert_from<double>(from, to);
    case Element::i64:
      return convert_from<int64_t>(from, to);
  }
}

size_t size_of(Element element) {
  return element == Element::f32 ? 4 : 8;
}

int64_t element_count(const Extents& shape) {
  int64_t count = 1;
  for (int64_t extent : shape) count *= extent;
  return count;
}

std::string to_string(const Extents& shape) {
  return tensor::to_string({shape.begin(), shape.end()});
}

size_t axis_of(int64_t axis, size_t rank) {
  const auto signed_rank = static_cast<int64_t>(rank);
  if (axis < -signed_rank || axis >= signed_rank) {
    throw OperandError("axis " + std::to_string(axis) + " of an array of rank " + std::to_string(rank));
  }
  return static_cast<size_t>(axis < 0 ? axis + signed_rank : axis);
}

Extents broadcast_shape(const Extents& a, const Extents& b) {
  const size_t rank = std::max(a.size(), b.size());
  Extents shape(rank, 1);
  for (size_t i = 0; i < rank; ++i) {
    const int64_t x = i < a.size() ? a[a.size() - 1 - i] : 1, y = i < b.size() ? b[b.size() - 1 - i] : 1;
    if (x != y && x != 1 && y != 1)
      throw OperandError("shapes " + to_string(a) + " and " + to_string(b) + " do not broadcast");
    shape[rank - 1 - i] = x == 1 ? y : x;
  }
  return shape;
}

Extents packed_strides(const Extents& shape) {
  Extents stride(shape.size(), 1);
  for (size_t axis = shape.size(); axis-- > 1;) stride[axis - 1] = stride[axis] * shape[axis];
  return stride;
}

Array::Array(Element element, const Extents& shape)
    : element_(element), shape_(shape), stride_(packed_strides(shape)) {
  auto memory = tensor::pooled_buffer(static_cast<size_t>(size()) * size_of(element));
  data_ = memory.get();
  memory_ = std::move(memory);
}

Array Array::zeros(Element element, const Extents& shape) {
  Array array(element, shape);
  std::memset(array.data_, 0, array.bytes());
  return array;
}

Array Array::full(Element element, const Extents& shape, double value) {
  Array one(element, {});
  if (element == Element::f32) *one.mutable_data<float>() = static_cast<float>(value);
  if (element == Element::f64) *one.mutable_data<double>() = value;
  if (element == Element::i64) *one.mutable_data<int64_t>() = static_cast<int64_t>(value);
  return one.broadcast_to(shape);
}

Array Array::from(const tensor::Tensor& tensor, Element element) {
  Array array;
  array.shape_.assign(tensor.shape().begin(), tensor.shape().end());
  array.stride_ = packed_strides(array.shape_);
  const bool wide = tensor.dtype() == tensor::DType::f64 || tensor.dtype() == tensor::DType::i64;
  tensor::Tensor source = wide ? tensor : tensor.to_f32();
  array.element_ = source.dtype() == tensor::DType::f64   ? Element::f64
                   : source.dtype() == tensor::DType::i64 ? Element::i64
                                                          : Element::f32;
  auto owner = std::make_shared<tensor::Tensor>(std::move(source));
  array.data_ = const_cast<std::byte*>(owner->bytes());
  array.memory_ = owner;
  return array.as(element);
}

bool Array::contiguous() const {
  int64_t expected = 1;
  for (size_t axis = rank(); axis-- > 0;) {
    if (shape_[axis] != 1 && stride_[axis] != expected) return false;
    expected *= shape_[axis];
  }
  return true;
}

double Array::scalar() const {
  if (element_ == Element::f32) return static_cast<double>(*data<float>());
  return element_ == Element::f64 ? *data<double>() : static_cast<double>(*data<int64_t>());
}

Array Array::packed() const {
  if (contiguous()) return *this;
  Array result(element_, shape_);
  copy_elements(*this, result);
  return result;
}

Array Array::as(Element element) const {
  if (element == element_) return *this;
  Array result(element, shape_);
  copy_elements(*this, result);
  return result;
}

tensor::Tensor Array::to_tensor() const {
  const Array source = packed();
  const auto dtype = element_ == Element::f32   ? tensor::DType::f32
                     : element_ == Element::f64 ? tensor::DType::f64
                                                : tensor::DType::i64;
  return {dtype, {shape_.begin(), shape_.end()}, source.memory_, source.data_};
}

Array Array::permuted(const Extents& order) const {
  Array view = *this;
  Extents seen(rank(), 0);
  if (order.size() != rank())
    throw OperandError("an order of " + std::to_string(order.size()) + " axes for " + to_string(shape_));
  for (size_t i = 0; i < order.size(); ++i) {
    const size_t axis = axis_of(order[i], rank());
    if (seen[axis]++ != 0) throw OperandError("axis " + std::to_string(axis) + " occurs twice in the order");
    view.shape_[i] = shape_[axis];
    view.stride_[i] = stride_[axis];
  }
  return view;
}

Array Array::sliced(int64_t axis, int64_t begin, int64_t end) const {
  const size_t a = axis_of(axis, rank());
  if (begin < 0 || end < begin || end > shape_[a]) {
    throw OperandError("elements [" + std::to_string(begin) + ", " + std::to_string(end) + ") of axis " +
                       std::to_string(axis) + " of " + to_string(shape_));
  }
  Array view = *this;
  view.shape_[a] = end - begin;
  view.data_ += begin * stride_[a] * static_cast<int64_t>(size_of(element_));
  return view;
}

Array Array::broadcast_to(const Extents& shape) const {
  if (shape == shape_) return *this;
  if (shape.size() < rank())
    throw OperandError(to_string(shape_) + " does not broadcast to " + to_string(shape));
  Array view = *this;
  view.shape_ = shape;
  view.stride_.assign(shape.size(), 0);
  const size_t lead = shape.size() - rank();
  for (size_t axis = 0; axis < rank(); ++axis) {
    if (shape_[axis] == shape[lead + axis]) {
      view.stride_[lead + axis] = stride_[axis];
    } else if (shape_[axis] != 1) {
      throw OperandError(to_string(shape_) + " does not broadcast to " + to_string(shape));
    }
  }
  return view;
}

Array Array::reshaped(Extents shape) const {
  int64_t known = 1;
  auto open = shape.end();
  for (auto extent = shape.begin(); extent != shape.end(); ++extent) {
    if (*extent < 0) {
      if (open != shape.end()) throw OperandError("two open extents in " + to_string(shape));
      open = extent;
    } else {
      known *= *extent;
    }
  }
  if (open != shape.end()) *open = known == 0 ? 0 : size() / known;
  if (element_count(shape) != size())
    throw OperandError(to_string(shape_) + " has not as many elements as " + to_string(shape));
  if (shape == shape_) return *this;

  // Groups of old axes that are one run in memory can be cut anew: match extents from the left.
  Extents old_shape, old_stride;
  for (size_t axis = 0; axis < rank(); ++axis) {
    if (shape_[axis] == 1) continue;
    if (!old_shape.empty() && old_stride.back() == stride_[axis] * shape_[axis]) {
      old_shape.back() *= shape_[axis];
      old_stride.back() = stride_[axis];
    } else {
      old_shape.push_back(shape_[axis]);
      old_stride.push_back(stride_[axis]);
    }
  }
  Array view = *this;
  view.shape_ = shape;
  view.stride_.assign(shape.size(), 0);
  size_t group = old_shape.size();
  int64_t within = 1;
  for (size_t axis = shape.size(); axis-- > 0;) {
    if (shape[axis] == 1 || size() == 0) continue;
    if (within == 1 || within == old_shape[group]) {
      --group;
      within = 1;
    }
    view.stride_[axis] = old_stride[group] * within;
    within *= shape[axis];
    if (old_shape[group] % within != 0) return packed().reshaped(shape);
  }
  return view;
}

}  // namespace attnlab::graph
