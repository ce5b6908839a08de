// The router and the balance loss of Mixture of Attention Schemes against the reference, in float64.
#include <gtest/gtest.h>

#include "tests/golden/scheme_case.hpp"
#include "tests/support/scheme_layer.hpp"

namespace attnlab::golden {
namespace {

using graph::Element;
using graph::value_of;
using io::Json;

class Moas : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(scheme_folder())) GTEST_SKIP() << "needs " << scheme_folder();
  }

  /// A layer with the parameters of the case.
  static test::TestLayer layer_of(const SchemeCase& c, const Json& attention) {
    plugin::SchemeGeometry g;
    g.embed_dim = c.config()["n_embd"].get<int64_t>();
    g.query_heads = g.kv_heads = c.config()["n_head"].get<int64_t>();
    g.head_dim = g.value_dim = g.embed_dim / g.query_heads;
    test::TestLayer layer(attention, g, Element::f64);
    for (const std::string& name : c.names("param."))
      layer.parameters.assign(name, c.tensor("param." + name).to_tensor(), c.name());
    return layer;
  }
};

TEST_F(Moas, GatesAndBranchesAreTheReferences) {
  const SchemeCase c("moas_routed");
  test::TestLayer layer = layer_of(c, {{"scheme", "moas"}, {"mix", "routed"}, {"bias", true}});
  EXPECT_EQ(c.names("param.").size(), layer.parameters.all().size());
  layer.bind(false);
  const Var x = layer.the_graph().constant(c.tensor("in.x"));
  EXPECT_LT(relative_error(value_of(layer.forward({&x, 1})), c.tensor("out.y")), 1e-10);
  for (const std::string& name : c.names("mid.")) {
    ASSERT_TRUE(layer.reported(name)) << name;
    EXPECT_LT(relative_error(value_of(layer.reported(name)), c.tensor("mid." + name)), 1e-10) << name;
  }
}

TEST_F(Moas, BalanceLossAndItsGradientAreTheReferences) {
  const SchemeCase c("moas_routed");
  for (const double weight : {1.0, 0.01}) {
    test::TestLayer layer =
        layer_of(c, {{"scheme", "moas"}, {"mix", "routed"}, {"bias", true}, {"balance_weight", weight}});
    layer.bind(true);
    const Var x = layer.the_graph().watched(c.tensor("in.x"));
    layer.forward({&x, 1});
    const Var loss = layer.reported("balance");
    ASSERT_TRUE(loss);
    EXPECT_NEAR(value_of(loss).scalar(), weight * c.scalar("balance_loss"), 1e-15);

    std::vector<Var> by = layer.parameter_nodes();
    by.push_back(x);
    const auto found = graph::gradients(layer.the_graph(), loss / weight, {}, by, false);
    const auto& all = layer.parameters.all();
    int checked = 0;
    for (size_t i = 0; i < by.size(); ++i) {
      const std::string name = i < all.size() ? all[i].name : "x";
      const graph::Array& gradient = value_of(found[i]);
      if (c.has("grad_balance." + name)) {
        EXPECT_LT(relative_error(gradient, c.tensor("grad_balance." + name)), 1e-8) << name;
        ++checked;
      } else {
        EXPECT_EQ(largest_magnitude(gradient), 0) << name << " does not route";
      }
    }
    EXPECT_EQ(checked, 5);
  }
}

}  // namespace
}  // namespace attnlab::golden
