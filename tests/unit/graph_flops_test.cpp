// Operations are counted by shapes, the same for fused ops and for their parts.
#include "core/graph/flops.hpp"

#include <gtest/gtest.h>

#include "core/graph/graph.hpp"

namespace attnlab::graph {
namespace {

Var filled(const Graph& graph, const Extents& shape) {
  return graph.constant(Array::full(graph.precision(), shape, 0.5));
}

class Flops : public testing::TestWithParam<Element> {};

TEST_P(Flops, Products) {
  const Graph graph(GetParam());
  const FlopCount count;
  matmul(filled(graph, {2, 3, 4}), filled(graph, {4, 5}));
  EXPECT_EQ(count.by_op().at("matmul"), 2.0 * 2 * 3 * 4 * 5);
  attnlab::linear(filled(graph, {2, 3, 4}), filled(graph, {5, 4}), filled(graph, {5}), "gelu");
  EXPECT_EQ(count.by_op().at("linear"), 2.0 * 2 * 3 * 4 * 5);
  EXPECT_EQ(count.total(), 2 * 240.0) << "the parts of an op count with it, or not at all";
  EXPECT_TRUE(count.uncounted().empty());
}

TEST_P(Flops, AttentionCountsVisiblePairs) {
  const Graph graph(GetParam());
  auto pairs = [&](int64_t queries, const Attend& options) {
    const FlopCount count;
    attend(filled(graph, {3, 4, queries, 16}), filled(graph, {3, 2, 8, 16}), filled(graph, {3, 2, 8, 8}),
           options);
    return count.total() / (2.0 * 3 * 4 * (16 + 8));
  };
  EXPECT_EQ(pairs(8, {.causal = true}), 36);
  EXPECT_EQ(pairs(8, {.causal = false}), 64);
  EXPECT_EQ(pairs(2, {.causal = true}), 7 + 8) << "the last two positions";
  EXPECT_EQ(pairs(8, {.causal = true, .window = 3}), 1 + 2 + 6 * 3);
  EXPECT_EQ(pairs(8, {.causal = true, .window = 3, .prefix = 1}), 1 + 2 + 3 + 5 * 4);
}

INSTANTIATE_TEST_SUITE_P(Precisions, Flops, testing::Values(Element::f32, Element::f64),
                         [](const auto& each) { return each.param == Element::f32 ? "f32" : "f64"; });

TEST(FlopCount, LinearAttentionIsItsRecurrence) {
  const Graph graph;
  const FlopCount count;
  linear_attend(filled(graph, {1, 4, 10, 16}), filled(graph, {1, 2, 10, 16}), filled(graph, {1, 2, 10, 8}),
                {.causal = true, .normalise = false});
  EXPECT_EQ(count.total(), 10 * (2 * 2.0 * 16 * 8 + 4 * 2.0 * 16 * 8));
}

TEST(FlopCount, NothingCountsBesideIt) {
  const Graph graph;
  matmul(filled(graph, {3, 4}), filled(graph, {4, 5}));
  const FlopCount count;
  filled(graph, {3, 4}) + filled(graph, {3, 4});
  EXPECT_EQ(count.total(), 0);
}

TEST(FlopCount, TellsWhatItCannotCount) {
  const Graph graph;
  const FlopCount count;
  apply("low_rank", {filled(graph, {4, 4})}, {{"rank", int64_t{1}}});
  EXPECT_TRUE(count.uncounted().contains("low_rank"));
}

}  // namespace
}  // namespace attnlab::graph
