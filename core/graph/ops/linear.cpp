// A layer's product with its bias and activation.
#include "core/graph/graph.hpp"
#include "core/graph/op.hpp"
#include "core/graph/ops/gemm.hpp"
#include "core/kernels/table.hpp"

namespace attnlab::graph {
namespace {

using kernels::Activation;

struct NamedActivation {
  std::string_view name;
  Activation kernel;
};
constexpr NamedActivation kActivations[] = {{"none", Activation::none},
                                            {"relu", Activation::relu},
                                            {"gelu", Activation::gelu_erf},
                                            {"gelu_tanh", Activation::gelu_tanh},
                                            {"silu", Activation::silu}};

Activation activation_of(const Attributes& attributes) {
  const std::string name = attributes.text("activation", "none");
  for (const auto& known : kActivations) {
    if (known.name == name) return known.kernel;
  }
  throw OperandError("unknown activation \"" + name + "\"; allowed: none, relu, gelu, gelu_tanh, silu");
}

/// x as [rows, width], row-major.
struct Rows {
  Array array;
  int64_t rows, width;

  explicit Rows(const Array& x) : array(x.packed()), rows(0), width(x.extent(-1)) {
    rows = width == 0 ? 0 : x.size() / width;
  }
  const float* data() const { return array.data<float>(); }
  Matrix matrix() const { return {data(), width}; }
};

void check_linear(const Evaluation& e) {
  const Array &x = e.input(0), &w = e.input(1);
  if (w.rank() != 2 || x.rank() < 1 || x.extent(-1) != w.extent(1))
    throw OperandError(to_string(x.shape()) + " with a weight of " + to_string(w.shape()));
  if (e.has(2) && (e.input(2).rank() != 1 || e.input(2).extent(0) != w.extent(0)))
    throw OperandError("a bias of " + to_string(e.input(2).shape()) + " for a weight of " +
                       to_string(w.shape()));
}

/// act(x W^T + b), W [out, in].
Array linear_floats(Evaluation& e) {
  check_linear(e);
  const Rows x(e.input(0));
  const Array& weight = e.input(1);
  const int64_t out = weight.extent(0);
  Extents shape = e.input(0).shape();
  shape.back() = out;
  Array y(Element::f32, shape);
  auto p = product(x.matrix(), Matrix::of(weight).transposed(), x.rows, x.width, out, y.mutable_data<float>(),
                   out);
  const Array bias = e.has(2) ? e.input(2).packed() : Array();
  if (!bias.empty()) p.epilogue.bias = bias.data<float>();
  p.epilogue.activation = activation_of(e.attributes);
  if (e.watched && p.epilogue.activation != Activation::none) {
    Array before(Element::f32, shape);
    p.epilogue.pre_activation = before.mutable_data<float>();
    p.epilogue.pre_activation_stride = out;
    e.saved = {before};
  }
  if (y.size() > 0) kernels::gemm(kernels::active_table(), p);
  return y;
}

std::vector<Var> linear_gradient(const GradientCall& g) {
  const auto& table = kernels::active_table();
  const Rows x(value_of(g.inputs[0]));
  const Array& weight = value_of(g.inputs[1]);
  const int64_t out = weight.extent(0);
  Rows dy(value_of(g.gradient));
  if (const Activation activation = activation_of(g.attributes); activation != Activation::none) {
    Array before_gradient(Element::f32, dy.array.shape());
    kernels::ActivationGradientArguments a;
    a.rows = dy.rows, a.columns = out, a.activation = activation;
    a.pre_activation = g.saved[0].data<float>(), a.pre_activation_stride = out;
    a.d_out = dy.data(), a.d_out_stride = out;
    a.d_in = before_gradient.mutable_data<float>(), a.d_in_stride = out;
    kernels::activation_gradient(table, a);
    dy.array = before_gradient;
  }
  std::vector<Var> results(g.inputs.size());
  if (g.needed[0]) {
    Array dx(Element::f32, value_of(g.inputs[0]).shape());
    if (dx.size() > 0)
      kernels::gemm(table, product(dy.matrix(), Matrix::of(weight), x.rows, out, x.width,
                                   dx.mutable_data<float>(), x.width));
    results[0] = leaf(g.gradient, dx);
  }
  if (g.needed[1]) {
    Array dw(Element::f32, weight.shape());
    if (dw.size() > 0)
      kernels::gemm(table, product(dy.matrix().transposed(), x.matrix(), out, x.rows, x.width,
                                   dw.mutable_data<float>(), x.width));
    results[1] = leaf(g.gradient, dw);
  }
  if (g.inputs.size() > 2 && g.inputs[2] && g.needed[2]) {
    Array db(Element::f32, {out});
    kernels::column_sums(table, {dy.rows, out, dy.data(), out, db.mutable_data<float>(), false});
    results[2] = leaf(g.gradient, db);
  }
  return results;
}

Var linear_parts(const std::vector<Var>& inputs, const Attributes& attributes) {
  activation_of(attributes);
  Var y =
      matmul(inputs[0].shape().size() == 1 ? reshape(inputs[0], {1, -1}) : inputs[0], transpose(inputs[1]));
  if (inputs.size() > 2 && inputs[2]) y = y + inputs[2];
  if (inputs[0].shape().size() == 1) y = reshape(y, {-1});
  const std::string activation = attributes.text("activation", "none");
  return activation == "none" ? y : apply(activation, {y});
}

}  // namespace

std::vector<Op> linear_ops() {
  return {{.name = "linear",
           .least_inputs = 2,
           .most_inputs = 3,
           .attributes = {"activation"},
           .evaluate = linear_floats,
           .gradient = linear_gradient,
           .decompose = linear_parts}};
}

}  // namespace attnlab::graph
