// Golden cases that need the graph alone.
#include <gtest/gtest.h>

#include <attnlab/var.hpp>

#include "core/graph/graph.hpp"
#include "tests/golden/scheme_case.hpp"

namespace attnlab::golden {
namespace {

using graph::Array;
using graph::Element;
using graph::Graph;
using graph::value_of;

class GraphGolden : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(scheme_folder())) GTEST_SKIP() << "needs " << scheme_folder();
  }
};

/// Titans' memory, equations 9 to 12 of arXiv:2501.00663 with a linear memory: at each token the gradient of
/// |M k - v|^2 updates the memory, which then answers the query. The gradients of sum(y^2) pass through all
/// of these inner gradients.
TEST_F(GraphGolden, TitansMemoryIsDifferentiatedThroughItsGradients) {
  const SchemeCase c("titans_memory_paper_linear");
  const Graph g(Element::f64);
  std::vector<Var> leaves;
  const std::vector<std::string> names = {"M0", "alpha", "eta", "theta", "k", "q", "v"};
  auto input = [&](const std::string& name) {
    return leaves[static_cast<size_t>(std::find(names.begin(), names.end(), name) - names.begin())];
  };
  for (const std::string& name : names) leaves.push_back(g.watched(c.tensor("in." + name)));
  const auto batch = c.config()["B"].get<int64_t>(), tokens = c.config()["T"].get<int64_t>(),
             d = c.config()["d"].get<int64_t>();
  auto token = [&](const std::string& name, int64_t t) {
    return reshape(slice(input(name), 1, t, t + 1), {batch, -1, 1});
  };
  Var memory = broadcast(input("M0"), {batch, d, d}), momentum = memory * 0.0;
  std::vector<Var> outputs;
  for (int64_t t = 0; t < tokens; ++t) {
    const Var read = watch(memory);
    const Var error = matmul(read, token("k", t)) - token("v", t);
    const Var gradient = grad(sum(error * error), {read})[0];
    momentum = token("eta", t) * momentum - token("theta", t) * gradient;
    memory = (1 - token("alpha", t)) * memory + momentum;
    outputs.push_back(reshape(matmul(memory, token("q", t)), {batch, 1, d}));
  }
  const Var y = concat(outputs, 1);
  EXPECT_LT(relative_error(value_of(y), c.tensor("out.y")), 1e-13);
  EXPECT_LT(relative_error(value_of(memory), c.tensor("out.M_final")), 1e-13);
  EXPECT_LT(relative_error(value_of(momentum), c.tensor("out.S_final")), 1e-13);
  const auto found = gradients(g, sum(y * y), {}, leaves, false);
  for (size_t i = 0; i < names.size(); ++i)
    EXPECT_LT(relative_error(value_of(found[i]), c.tensor("grad." + names[i])), 1e-12) << names[i];
}

TEST_F(GraphGolden, LowRankGradientIsTheClosedForm) {
  for (const char* name : {"svd_compression", "svd_rank_deficient"}) {
    const SchemeCase c(name);
    const Graph g(Element::f64);
    const Var a = g.watched(c.tensor("in.a"));
    const Var y = apply("low_rank", {a}, {{"rank", c.config()["rank"].get<int64_t>()}});
    EXPECT_LT(relative_error(value_of(y), c.tensor("out.y")), 1e-12) << name;
    const auto found = gradients(g, y, g.constant(c.tensor("in.cotangent")), {&a, 1}, false);
    const std::string expected =
        c.has("grad.a_closed_form") ? "grad.a_closed_form" : "grad_cotangent.a_closed_form";
    EXPECT_LT(relative_error(value_of(found[0]), c.tensor(expected)), 1e-10) << name;
    if (!c.has("grad.a")) continue;
    const auto of_squares = gradients(g, sum(y * y), {}, {&a, 1}, false);
    EXPECT_LT(relative_error(value_of(of_squares[0]), c.tensor("grad.a")), 1e-10) << name;
  }
}

}  // namespace
}  // namespace attnlab::golden
