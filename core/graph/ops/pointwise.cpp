// Element by element, with broadcasting.
#include <cmath>
#include <numbers>

#include "core/graph/op.hpp"
#include "core/graph/runs.hpp"
#include "core/kernels/layer/layer.hpp"
#include "core/kernels/table.hpp"

namespace attnlab::graph {
namespace {

template <class F>
Array unary(const Evaluation& e, const F& f) {
  const Array& x = e.input(0);
  if (!x.floating()) throw OperandError("integers where numbers are expected");
  Array y(x.element(), x.shape());
  with_type(x.element(), [&](auto type) {
    using T = decltype(type);
    const T* from = x.data<T>();
    T* to = y.mutable_data<T>();
    for_each_run<2>(x.shape(), {x.stride(), y.stride()}, [&](auto offset, int64_t count, auto step) {
      const T* in = from + offset[0];
      T* out = to + offset[1];
      if (step[0] == 1 && step[1] == 1) {
        for (int64_t i = 0; i < count; ++i) out[i] = f(in[i]);
      } else {
        for (int64_t i = 0; i < count; ++i) out[i * step[1]] = f(in[i * step[0]]);
      }
    });
  });
  return y;
}

/// float32 by a kernel, other precisions as above.
template <class F>
Array unary(const Evaluation& e, kernels::UnaryFunction function, const F& f) {
  if (e.input(0).element() != Element::f32) return unary(e, f);
  const Array x = e.input(0).packed();
  Array y(Element::f32, x.shape());
  kernels::unary(kernels::active_table(), {function, x.size(), x.data<float>(), y.mutable_data<float>()});
  return y;
}

template <class F>
Array binary(const Evaluation& e, const F& f) {
  const Array &a = e.input(0), &b = e.input(1);
  if (a.element() != b.element() || !a.floating())
    throw OperandError("operands must be numbers of one precision");
  const Extents shape = broadcast_shape(a.shape(), b.shape());
  const Array x = a.broadcast_to(shape), y = b.broadcast_to(shape);
  Array z(a.element(), shape);
  with_type(a.element(), [&](auto type) {
    using T = decltype(type);
    const T *px = x.data<T>(), *py = y.data<T>();
    T* to = z.mutable_data<T>();
    for_each_run<3>(shape, {x.stride(), y.stride(), z.stride()}, [&](auto offset, int64_t count, auto step) {
      const T *u = px + offset[0], *v = py + offset[1];
      T* out = to + offset[2];
      if (step[2] == 1 && step[0] == 1 && step[1] == 1) {
        for (int64_t i = 0; i < count; ++i) out[i] = f(u[i], v[i]);
      } else if (step[2] == 1 && step[0] == 1 && step[1] == 0) {
        for (int64_t i = 0; i < count; ++i) out[i] = f(u[i], v[0]);
      } else if (step[2] == 1 && step[0] == 0 && step[1] == 1) {
        for (int64_t i = 0; i < count; ++i) out[i] = f(u[0], v[i]);
      } else {
        for (int64_t i = 0; i < count; ++i) out[i * step[2]] = f(u[i * step[0]], v[i * step[1]]);
      }
    });
  });
  return z;
}

template <class T>
T logistic(T x) {
  // Neither branch overflows.
  const T e = std::exp(-std::abs(x));
  return x < 0 ? e / (1 + e) : 1 / (1 + e);
}

Var call(std::string_view op, const Var& a) {
  return apply(op, {a});
}
Var call(std::string_view op, const Var& a, const Var& b) {
  return apply(op, {a, b});
}
/// `x` summed over what was broadcast.
Var like(const Var& x, const Var& operand) {
  return sum_to(x, operand.shape());
}
Var gelu_tanh_inner(const Var& x) {
  return std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * (x * x * x));
}

using Gradients = std::vector<Var>;

Op unary_op(std::string_view name, Array (*evaluate)(Evaluation&),
            Gradients (*gradient)(const GradientCall&)) {
  return {.name = name, .evaluate = evaluate, .gradient = gradient};
}
Op binary_op(std::string_view name, Array (*evaluate)(Evaluation&),
             Gradients (*gradient)(const GradientCall&)) {
  return {.name = name, .least_inputs = 2, .most_inputs = 2, .evaluate = evaluate, .gradient = gradient};
}

std::vector<Op> unary_ops() {
  using E = Evaluation;
  using G = GradientCall;
  using K = kernels::UnaryFunction;
  return {
      unary_op(
          "negate", [](E& e) { return unary(e, [](auto x) { return -x; }); },
          [](const G& g) { return Gradients{-g.gradient}; }),
      unary_op(
          "exp", [](E& e) { return unary(e, K::exp, [](auto x) { return std::exp(x); }); },
          [](const G& g) { return Gradients{g.gradient * g.output}; }),
      unary_op(
          "log", [](E& e) { return unary(e, [](auto x) { return std::log(x); }); },
          [](const G& g) { return Gradients{g.gradient / g.inputs[0]}; }),
      unary_op(
          "sqrt", [](E& e) { return unary(e, [](auto x) { return std::sqrt(x); }); },
          [](const G& g) { return Gradients{g.gradient * 0.5 / g.output}; }),
      unary_op(
          "rsqrt", [](E& e) { return unary(e, [](auto x) { return 1 / std::sqrt(x); }); },
          [](const G& g) { return Gradients{g.gradient * -0.5 * (g.output * g.output * g.output)}; }),
      unary_op(
          "sigmoid", [](E& e) { return unary(e, K::sigmoid, [](auto x) { return logistic(x); }); },
          [](const G& g) { return Gradients{g.gradient * (g.output * (1 - g.output))}; }),
      unary_op(
          "tanh", [](E& e) { return unary(e, K::tanh, [](auto x) { return std::tanh(x); }); },
          [](const G& g) { return Gradients{g.gradient * (1 - g.output * g.output)}; }),
      unary_op(
          "erf", [](E& e) { return unary(e, [](auto x) { return std::erf(x); }); },
          [](const G& g) {
            const Var& x = g.inputs[0];
            return Gradients{g.gradient * (2 * std::numbers::inv_sqrtpi * exp(-(x * x)))};
          }),
      unary_op(
          "relu", [](E& e) { return unary(e, [](auto x) { return x < 0 ? decltype(x)(0) : x; }); },
          [](const G& g) {
            return Gradients{g.gradient * call("greater", g.inputs[0], scalar(g.output, 0))};
          }),
      unary_op(
          "abs", [](E& e) { return unary(e, [](auto x) { return std::abs(x); }); },
          [](const G& g) { return Gradients{g.gradient * call("sign", g.inputs[0])}; }),
      unary_op(
          "sign", [](E& e) { return unary(e, [](auto x) { return decltype(x)((x > 0) - (x < 0)); }); },
          nullptr),
      unary_op(
          "is_finite", [](E& e) { return unary(e, [](auto x) { return decltype(x)(std::isfinite(x)); }); },
          nullptr),
      unary_op(
          "silu", [](E& e) { return unary(e, K::silu, [](auto x) { return x * logistic(x); }); },
          [](const G& g) {
            const Var s = sigmoid(g.inputs[0]);
            return Gradients{g.gradient * (s + g.output * (1 - s))};
          }),
      // x Phi(x), arXiv:1606.08415.
      unary_op(
          "gelu",
          [](E& e) {
            return unary(e, K::gelu_erf, [](auto x) {
              using T = decltype(x);
              return x / 2 * (1 + std::erf(x * static_cast<T>(1 / std::numbers::sqrt2)));
            });
          },
          [](const G& g) {
            const Var& x = g.inputs[0];
            const double bell = std::numbers::inv_sqrtpi / std::numbers::sqrt2;
            return Gradients{g.gradient * (0.5 * (1 + call("erf", x * (1 / std::numbers::sqrt2))) +
                                           x * (bell * exp(-0.5 * (x * x))))};
          }),
      // Its approximation in section 2 of the same paper.
      unary_op(
          "gelu_tanh",
          [](E& e) {
            return unary(e, K::gelu_tanh, [](auto x) {
              using T = decltype(x);
              const T inner = static_cast<T>(std::sqrt(2 / std::numbers::pi)) *
                              (x + static_cast<T>(0.044715) * x * x * x);
              return x / 2 * (1 + std::tanh(inner));
            });
          },
          [](const G& g) {
            const Var& x = g.inputs[0];
            const Var t = tanh(gelu_tanh_inner(x));
            const Var inner_slope = std::sqrt(2 / std::numbers::pi) * (1 + 3 * 0.044715 * (x * x));
            return Gradients{g.gradient * (0.5 * (1 + t) + 0.5 * x * ((1 - t * t) * inner_slope))};
          }),
  };
}

std::vector<Op> binary_ops() {
  using E = Evaluation;
  using G = GradientCall;
  auto larger_gradient = [](const G& g) {
    // Where both are equal, the first takes the gradient.
    const Var first = call("greater_equal", g.inputs[0], g.inputs[1]);
    return Gradients{like(g.gradient * first, g.inputs[0]), like(g.gradient * (1 - first), g.inputs[1])};
  };
  auto smaller_gradient = [](const G& g) {
    const Var first = call("greater_equal", g.inputs[1], g.inputs[0]);
    return Gradients{like(g.gradient * first, g.inputs[0]), like(g.gradient * (1 - first), g.inputs[1])};
  };
  return {
      binary_op(
          "add", [](E& e) { return binary(e, [](auto x, auto y) { return x + y; }); },
          [](const G& g) {
            return Gradients{like(g.gradient, g.inputs[0]), like(g.gradient, g.inputs[1])};
          }),
      binary_op(
          "subtract", [](E& e) { return binary(e, [](auto x, auto y) { return x - y; }); },
          [](const G& g) {
            return Gradients{like(g.gradient, g.inputs[0]),
                             g.needed[1] ? like(-g.gradient, g.inputs[1]) : Var()};
          }),
      binary_op(
          "multiply", [](E& e) { return binary(e, [](auto x, auto y) { return x * y; }); },
          [](const G& g) {
            return Gradients{g.needed[0] ? like(g.gradient * g.inputs[1], g.inputs[0]) : Var(),
                             g.needed[1] ? like(g.gradient * g.inputs[0], g.inputs[1]) : Var()};
          }),
      binary_op(
          "divide", [](E& e) { return binary(e, [](auto x, auto y) { return x / y; }); },
          [](const G& g) {
            const Var numerator = g.gradient / g.inputs[1];
            return Gradients{g.needed[0] ? like(numerator, g.inputs[0]) : Var(),
                             g.needed[1] ? like(-(numerator * g.output), g.inputs[1]) : Var()};
          }),
      binary_op(
          "maximum", [](E& e) { return binary(e, [](auto x, auto y) { return x >= y ? x : y; }); },
          larger_gradient),
      binary_op(
          "minimum", [](E& e) { return binary(e, [](auto x, auto y) { return x <= y ? x : y; }); },
          smaller_gradient),
      // 1 or 0.
      binary_op(
          "greater", [](E& e) { return binary(e, [](auto x, auto y) { return decltype(x)(x > y); }); },
          nullptr),
      binary_op(
          "greater_equal", [](E& e) { return binary(e, [](auto x, auto y) { return decltype(x)(x >= y); }); },
          nullptr),
      binary_op(
          "equal", [](E& e) { return binary(e, [](auto x, auto y) { return decltype(x)(x == y); }); },
          nullptr),
  };
}

/// condition != 0 ? a : b; the branch not taken may be anything, NaN too.
Array select(Evaluation& e) {
  const Array &c = e.input(0), &a = e.input(1), &b = e.input(2);
  if (a.element() != b.element() || a.element() != c.element() || !a.floating())
    throw OperandError("operands must be numbers of one precision");
  const Extents shape = broadcast_shape(c.shape(), broadcast_shape(a.shape(), b.shape()));
  const Array condition = c.broadcast_to(shape), yes = a.broadcast_to(shape), no = b.broadcast_to(shape);
  Array result(a.element(), shape);
  with_type(a.element(), [&](auto type) {
    using T = decltype(type);
    const T *pc = condition.data<T>(), *pa = yes.data<T>(), *pb = no.data<T>();
    T* to = result.mutable_data<T>();
    for_each_run<4>(shape, {condition.stride(), yes.stride(), no.stride(), result.stride()},
                    [&](auto offset, int64_t count, auto step) {
                      for (int64_t i = 0; i < count; ++i) {
                        to[offset[3] + i * step[3]] = pc[offset[0] + i * step[0]] != 0
                                                          ? pa[offset[1] + i * step[1]]
                                                          : pb[offset[2] + i * step[2]];
                      }
                    });
  });
  return result;
}

}  // namespace

std::vector<Op> pointwise_ops() {
  std::vector<Op> all = unary_ops();
  for (Op& op : binary_ops()) all.push_back(std::move(op));
  all.push_back({.name = "select",
                 .least_inputs = 3,
                 .most_inputs = 3,
                 .evaluate = select,
                 .gradient = [](const GradientCall& g) {
                   const Var zero = scalar(g.gradient, 0);
                   return Gradients{
                       Var(), g.needed[1] ? like(select(g.inputs[0], g.gradient, zero), g.inputs[1]) : Var(),
                       g.needed[2] ? like(select(g.inputs[0], zero, g.gradient), g.inputs[2]) : Var()};
                 }});
  return all;
}

}  // namespace attnlab::graph
