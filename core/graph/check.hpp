// Gradients checked against finite differences.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "core/graph/graph.hpp"

namespace attnlab::graph {

struct GradientCheck {
  double worst = 0;  ///< largest |gradient - difference| / max(1, largest |gradient| of that input)
  size_t input = 0;  ///< where
  int64_t element = 0;
};

/// Compares the gradients of sum(f(inputs) * r), r fixed random weights, with central differences
/// (L(x + step) - L(x - step)) / (2 step) for every element of every input, in float64. `f` is called with
/// watched values of the given graph, must be a function of them alone, and returns a value that names this
/// graph or one that outlives the check. O(elements) evaluations.
GradientCheck check_gradients(const std::function<Var(const Graph&, std::span<const Var>)>& f,
                              std::span<const Array> inputs, double step = 1e-5,
                              int64_t most_elements = INT64_MAX);

}  // namespace attnlab::graph
