// Views and arrangements: elements move, none changes.
#include "core/graph/op.hpp"

namespace attnlab::graph {
namespace {

Array concat(Evaluation& e) {
  const Array& head = e.input(0);
  const size_t axis = axis_of(e.attributes.integer("axis", -1), head.rank());
  Extents shape = head.shape();
  shape[axis] = 0;
  for (const Array& part : e.inputs) {
    Extents other = part.shape();
    if (part.element() != head.element()) throw OperandError("parts must have one type of elements");
    if (other.size() != shape.size()) throw OperandError("parts must have one rank");
    shape[axis] += other[axis];
    other[axis] = shape[axis];
    if (other != shape)
      throw OperandError(to_string(part.shape()) + " does not fit " + to_string(head.shape()));
  }
  Array result(head.element(), shape);
  int64_t begin = 0;
  for (const Array& part : e.inputs) {
    const int64_t end = begin + part.shape()[axis];
    Array target = result.sliced(static_cast<int64_t>(axis), begin, end);
    copy_elements(part, target);
    begin = end;
  }
  return result;
}

std::vector<Var> concat_gradient(const GradientCall& g) {
  const int64_t axis = g.attributes.integer("axis", -1);
  std::vector<Var> parts;
  int64_t begin = 0;
  for (const Var& input : g.inputs) {
    const int64_t end = begin + input.size(axis);
    parts.push_back(slice(g.gradient, axis, begin, end));
    begin = end;
  }
  return parts;
}

/// Zeros around the elements of an axis.
Array pad_axis(Evaluation& e) {
  const Array& x = e.input(0);
  const int64_t axis = e.attributes.integer("axis", -1);
  const int64_t before = e.attributes.integer("before", 0), after = e.attributes.integer("after", 0);
  if (before < 0 || after < 0) throw OperandError("negative padding");
  Extents shape = x.shape();
  int64_t& extent = shape[axis_of(axis, shape.size())];
  extent += before + after;
  Array result = Array::zeros(x.element(), shape);
  Array target = result.sliced(axis, before, extent - after);
  copy_elements(x, target);
  return result;
}

}  // namespace

std::vector<Op> shape_ops() {
  using E = Evaluation;
  using G = GradientCall;
  return {
      {.name = "reshape",
       .attributes = {"shape"},
       .evaluate = [](E& e) { return e.input(0).reshaped(e.attributes.integers("shape")); },
       .gradient = [](const G& g) { return std::vector<Var>{reshape(g.gradient, g.inputs[0].shape())}; }},
      {.name = "permute",
       .attributes = {"order"},
       .evaluate = [](E& e) { return e.input(0).permuted(e.attributes.integers("order")); },
       .gradient =
           [](const G& g) {
             const Extents order = g.attributes.integers("order");
             std::vector<int64_t> inverse(order.size());
             for (size_t i = 0; i < order.size(); ++i)
               inverse[axis_of(order[i], order.size())] = static_cast<int64_t>(i);
             return std::vector<Var>{permute(g.gradient, inverse)};
           }},
      {.name = "broadcast",
       .attributes = {"shape"},
       .evaluate = [](E& e) { return e.input(0).broadcast_to(e.attributes.integers("shape")); },
       .gradient = [](const G& g) { return std::vector<Var>{sum_to(g.gradient, g.inputs[0].shape())}; }},
      {.name = "slice",
       .attributes = {"axis", "begin", "end"},
       .evaluate =
           [](E& e) {
             return e.input(0).sliced(e.attributes.integer("axis", -1), e.attributes.integer("begin", 0),
                                      e.attributes.integer("end", 0));
           },
       .gradient =
           [](const G& g) {
             const int64_t axis = g.attributes.integer("axis", -1);
             return std::vector<Var>{pad(g.gradient, axis, g.attributes.integer("begin", 0),
                                         g.inputs[0].size(axis) - g.attributes.integer("end", 0))};
           }},
      {.name = "pad",
       .attributes = {"axis", "before", "after"},
       .evaluate = pad_axis,
       .gradient =
           [](const G& g) {
             const int64_t axis = g.attributes.integer("axis", -1),
                           before = g.attributes.integer("before", 0);
             return std::vector<Var>{slice(g.gradient, axis, before, before + g.inputs[0].size(axis))};
           }},
      {.name = "concat",
       .most_inputs = 4096,
       .attributes = {"axis"},
       .evaluate = concat,
       .gradient = concat_gradient},
      {.name = "watch",
       .evaluate = [](E& e) { return e.input(0); },
       .gradient = [](const G& g) { return std::vector<Var>{g.gradient}; },
       .watches = true},
      {.name = "detach", .evaluate = [](E& e) { return e.input(0); }},
  };
}

}  // namespace attnlab::graph
