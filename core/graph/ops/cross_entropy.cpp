// The loss of predicted classes.
#include "core/graph/graph.hpp"
#include "core/graph/op.hpp"
#include "core/kernels/layer/layer.hpp"
#include "core/kernels/table.hpp"

namespace attnlab::graph {
namespace {

/// Targets of logits [..., classes]: one for each row, some perhaps negative, which means none.
struct Targets {
  Array ids;
  int64_t classes = 0, counted = 0;

  Targets(const Array& logits, const Array& targets) : ids(targets.packed()) {
    if (!logits.floating() || targets.element() != Element::i64)
      throw OperandError("logits must be numbers and targets integers");
    const Extents& shape = logits.shape();
    if (shape.empty() || targets.shape() != Extents(shape.begin(), shape.end() - 1))
      throw OperandError("targets of " + to_string(targets.shape()) + " for logits of " + to_string(shape));
    classes = shape.back();
    for (int64_t i = 0; i < ids.size(); ++i) {
      const int64_t id = ids.data<int64_t>()[i];
      if (id >= classes)
        throw OperandError("target " + std::to_string(id) + " of " + std::to_string(classes) + " classes");
      counted += id >= 0 ? 1 : 0;
    }
    if (counted == 0) throw OperandError("no target to predict");
  }
};

Var cross_entropy_parts(const std::vector<Var>& inputs, const Attributes&) {
  const Var& logits = inputs[0];
  const Targets targets(value_of(logits), value_of(inputs[1]));
  const int64_t wide = value_of(logits).element() == Element::f64 ? 1 : 0;
  const Var hot = apply("one_hot", {inputs[1]}, {{"size", logits.size(-1)}, {"wide", wide}});
  const Var most = detach(apply("max", {logits}, {{"axis", -1}}));
  const Var lse = log(sum(exp(logits - most), -1)) + most;
  // A row without a target has no 1, so that its lse does not count either.
  return (sum(lse * sum(hot, -1)) - sum(logits * hot)) * (1 / static_cast<double>(targets.counted));
}

Array cross_entropy(Evaluation& e) {
  const Targets targets(e.input(0), e.input(1));
  const Array logits = e.input(0).packed();
  const int64_t rows = targets.ids.size();
  Array loss(Element::f32, {rows}), lse(Element::f32, {rows});
  kernels::CrossEntropyArguments a;
  a.rows = rows, a.classes = targets.classes;
  a.logits = logits.data<float>(), a.logits_stride = a.classes;
  a.targets = targets.ids.data<int64_t>();
  a.loss = loss.mutable_data<float>(), a.lse = lse.mutable_data<float>();
  kernels::cross_entropy(kernels::active_table(), a);
  double sum = 0;
  for (int64_t i = 0; i < rows; ++i) sum += static_cast<double>(loss.data<float>()[i]);
  if (e.watched) e.saved = {lse};
  return Array::full(Element::f32, {}, sum / static_cast<double>(targets.counted));
}

std::vector<Var> cross_entropy_gradient(const GradientCall& g) {
  const Targets targets(value_of(g.inputs[0]), value_of(g.inputs[1]));
  const Array logits = value_of(g.inputs[0]).packed();
  Array d_logits(Element::f32, logits.shape());
  kernels::CrossEntropyGradientArguments a;
  a.rows = targets.ids.size(), a.classes = targets.classes;
  a.logits = logits.data<float>(), a.logits_stride = a.classes;
  a.targets = targets.ids.data<int64_t>();
  a.lse = g.saved[0].data<float>();
  a.row_scale = static_cast<float>(value_of(g.gradient).scalar() / static_cast<double>(targets.counted));
  a.d_logits = d_logits.mutable_data<float>(), a.d_logits_stride = a.classes;
  kernels::cross_entropy_gradient(kernels::active_table(), a);
  return {leaf(g.gradient, d_logits), Var()};
}

}  // namespace

std::vector<Op> loss_ops() {
  return {{.name = "cross_entropy",
           .least_inputs = 2,
           .most_inputs = 2,
           .evaluate = cross_entropy,
           .gradient = cross_entropy_gradient,
           .decompose = cross_entropy_parts}};
}

}  // namespace attnlab::graph
