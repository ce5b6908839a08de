// Ops are data: a name, how to evaluate it, how to differentiate it.
#pragma once

#include <attnlab/var.hpp>

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/graph/array.hpp"
#include "core/graph/attributes.hpp"

namespace attnlab::graph {

/// One evaluation of an op.
struct Evaluation {
  std::span<const Array> inputs;  ///< an empty array: an optional operand left out
  const Attributes& attributes;
  bool watched = false;        ///< a gradient may be asked for: `saved` should hold what it needs
  std::vector<Array> saved{};  ///< out

  const Array& input(size_t i) const;
  bool has(size_t i) const { return i < inputs.size() && !inputs[i].empty(); }
};

/// What a gradient is computed from. Inputs and output are watched only when the gradient shall be
/// differentiated again.
struct GradientCall {
  std::vector<Var> inputs;  ///< empty where the operand was left out
  Var output;
  Var gradient;              ///< of the loss by the output
  std::vector<bool> needed;  ///< which inputs' gradients are wanted
  const Attributes& attributes;
  const std::vector<Array>& saved;
};

/// An op. Primitives have `evaluate` and `gradient`, the latter written in ops, so that gradients can be
/// differentiated to any order. Fused ops have `decompose` besides: the same in primitives, which is the
/// reference in tests, the float64 path where `evaluate` works in float32 alone, and what is differentiated
/// when a gradient is differentiated again. Their `gradient` computes on arrays.
struct Op {
  std::string_view name;
  size_t least_inputs = 1, most_inputs = 1;
  std::vector<std::string_view> attributes{};
  /// Throws OperandError. Inputs may be strided in any way.
  Array (*evaluate)(Evaluation&) = nullptr;
  /// One Var per input; those that are not needed or have no gradient may be empty. Null: no gradient flows.
  std::vector<Var> (*gradient)(const GradientCall&) = nullptr;
  Var (*decompose)(const std::vector<Var>& inputs, const Attributes& attributes) = nullptr;
  /// The result is watched even when no operand is.
  bool watches = false;
  /// Whether a fused op can evaluate these inputs itself; null: float32 ones.
  bool (*fuses)(std::span<const Array> inputs, const std::vector<bool>& watched,
                const Attributes& attributes) = nullptr;
};

/// Ops by id; ids are positions. The list does not change after start.
const std::vector<Op>& ops();
/// Its id, or -1.
int32_t find_op(std::string_view name);

// The families, joined by `ops`.
std::vector<Op> pointwise_ops();
std::vector<Op> reduction_ops();
std::vector<Op> softmax_ops();
std::vector<Op> shape_ops();
std::vector<Op> index_ops();
std::vector<Op> product_ops();
std::vector<Op> random_ops();
std::vector<Op> linear_ops();
std::vector<Op> norm_ops();
std::vector<Op> loss_ops();
std::vector<Op> position_ops();
std::vector<Op> attention_ops();
std::vector<Op> linear_attention_ops();
std::vector<Op> matrix_ops();

}  // namespace attnlab::graph
