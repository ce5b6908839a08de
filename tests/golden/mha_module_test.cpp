// The mha scheme as the module of the reference: attention to another sequence, residual, layer norm,
// metrics.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/golden/scheme_case.hpp"
#include "tests/support/scheme_layer.hpp"

namespace attnlab::golden {
namespace {

using graph::Array;
using graph::Element;
using graph::value_of;

/// Keras' [D, H, d] as our [H d, D].
Array rows_of(const Array& x) {
  return x.reshaped({x.extent(0), -1}).permuted({1, 0}).packed();
}

Array stacked(std::vector<Array> parts) {
  graph::Extents shape = parts[0].shape();
  shape[0] = 0;
  for (const Array& part : parts) shape[0] += part.extent(0);
  Array whole(Element::f64, shape);
  int64_t begin = 0;
  for (const Array& part : parts) {
    Array target = whole.sliced(0, begin, begin + part.extent(0));
    graph::copy_elements(part, target);
    begin += part.extent(0);
  }
  return whole;
}

class MhaModule : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(scheme_folder())) GTEST_SKIP() << "needs " << scheme_folder();
  }
};

TEST_F(MhaModule, IsTheReferencesModule) {
  const SchemeCase c("mha_module");
  plugin::SchemeGeometry geometry;
  geometry.embed_dim = c.config()["dim"].get<int64_t>();
  const io::Json attention = {{"scheme", "mha"},      {"num_heads", 3},       {"key_dim", 4},
                              {"bias", true},         {"norm", "post"},       {"residual", true},
                              {"norm_epsilon", 1e-6}, {"report_scores", true}};
  test::TestLayer layer(attention, geometry, Element::f64);
  auto parameter = [&](const char* name) { return c.tensor(std::string("param.") + name); };
  auto vector = [&](const char* name) { return parameter(name).reshaped({-1}); };
  auto assign = [&](const char* name, const Array& value) {
    layer.parameters.assign(name, value.to_tensor(), "golden");
  };
  assign("c_attn.weight",
         stacked({rows_of(parameter("Wq")), rows_of(parameter("Wk")), rows_of(parameter("Wv"))}));
  assign("c_attn.bias", stacked({vector("bq"), vector("bk"), vector("bv")}));
  assign("c_proj.weight", parameter("Wo").reshaped({12, 12}).permuted({1, 0}));
  assign("c_proj.bias", vector("bo"));
  assign("ln.weight", vector("ln_g"));
  assign("ln.bias", vector("ln_b"));

  layer.bind(true);
  const Var inputs[] = {layer.the_graph().watched(c.tensor("in.query")),
                        layer.the_graph().watched(c.tensor("in.key")),
                        layer.the_graph().watched(c.tensor("in.value"))};
  const Var y = layer.forward(inputs);
  EXPECT_LT(relative_error(value_of(y), c.tensor("out.y")), 1e-10);
  EXPECT_LT(relative_error(value_of(layer.reported("scores")), c.tensor("out.scores")), 1e-10);
  EXPECT_LT(relative_error(value_of(layer.reported("attn_out_before_residual")),
                           c.tensor("mid.attn_out_before_residual")),
            1e-10);
  for (const char* metric : {"attention_entropy", "attention_sparsity", "mean_attention_score"})
    EXPECT_NEAR(value_of(layer.reported(metric)).scalar(), c.scalar(metric), 1e-10) << metric;
  std::vector<Var> by(std::begin(inputs), std::end(inputs));
  for (const Var& node : layer.parameter_nodes()) by.push_back(node);
  const auto found = graph::gradients(layer.the_graph(), sum(y * y), {}, by, false);
  auto gradient = [&](const char* name) { return c.tensor(std::string("grad.") + name); };
  EXPECT_LT(relative_error(value_of(found[0]), gradient("query")), 1e-8);
  EXPECT_LT(relative_error(value_of(found[1]), gradient("key")), 1e-8);
  EXPECT_LT(relative_error(value_of(found[2]), gradient("value")), 1e-8);
  const std::map<std::string, Array> expected = {
      {"c_attn.weight", stacked({rows_of(gradient("Wq")), rows_of(gradient("Wk")), rows_of(gradient("Wv"))})},
      {"c_attn.bias", stacked({gradient("bq").reshaped({-1}), gradient("bk").reshaped({-1}),
                               gradient("bv").reshaped({-1})})},
      {"c_proj.weight", gradient("Wo").reshaped({12, 12}).permuted({1, 0})},
      {"c_proj.bias", gradient("bo").reshaped({-1})},
      {"ln.weight", gradient("ln_g").reshaped({-1})},
      {"ln.bias", gradient("ln_b").reshaped({-1})}};
  ASSERT_EQ(expected.size(), layer.parameters.all().size());
  for (size_t i = 0; i < expected.size(); ++i) {
    const std::string& name = layer.parameters.all()[i].name;
    EXPECT_LT(relative_error(value_of(found[3 + i]), expected.at(name)), 1e-8) << name;
  }
}

/// process_sequence of the reference: one query against lists of keys and values.
TEST_F(MhaModule, OneQueryAgainstLists) {
  const SchemeCase c("mha_module");
  plugin::SchemeGeometry geometry;
  geometry.embed_dim = 12;
  test::TestLayer layer({{"scheme", "mha"}, {"num_heads", 3}, {"key_dim", 4}}, geometry, Element::f64);
  layer.bind(false);
  const Var query = layer.the_graph().constant(c.tensor("in.query").sliced(0, 0, 1)),
            keys = layer.the_graph().constant(c.tensor("in.key").sliced(0, 0, 1)),
            values = layer.the_graph().constant(c.tensor("in.value").sliced(0, 0, 1));
  const Var all[] = {query, keys, values}, one[] = {slice(query, 1, 1, 2), keys, values};
  const Array together = value_of(slice(layer.forward(all), 1, 1, 2)), alone = value_of(layer.forward(one));
  EXPECT_LT(relative_error(alone, together), 1e-13);
  // A key alone gives its value's projection, whatever the query.
  const Var single[] = {query, slice(keys, 1, 0, 1), slice(values, 1, 0, 1)};
  const Array result = value_of(layer.forward(single));
  EXPECT_LT(relative_error(result.sliced(1, 0, 1), result.sliced(1, 2, 3)), 1e-13);
}

}  // namespace
}  // namespace attnlab::golden
