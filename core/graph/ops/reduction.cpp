// Sums, maxima and linear recurrences along axes.
#include <cmath>
#include <limits>

#include "core/graph/around.hpp"
#include "core/graph/op.hpp"

namespace attnlab::graph {
namespace {

Extents with_extent(Extents shape, size_t axis, int64_t extent) {
  shape[axis] = extent;
  return shape;
}

/// Sum over an axis, which stays with extent 1. Sums are taken in double, in order.
Array sum_axis(const Array& x, size_t axis) {
  const Around around(x, axis);
  Array result(x.element(), with_extent(x.shape(), axis, 1));
  with_type(x.element(), [&](auto type) {
    using T = decltype(type);
    const T* from = around.array.template data<T>();
    T* to = result.mutable_data<T>();
    around.each_block([&](int64_t outer, int64_t begin, int64_t columns) {
      double sums[512] = {};
      const T* block = from + outer * around.count * around.inner + begin;
      for (int64_t k = 0; k < around.count; ++k) {
        for (int64_t i = 0; i < columns; ++i) sums[i] += static_cast<double>(block[k * around.inner + i]);
      }
      for (int64_t i = 0; i < columns; ++i) to[outer * around.inner + begin + i] = static_cast<T>(sums[i]);
    });
  });
  return result;
}

/// Sums over the axes that broadcasting to x would have made.
Array sum_to_shape(const Array& x, const Extents& shape) {
  if (x.shape() == shape) return x;
  if (shape.size() > x.rank())
    throw OperandError(to_string(x.shape()) + " is no broadcast of " + to_string(shape));
  Array result = x;
  const size_t lead = x.rank() - shape.size();
  for (size_t axis = 0; axis < x.rank(); ++axis) {
    const int64_t wanted = axis < lead ? 1 : shape[axis - lead];
    if (result.shape()[axis] == wanted) continue;
    if (wanted != 1) throw OperandError(to_string(x.shape()) + " is no broadcast of " + to_string(shape));
    result = sum_axis(result, axis);
  }
  return result.reshaped(shape);
}

Array sum_all(const Array& x) {
  constexpr int64_t block = 4096;
  const Array source = x.packed();
  const int64_t blocks = (x.size() + block - 1) / block;
  std::vector<double> parts(static_cast<size_t>(blocks));
  with_type(x.element(), [&](auto type) {
    using T = decltype(type);
    const T* from = source.data<T>();
    auto part = [&](int64_t b) {
      double sum = 0;
      for (int64_t i = b * block; i < std::min(x.size(), (b + 1) * block); ++i)
        sum += static_cast<double>(from[i]);
      parts[static_cast<size_t>(b)] = sum;
    };
    if (x.size() <= kParallelElements) {
      for (int64_t b = 0; b < blocks; ++b) part(b);
    } else {
      base::parallel_for(blocks, [&](int64_t b, int) { part(b); });
    }
  });
  double sum = 0;
  for (double part : parts) sum += part;
  return Array::full(x.element(), {}, sum);
}

void require_numbers(const Array& x) {
  if (!x.floating()) throw OperandError("integers where numbers are expected");
}

Array maximum_along(Evaluation& e) {
  const Array& x = e.input(0);
  require_numbers(x);
  const size_t axis = axis_of(e.attributes.integer("axis", -1), x.rank());
  const Around around(x, axis);
  if (around.count == 0) throw OperandError("the maximum of nothing");
  Array result(x.element(), with_extent(x.shape(), axis, 1));
  with_type(x.element(), [&](auto type) {
    using T = decltype(type);
    const T* from = around.array.template data<T>();
    T* to = result.mutable_data<T>();
    around.each_block([&](int64_t outer, int64_t begin, int64_t columns) {
      for (int64_t i = begin; i < begin + columns; ++i) {
        T best = from[outer * around.count * around.inner + i];
        for (int64_t k = 1; k < around.count; ++k) {
          const T value = from[(outer * around.count + k) * around.inner + i];
          if (!(value <= best)) best = value;  // NaN stays
        }
        to[outer * around.inner + i] = best;
      }
    });
  });
  return result;
}

/// y_t = a_t y_{t-1} + u_t, or with `reverse` y_t = a_t y_{t+1} + u_t.
Array scan_along(Evaluation& e) {
  const Array &u = e.input(1), &a = e.input(0);
  require_numbers(u);
  if (a.element() != u.element()) throw OperandError("operands must be numbers of one precision");
  const Extents shape = broadcast_shape(a.shape(), u.shape());
  const size_t axis = axis_of(e.attributes.integer("axis", -1), shape.size());
  const bool reverse = e.attributes.integer("reverse", 0) != 0;
  const Around factor(a.broadcast_to(shape), axis), term(u.broadcast_to(shape), axis);
  Extents first_shape = shape;
  first_shape.erase(first_shape.begin() + static_cast<ptrdiff_t>(axis));
  const Array first = e.has(2) ? e.input(2).broadcast_to(first_shape).packed() : Array();
  Array result(u.element(), shape);
  with_type(u.element(), [&](auto type) {
    using T = decltype(type);
    const T *pa = factor.array.template data<T>(), *pu = term.array.template data<T>();
    const T* before = first.empty() ? nullptr : first.data<T>();
    T* y = result.mutable_data<T>();
    term.each_block([&](int64_t outer, int64_t begin, int64_t columns) {
      const T* last = before == nullptr ? nullptr : before + outer * term.inner + begin;
      for (int64_t s = 0; s < term.count; ++s) {
        const int64_t t = reverse ? term.count - 1 - s : s;
        const int64_t at = (outer * term.count + t) * term.inner + begin;
        for (int64_t i = 0; i < columns; ++i)
          y[at + i] = (last == nullptr ? 0 : pa[at + i] * last[i]) + pu[at + i];
        last = y + at;
      }
    });
  });
  return result;
}

std::vector<Var> scan_gradient(const GradientCall& g) {
  const auto shape = g.output.shape();
  const auto axis = static_cast<int64_t>(axis_of(g.attributes.integer("axis", -1), shape.size()));
  const bool reverse = g.attributes.integer("reverse", 0) != 0;
  const int64_t count = shape[static_cast<size_t>(axis)];
  const Var a = broadcast(g.inputs[0], shape);
  const int64_t kept_begin = reverse ? 0 : 1, first_at = reverse ? count - 1 : 0;
  // s_t = g_t + a_{t+1} s_{t+1}: what y_t contributes in all.
  const Var next_factor =
      pad(slice(a, axis, kept_begin, kept_begin + count - 1), axis, reverse ? 1 : 0, reverse ? 0 : 1);
  const Var s = apply("scan", {next_factor, g.gradient}, {{"axis", axis}, {"reverse", reverse ? 0 : 1}});
  std::vector<int64_t> first_shape = shape;
  first_shape[static_cast<size_t>(axis)] = 1;
  const Var first = g.inputs.size() > 2 && g.inputs[2]
                        ? reshape(broadcast(g.inputs[2],
                                            [&] {
                                              auto without = shape;
                                              without.erase(without.begin() + axis);
                                              return without;
                                            }()),
                                  first_shape)
                        : Var();
  // y_{t-1}
  const Var inner = slice(g.output, axis, 1 - kept_begin, count - kept_begin);
  Var before = pad(inner, axis, reverse ? 0 : 1, reverse ? 1 : 0);
  if (first) before = before + pad(first, axis, first_at, count - 1 - first_at);
  std::vector<Var> result{sum_to(s * before, g.inputs[0].shape()), sum_to(s, g.inputs[1].shape())};
  if (first) {
    Var by_first = slice(s * a, axis, first_at, first_at + 1);
    auto without = shape;
    without.erase(without.begin() + axis);
    result.push_back(sum_to(reshape(by_first, without), g.inputs[2].shape()));
  }
  return result;
}

}  // namespace

std::vector<Op> reduction_ops() {
  using G = GradientCall;
  return {
      {.name = "sum",
       .attributes = {"axis"},
       .evaluate =
           [](Evaluation& e) {
             require_numbers(e.input(0));
             if (!e.attributes.has("axis")) return sum_all(e.input(0));
             return sum_axis(e.input(0), axis_of(e.attributes.integer("axis", 0), e.input(0).rank()));
           },
       .gradient = [](const G& g) { return std::vector<Var>{broadcast(g.gradient, g.inputs[0].shape())}; }},
      {.name = "sum_to",
       .attributes = {"shape"},
       .evaluate =
           [](Evaluation& e) {
             require_numbers(e.input(0));
             return sum_to_shape(e.input(0), e.attributes.integers("shape"));
           },
       .gradient = [](const G& g) { return std::vector<Var>{broadcast(g.gradient, g.inputs[0].shape())}; }},
      {.name = "max",
       .attributes = {"axis"},
       .evaluate = maximum_along,
       .gradient =
           [](const G& g) {
             // Equal maxima share the gradient.
             const Var best = apply("equal", {g.inputs[0], g.output});
             const int64_t axis = g.attributes.integer("axis", -1);
             return std::vector<Var>{g.gradient * (best / sum(best, axis))};
           }},
      {.name = "scan",
       .least_inputs = 2,
       .most_inputs = 3,
       .attributes = {"axis", "reverse"},
       .evaluate = scan_along,
       .gradient = scan_gradient},
  };
}

}  // namespace attnlab::graph
