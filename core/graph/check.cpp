#include "core/graph/check.hpp"

#include <attnlab/philox.hpp>

#include <algorithm>
#include <cmath>

namespace attnlab::graph {
namespace {

Array weights_like(const Array& x) {
  Array weights(Element::f64, x.shape());
  attnlab::Philox random(1);
  for (int64_t i = 0; i < x.size(); ++i) weights.mutable_data<double>()[i] = random.normal();
  return weights;
}

}  // namespace

GradientCheck check_gradients(const std::function<Var(const Graph&, std::span<const Var>)>& f,
                              std::span<const Array> inputs, double step, int64_t most_elements) {
  const Graph graph(Element::f64);
  std::vector<Array> values;
  for (const Array& input : inputs) {
    Array copy(Element::f64, input.shape());
    const Array source = input.as(Element::f64).packed();
    std::copy_n(source.data<double>(), source.size(), copy.mutable_data<double>());
    values.push_back(copy);
  }
  auto variables = [&] {
    std::vector<Var> result;
    for (const Array& value : values) result.push_back(graph.watched(value));
    return result;
  };
  const std::vector<Var> at = variables();
  const Var output = f(graph, at);
  const Var weights = graph.constant(weights_like(value_of(output)));
  const std::vector<Var> found = gradients(graph, sum(output * weights), {}, at, false);
  auto loss = [&] { return value_of(sum(f(graph, variables()) * weights)).scalar(); };

  GradientCheck check;
  for (size_t i = 0; i < values.size(); ++i) {
    const Array gradient = value_of(found[i]).packed();
    double largest = 1;
    for (int64_t k = 0; k < gradient.size(); ++k)
      largest = std::max(largest, std::abs(gradient.data<double>()[k]));
    const int64_t spacing = (gradient.size() / most_elements) | 1;  // odd: it meets every column
    for (int64_t k = 0; k < gradient.size(); k += spacing) {
      double& x = values[i].mutable_data<double>()[k];
      const double before = x;
      x = before + step;
      const double above = loss();
      x = before - step;
      const double below = loss();
      x = before;
      const double error = std::abs(gradient.data<double>()[k] - (above - below) / (2 * step)) / largest;
      if (!(error <= check.worst)) check = {error, i, k};
    }
  }
  return check;
}

}  // namespace attnlab::graph
