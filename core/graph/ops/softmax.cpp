// exp(x) / sum exp(x) along an axis; a row of -inf gives zeros, as attention to nothing does.
#include <cmath>
#include <limits>

#include "core/graph/around.hpp"
#include "core/graph/graph.hpp"
#include "core/graph/op.hpp"
#include "core/kernels/layer/layer.hpp"
#include "core/kernels/table.hpp"

namespace attnlab::graph {
namespace {

/// One row of `count` values, `step` apart.
template <class T>
void softmax_row(const T* from, T* to, int64_t count, int64_t step) {
  T most = -std::numeric_limits<T>::infinity();
  for (int64_t k = 0; k < count; ++k) most = from[k * step] <= most ? most : from[k * step];
  if (most == -std::numeric_limits<T>::infinity()) {
    for (int64_t k = 0; k < count; ++k) to[k * step] = 0;
    return;
  }
  double sum = 0;
  for (int64_t k = 0; k < count; ++k)
    sum += static_cast<double>(to[k * step] = std::exp(from[k * step] - most));
  const T scale = static_cast<T>(1 / sum);
  for (int64_t k = 0; k < count; ++k) to[k * step] *= scale;
}

Array softmax_rows(const Array& x) {
  const int64_t width = x.extent(-1), rows = width == 0 ? 0 : x.size() / width;
  Array y(Element::f32, x.shape());
  kernels::softmax(kernels::active_table(),
                   {rows, width, x.data<float>(), width, y.mutable_data<float>(), width});
  for (int64_t row = 0; row < rows; ++row) {
    // The kernel spreads NaN over a row that is NaN somewhere or has nothing visible.
    if (std::isnan(y.data<float>()[row * width]))
      softmax_row(x.data<float>() + row * width, y.mutable_data<float>() + row * width, width, 1);
  }
  return y;
}

Array softmax_along(Evaluation& e) {
  const Array& x = e.input(0);
  if (!x.floating()) throw OperandError("integers where numbers are expected");
  const size_t axis = axis_of(e.attributes.integer("axis", -1), x.rank());
  if (x.element() == Element::f32 && axis + 1 == x.rank()) return softmax_rows(x.packed());
  const Around around(x, axis);
  Array result(x.element(), x.shape());
  with_type(x.element(), [&](auto type) {
    using T = decltype(type);
    const T* from = around.array.template data<T>();
    T* to = result.mutable_data<T>();
    around.each_block([&](int64_t outer, int64_t begin, int64_t columns) {
      for (int64_t i = begin; i < begin + columns; ++i) {
        const int64_t first = outer * around.count * around.inner + i;
        softmax_row(from + first, to + first, around.count, around.inner);
      }
    });
  });
  return result;
}

std::vector<Var> softmax_gradient(const GradientCall& g) {
  const int64_t axis = g.attributes.integer("axis", -1);
  const Array& output = value_of(g.output);
  const bool final = !from_handle(g.output.node())->watched();
  if (final && output.element() == Element::f32 && axis_of(axis, output.rank()) + 1 == output.rank()) {
    const Array y = output.packed(), d_out = value_of(g.gradient).packed();
    const int64_t width = y.extent(-1), rows = width == 0 ? 0 : y.size() / width;
    Array d_x(Element::f32, y.shape());
    kernels::softmax_gradient(
        kernels::active_table(),
        {rows, width, y.data<float>(), width, d_out.data<float>(), width, d_x.mutable_data<float>(), width});
    return {leaf(g.gradient, d_x)};
  }
  const Var weighted = g.gradient * g.output;
  return {weighted - g.output * sum(weighted, axis)};
}

}  // namespace

std::vector<Op> softmax_ops() {
  return {
      {.name = "softmax", .attributes = {"axis"}, .evaluate = softmax_along, .gradient = softmax_gradient}};
}

}  // namespace attnlab::graph
