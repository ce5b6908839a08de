// One scheme by itself: operators with and without the host's projections, reports, steps, refusals.
#include <gtest/gtest.h>
#include <attnlab/scheme.hpp>

#include <cmath>

#include "core/cli/layer_pass.hpp"
#include "tests/unit/plugin_test_support.hpp"

namespace attnlab::cli {
namespace {

using graph::Array;
using graph::Element;
using graph::Extents;
using io::Json;

enum class Says { nothing, twice, plane };

/// Causal softmax with a learned temperature; what it reports is told to it.
struct Plain : attnlab::AttentionScheme {
  Says says = Says::nothing;
  static void describe(attnlab::Description<Plain>& d) {
    d.id("plain").summary("Softmax attention.");
    d.parameter("says", &Plain::says).names({"nothing", "twice", "plane"});
  }
  void declare(Declaration& d) const { d.parameter("temperature", {1}, {.rule = "ones"}); }
  Var forward(Context& ctx, Var q, Var k, Var v) const {
    if (says == Says::twice) {
      ctx.report_intermediate("keys", k);
      ctx.report_intermediate("keys", v);
      ctx.report_metric("two", ctx.constant(2));
      ctx.report_loss("three", ctx.constant(3));
    }
    if (says == Says::plane) ctx.report_metric("plane", k);
    return attend(q * ctx.parameter("temperature"), k, v, {.causal = ctx.causal(), .scale = ctx.scale()});
  }
};

/// The same with a step.
struct Stepping : Plain {
  static void describe(attnlab::Description<Stepping>& d) { d.id("stepping").summary("Softmax attention."); }
  Var step(Context& ctx, State& state, Var q, Var k, Var v) const {
    return forward(ctx, q, state.append("k", k), state.append("v", v));
  }
};
ATTNLAB_STATIC_PLUGIN(schemes, Plain, Stepping);

const plugin::Catalog& catalog() {
  static const plugin::Catalog instance = plugin::catalog_of(schemes);
  return instance;
}

/// Numbers that differ, of no pattern.
Array numbers(const Extents& shape, double phase) {
  Array array(Element::f64, shape);
  for (int64_t i = 0; i < array.size(); ++i)
    array.mutable_data<double>()[i] = std::sin(phase + 1.7 * static_cast<double>(i));
  return array;
}

double largest_difference(const Array& a, const Array& b) {
  EXPECT_EQ(a.shape(), b.shape());
  const Array x = a.packed(), y = b.packed();
  double most = 0;
  for (int64_t i = 0; i < x.size(); ++i)
    most = std::max(most, std::abs(x.data<double>()[i] - y.data<double>()[i]));
  return most;
}

LayerPass pass_of(const std::string& attention, const plugin::SchemeGeometry& geometry, bool heads) {
  config::Document document;
  document.set("/attention", Json::parse(attention), {"test.json", "/data"});
  LayerPass pass(config::resolve_layer(document, catalog()), geometry, catalog(), document, heads,
                 Element::f64);
  pass.parameters().initialise(5, 1);
  return pass;
}

plugin::SchemeGeometry geometry() {
  plugin::SchemeGeometry g;
  g.embed_dim = 12, g.query_heads = 4, g.kv_heads = 2, g.head_dim = 3, g.value_dim = 5;
  return g;
}

const std::vector<Array>& heads() {
  static const std::vector<Array> inputs = {numbers({2, 4, 6, 3}, 0), numbers({2, 2, 6, 3}, 1),
                                            numbers({2, 2, 6, 5}, 2)};
  return inputs;
}

TEST(CliLayerPass, AnOperatorRunsBareOnQueriesKeysAndValues) {
  const LayerPass pass = pass_of(R"({"scheme": "plain"})", geometry(), true);
  ASSERT_EQ(pass.parameters().all().size(), 1u) << "none of the host's projections";
  const LayerOutput output = pass.forward(heads(), true);
  EXPECT_EQ(output.output.shape(), (Extents{2, 4, 6, 5}));
  ASSERT_EQ(output.input_gradients.size(), 3u);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(output.input_gradients[i].shape(), heads()[i].shape());
  ASSERT_EQ(output.parameter_gradients.size(), 1u);
  EXPECT_EQ(output.parameter_gradients[0].name, "temperature");

  // The first row sees one key: its output is that value, and the loss has no gradient by that row's query.
  const Array first = output.output.sliced(2, 0, 1).sliced(1, 0, 1), value = heads()[2].sliced(2, 0, 1);
  EXPECT_LT(largest_difference(first, value.sliced(1, 0, 1)), 1e-15);
  const Array by_first = output.input_gradients[0].sliced(2, 0, 1);
  EXPECT_LT(largest_difference(by_first, Array::zeros(Element::f64, by_first.shape())), 1e-15);
}

TEST(CliLayerPass, AnOperatorIsLiftedOverX) {
  const LayerPass pass = pass_of(R"({"scheme": "plain"})", geometry(), false);
  EXPECT_NE(pass.parameters().find("q_proj.weight"), nullptr);
  const std::vector<Array> x = {numbers({2, 6, 12}, 0)};
  const LayerOutput output = pass.forward(x, true);
  EXPECT_EQ(output.output.shape(), (Extents{2, 6, 12}));
  EXPECT_EQ(output.parameter_gradients.size(), pass.parameters().all().size());
  const DecodedOutput decoded = pass.decode(x, output.output);
  EXPECT_LT(decoded.difference, 1e-12);
  EXPECT_EQ(decoded.state_bytes, 2 * 6 * 12 * 8u) << "without a step the host keeps x";
}

TEST(CliLayerPass, DecodingIsTheForward) {
  for (const bool bare : {true, false}) {
    const LayerPass pass = pass_of(R"({"scheme": "stepping"})", geometry(), bare);
    const std::vector<Array> inputs = bare ? heads() : std::vector<Array>{numbers({2, 6, 12}, 0)};
    const LayerOutput output = pass.forward(inputs, false);
    EXPECT_TRUE(output.parameter_gradients.empty());
    const DecodedOutput decoded = pass.decode(inputs, output.output);
    EXPECT_LT(decoded.difference, 1e-12);
    EXPECT_LT(largest_difference(decoded.output, output.output), 1e-12);
    EXPECT_EQ(decoded.state.at("k"), (Extents{2, 2, 6, 3}));
    EXPECT_EQ(decoded.state_bytes, 2 * 2 * 6 * (3 + 5) * 8u);
    EXPECT_GE(decoded.allocated_bytes, decoded.state_bytes);
    const Array other = numbers(output.output.shape(), 4);
    EXPECT_GT(pass.decode(inputs, other).difference, 0.1) << "another output is told apart";
  }
}

TEST(CliLayerPass, WithoutAStepABareOperatorDoesNotDecode) {
  const LayerPass pass = pass_of(R"({"scheme": "plain"})", geometry(), true);
  EXPECT_REFUSED(pass.decode(heads(), pass.forward(heads(), false).output), "plain has no step");
}

TEST(CliLayerPass, ReportsAreSortedAndNumbered) {
  const LayerPass pass = pass_of(R"({"scheme": "plain", "says": "twice"})", geometry(), true);
  const LayerOutput output = pass.forward(heads(), false);
  ASSERT_EQ(output.intermediates.size(), 2u);
  EXPECT_EQ(output.intermediates[0].name, "keys");
  EXPECT_EQ(output.intermediates[1].name, "keys.2");
  EXPECT_EQ(largest_difference(output.intermediates[1].value, heads()[2]), 0);
  using Numbers = std::vector<std::pair<std::string, double>>;
  EXPECT_EQ(output.metrics, (Numbers{{"two", 2}}));
  EXPECT_EQ(output.losses, (Numbers{{"three", 3}}));
}

TEST(CliLayerPass, FailuresNameTheScheme) {
  const LayerPass plane = pass_of(R"({"scheme": "plain", "says": "plane"})", geometry(), true);
  EXPECT_REFUSED(plane.forward(heads(), false), "plain failed in forward");
  EXPECT_REFUSED(plane.forward(heads(), false), "plane of shape [2, 2, 6, 3] where one number belongs");
  // x of other channels than the host's projections: the host's own op refuses.
  const LayerPass lifted = pass_of(R"({"scheme": "plain"})", geometry(), false);
  const std::vector<Array> narrow = {numbers({2, 6, 7}, 0)};
  EXPECT_REFUSED(lifted.forward(narrow, false), "test.json: /attention: plain: forward: ");
}

}  // namespace
}  // namespace attnlab::cli
