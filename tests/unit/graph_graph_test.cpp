// What the graph keeps, releases and refuses.
#include <gtest/gtest.h>

#include <attnlab/var.hpp>

#include <algorithm>
#include <cmath>
#include <string>

#include "core/base/parallel.hpp"
#include "core/graph/graph.hpp"

namespace attnlab::graph {
namespace {

Array numbers(const Extents& shape, std::vector<double> values) {
  Array x(Element::f64, shape);
  std::copy(values.begin(), values.end(), x.mutable_data<double>());
  return x;
}
std::vector<double> elements(const Var& x) {
  const Array packed = value_of(x).as(Element::f64).packed();
  return {packed.data<double>(), packed.data<double>() + packed.size()};
}
const History* history_of(const Var& x) {
  return from_handle(x.node())->history();
}

TEST(Graph, KeepsNoHistoryWhenNobodyWatches) {
  const Graph graph;
  const Var x = graph.constant(numbers({2, 2}, {1, 2, 3, 4}));
  EXPECT_EQ(history_of(matmul(exp(x), x) + 1), nullptr);
  EXPECT_EQ(history_of(attend(reshape(x, {1, 1, 2, 2}), reshape(x, {1, 1, 2, 2}), reshape(x, {1, 1, 2, 2}))),
            nullptr);
  EXPECT_NE(history_of(x * graph.watched(numbers({2}, {1, 2}))), nullptr);
  EXPECT_EQ(history_of(detach(x * graph.watched(numbers({2}, {1, 2})))), nullptr);
}

TEST(Graph, ViewsShareMemory) {
  const Graph graph(Element::f64);
  const Var x = graph.constant(numbers({2, 3, 4}, std::vector<double>(24, 1)));
  const auto* data = value_of(x).data<double>();
  EXPECT_EQ(value_of(permute(x, {2, 0, 1})).data<double>(), data);
  EXPECT_EQ(value_of(slice(x, 1, 1, 3)).data<double>(), data + 4);
  EXPECT_EQ(value_of(reshape(x, {6, -1})).data<double>(), data);
  EXPECT_EQ(value_of(broadcast(x, {5, 2, 3, 4})).data<double>(), data);
  EXPECT_EQ(value_of(split_heads(x, 2)).data<double>(), data);
  EXPECT_NE(value_of(reshape(transpose(x), {-1})).data<double>(), data);
}

TEST(Graph, ReshapeOfAViewHasItsElementsInOrder) {
  std::vector<double> counting(24);
  for (size_t i = 0; i < counting.size(); ++i) counting[i] = static_cast<double>(i);
  const Graph graph(Element::f64);
  const Var x = graph.constant(numbers({2, 3, 4}, counting));
  for (const Var& view :
       {permute(x, {1, 0, 2}), slice(x, 2, 1, 3), broadcast(slice(x, 0, 1, 2), {2, 3, 4})}) {
    const auto expected = elements(view);
    for (std::vector<int64_t> shape : {std::vector<int64_t>{-1}, {2, -1}, {-1, 2}, {3, 1, -1}})
      EXPECT_EQ(elements(reshape(view, shape)), expected) << shape.size();
  }
}

TEST(Graph, ALongChainIsReleasedWithoutRecursion) {
  const Graph graph;
  Var x = graph.watched(numbers({1}, {1}));
  for (int i = 0; i < 300000; ++i) x = -x;
  EXPECT_EQ(elements(x)[0], 1);
  x = Var();
}

TEST(Graph, GradientOfWhatDoesNotMatterIsZero) {
  const Graph graph(Element::f64);
  const std::vector<Var> by = {graph.watched(numbers({2}, {1, 2})), graph.watched(numbers({3}, {1, 2, 3}))};
  const auto found = gradients(graph, sum(by[0] * by[0]), {}, by, false);
  EXPECT_EQ(elements(found[0]), (std::vector<double>{2, 4}));
  EXPECT_EQ(elements(found[1]), (std::vector<double>{0, 0, 0}));
}

TEST(Graph, GradientByAnIntermediateAndByWhatItCameFrom) {
  const Graph graph(Element::f64);
  const Var x = graph.watched(numbers({1}, {3}));
  const Var y = x * x;
  const std::vector<Var> by = {x, y};
  const auto found = gradients(graph, y * y, {}, by, false);
  EXPECT_EQ(elements(found[0])[0], 108);
  EXPECT_EQ(elements(found[1])[0], 18);
  EXPECT_FALSE(from_handle(found[0].node())->watched());
}

TEST(Graph, GradientsDoNotDependOnThreads) {
  auto run = [](int threads) {
    const base::ThreadLimit limit(threads);
    const Graph graph;
    Array x(Element::f32, {40, 7, 96}), w(Element::f32, {130, 96});
    for (int64_t i = 0; i < x.size(); ++i) x.mutable_data<float>()[i] = std::sin(static_cast<float>(i));
    for (int64_t i = 0; i < w.size(); ++i) w.mutable_data<float>()[i] = std::cos(static_cast<float>(i));
    const std::vector<Var> by = {graph.watched(x), graph.watched(w)};
    const Var y = softmax(layer_norm(linear(by[0], by[1], {}, "gelu")));
    std::vector<double> all = elements(y);
    for (const Var& g : gradients(graph, sum(y * y), {}, by, false)) {
      const auto part = elements(g);
      all.insert(all.end(), part.begin(), part.end());
    }
    return all;
  };
  EXPECT_EQ(run(1), run(3));
}

std::string refusal(const std::function<void()>& body) {
  try {
    body();
  } catch (const HostError& e) {
    return e.what();
  }
  return "accepted";
}

TEST(Graph, RefusalsNameTheOpAndTheShapes) {
  const Graph graph;
  const Var x = graph.constant(numbers({2, 3}, std::vector<double>(6, 1)));
  EXPECT_EQ(refusal([&] { matmul(x, x); }), "matmul: [2, 3] times [2, 3]");
  EXPECT_EQ(refusal([&] { x + slice(x, 1, 0, 2); }), "add: shapes [2, 3] and [2, 2] do not broadcast");
  EXPECT_EQ(refusal([&] { slice(x, 1, 2, 5); }), "slice: elements [2, 5) of axis 1 of [2, 3]");
  EXPECT_EQ(refusal([&] { reshape(x, {4, -1}); }), "reshape: [2, 3] has not as many elements as [4, 1]");
  EXPECT_EQ(refusal([&] { permute(x, {0, 0}); }), "permute: axis 0 occurs twice in the order");
  EXPECT_EQ(refusal([&] { sum(x, 2); }), "sum: axis 2 of an array of rank 2");
  EXPECT_EQ(refusal([&] { apply("add", {x}); }), "add: 1 operands");
  EXPECT_EQ(refusal([&] { apply("sum", {x}, {{"axes", 1}}); }), "sum: unknown attribute \"axes\"");
  EXPECT_EQ(refusal([&] { apply("no_such_op", {x}); }), "this host has no op \"no_such_op\"");
  EXPECT_EQ(refusal([&] { linear(x, x, {}, "swish"); }),
            "linear: unknown activation \"swish\"; allowed: none, relu, gelu, gelu_tanh, silu");
  EXPECT_EQ(refusal([&] { attend(x, x, x); }), "attend: q, k and v must be [batch, head, token, channel]");
}

TEST(Graph, AValueOutlivesItsGraph) {
  Var x;
  {
    const Graph graph(Element::f64);
    x = graph.watched(numbers({2}, {1, 2})) * 3.0;
  }
  EXPECT_EQ(elements(x), (std::vector<double>{3, 6}));
  EXPECT_EQ(refusal([&] { x + x; }), "the graph of this value has ended");
  Var copy = x;
  x = Var();
  EXPECT_EQ(copy.shape(), std::vector<int64_t>{2});
  const Graph other(Element::f64);
  EXPECT_EQ(elements(other.share(from_handle(copy.node())) + other.constant(1)), (std::vector<double>{4, 7}));
}

TEST(Graph, IndexOps) {
  const Graph graph;
  Array index(Element::i64, {3});
  std::copy_n(std::vector<int64_t>{2, -1, 0}.begin(), 3, index.mutable_data<int64_t>());
  EXPECT_EQ(elements(apply("one_hot", {graph.constant(index)}, {{"size", 3}})),
            (std::vector<double>{0, 0, 1, 0, 0, 0, 1, 0, 0}));
  const Var x = graph.constant(numbers({2, 4}, {1, 3, 3, 2, 0, -1, 5, 5}));
  EXPECT_EQ(elements(apply("top_ids", {x}, {{"count", 2}})), (std::vector<double>{1, 2, 2, 3}));
  EXPECT_EQ(refusal([&] { gather(x, graph.constant(index), 0); }), "gather: index 2 is not in [0, 2)");
  const Var diagonal = graph.constant(numbers({2, 2}, {0, 3, -4, 0}));
  EXPECT_EQ(elements(apply("singular_values", {diagonal})), (std::vector<double>{4, 3}));
}

TEST(Graph, SoftmaxOfNothingVisibleIsZero) {
  const Graph graph;
  const double none = -INFINITY;
  EXPECT_EQ(elements(softmax(graph.constant(numbers({2, 2}, {none, none, none, 1})))),
            (std::vector<double>{0, 0, 0, 1}));
}

}  // namespace
}  // namespace attnlab::graph
