// Elements chosen by integers.
#include <algorithm>
#include <numeric>

#include "core/graph/op.hpp"
#include "core/graph/runs.hpp"

namespace attnlab::graph {
namespace {

/// Integers in [0, count), row-major.
Array indices(const Array& x, int64_t count) {
  if (x.element() != Element::i64) throw OperandError("an index must be integers");
  Array packed = x.packed();
  const auto* begin = packed.data<int64_t>();
  const auto* bad = std::find_if(begin, begin + x.size(), [&](int64_t i) { return i < 0 || i >= count; });
  if (bad != begin + x.size())
    throw OperandError("index " + std::to_string(*bad) + " is not in [0, " + std::to_string(count) + ")");
  return packed;
}

/// Extents before and after an axis, multiplied.
std::pair<int64_t, int64_t> around(const Extents& shape, size_t axis) {
  const auto at = shape.begin() + static_cast<ptrdiff_t>(axis);
  return {std::accumulate(shape.begin(), at, int64_t{1}, std::multiplies<>()),
          std::accumulate(at + 1, shape.end(), int64_t{1}, std::multiplies<>())};
}

template <class Body>
void with_any_type(Element element, const Body& body) {
  if (element == Element::f32) return body(float());
  if (element == Element::f64) return body(double());
  body(int64_t());
}

/// x[..., index, ...]: the axis is replaced by the axes of the index.
Array gather(Evaluation& e) {
  const Array x = e.input(0).packed();
  const size_t axis = axis_of(e.attributes.integer("axis", 0), x.rank());
  const int64_t count = x.shape()[axis];
  const Array index = indices(e.input(1), count);
  if (x.rank() - 1 + index.rank() > kMaxRank) throw OperandError("a result of more than 8 axes");
  Extents shape(x.shape().begin(), x.shape().begin() + static_cast<ptrdiff_t>(axis));
  shape.insert(shape.end(), index.shape().begin(), index.shape().end());
  shape.insert(shape.end(), x.shape().begin() + static_cast<ptrdiff_t>(axis) + 1, x.shape().end());
  Array result(x.element(), shape);
  const auto [outer, inner] = around(x.shape(), axis);
  with_any_type(x.element(), [&, outer = outer, inner = inner](auto type) {
    using T = decltype(type);
    T* to = result.mutable_data<T>();
    for (int64_t o = 0; o < outer; ++o) {
      for (int64_t i = 0; i < index.size(); ++i, to += inner)
        std::copy_n(x.data<T>() + (o * count + index.data<int64_t>()[i]) * inner, inner, to);
    }
  });
  return result;
}

/// Zeros of extent `size` along the axis, to which each slice of x is added at its index, in order.
Array scatter_add(Evaluation& e) {
  const Array x = e.input(0).packed();
  const int64_t size = e.attributes.integer("size", 0);
  const Array index = indices(e.input(1), size);
  const int64_t signed_axis = e.attributes.integer("axis", 0);
  if (signed_axis < 0 || static_cast<size_t>(signed_axis) + index.rank() > x.rank())
    throw OperandError("axis " + std::to_string(signed_axis) + " of " + to_string(x.shape()) +
                       " with an index of " + to_string(index.shape()));
  const auto axis = static_cast<ptrdiff_t>(signed_axis);
  const auto after = axis + static_cast<ptrdiff_t>(index.rank());
  if (!std::equal(index.shape().begin(), index.shape().end(), x.shape().begin() + axis))
    throw OperandError("an index of " + to_string(index.shape()) + " for " + to_string(x.shape()));
  Extents shape(x.shape().begin(), x.shape().begin() + axis);
  shape.push_back(size);
  shape.insert(shape.end(), x.shape().begin() + after, x.shape().end());
  Array result = Array::zeros(x.element(), shape);
  const auto [outer, inner] = around(shape, static_cast<size_t>(axis));
  with_any_type(x.element(), [&, outer = outer, inner = inner](auto type) {
    using T = decltype(type);
    const T* from = x.data<T>();
    for (int64_t o = 0; o < outer; ++o) {
      for (int64_t i = 0; i < index.size(); ++i, from += inner) {
        T* to = result.mutable_data<T>() + (o * size + index.data<int64_t>()[i]) * inner;
        for (int64_t c = 0; c < inner; ++c) to[c] += from[c];
      }
    }
  });
  return result;
}

/// [..., size] with a 1 at each index; a negative index gives zeros.
Array one_hot(Evaluation& e) {
  const Array index = e.input(0).packed();
  if (index.element() != Element::i64) throw OperandError("an index must be integers");
  const int64_t size = e.attributes.integer("size", 0);
  const auto element = e.attributes.integer("wide", 0) != 0 ? Element::f64 : Element::f32;
  Extents shape = index.shape();
  shape.push_back(size);
  Array result = Array::zeros(element, shape);
  with_type(element, [&](auto type) {
    using T = decltype(type);
    for (int64_t i = 0; i < index.size(); ++i) {
      const int64_t at = index.data<int64_t>()[i];
      if (at >= size)
        throw OperandError("index " + std::to_string(at) + " is not below " + std::to_string(size));
      if (at >= 0) result.mutable_data<T>()[i * size + at] = 1;
    }
  });
  return result;
}

/// The indices of the `count` largest of the last axis, largest first; of equal values the smaller index
/// first.
Array top_ids(Evaluation& e) {
  const Array x = e.input(0).packed();
  if (!x.floating() || x.rank() == 0) throw OperandError("needs numbers with at least one axis");
  const int64_t width = x.shape().back(), count = e.attributes.integer("count", 1);
  if (count < 1 || count > width)
    throw OperandError("count " + std::to_string(count) + " of " + std::to_string(width) + " values");
  Extents shape = x.shape();
  shape.back() = count;
  Array result(Element::i64, shape);
  with_type(x.element(), [&](auto type) {
    using T = decltype(type);
    std::vector<int64_t> order(static_cast<size_t>(width));
    for (int64_t row = 0; row < x.size() / std::max<int64_t>(width, 1); ++row) {
      const T* values = x.data<T>() + row * width;
      std::iota(order.begin(), order.end(), 0);
      std::partial_sort(order.begin(), order.begin() + count, order.end(), [&](int64_t a, int64_t b) {
        return values[a] != values[b] ? values[a] > values[b] : a < b;
      });
      std::copy_n(order.begin(), count, result.mutable_data<int64_t>() + row * count);
    }
  });
  return result;
}

}  // namespace

std::vector<Op> index_ops() {
  using G = GradientCall;
  return {
      {.name = "gather",
       .least_inputs = 2,
       .most_inputs = 2,
       .attributes = {"axis"},
       .evaluate = gather,
       .gradient =
           [](const G& g) {
             const auto axis =
                 static_cast<int64_t>(axis_of(g.attributes.integer("axis", 0), g.inputs[0].shape().size()));
             return std::vector<Var>{apply("scatter_add", {g.gradient, g.inputs[1]},
                                           {{"axis", axis}, {"size", g.inputs[0].size(axis)}}),
                                     Var()};
           }},
      {.name = "scatter_add",
       .least_inputs = 2,
       .most_inputs = 2,
       .attributes = {"axis", "size"},
       .evaluate = scatter_add,
       .gradient =
           [](const G& g) {
             return std::vector<Var>{
                 attnlab::gather(g.gradient, g.inputs[1], g.attributes.integer("axis", 0)), Var()};
           }},
      {.name = "one_hot", .attributes = {"size", "wide"}, .evaluate = one_hot},
      {.name = "top_ids", .attributes = {"count"}, .evaluate = top_ids},
  };
}

}  // namespace attnlab::graph
