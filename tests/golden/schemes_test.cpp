// Schemes against the references' outputs, intermediates and gradients of sum(y^2), in float64.
#include <gtest/gtest.h>

#include <functional>

#include "tests/golden/scheme_case.hpp"
#include "tests/support/scheme_layer.hpp"

namespace attnlab::golden {
namespace {

using graph::Array;
using graph::Element;
using graph::value_of;
using io::Json;

struct Golden {
  std::string name;
  Json attention;  ///< the config that does the same
  /// Our array of a reference's parameter, where its name or layout is another; names that are not here are
  /// ours.
  std::map<std::string, std::string> names = {};
  std::map<std::string, std::string> intermediates = {};  ///< "mid.*" -> what the scheme reports
  double tolerance = 1e-10, gradient_tolerance = 1e-8;
};

std::vector<Golden> make_cases() {
  const Json biased = {{"scheme", "mha"}, {"bias", true}};
  auto with = [](Json base, const Json& more) {
    base.merge_patch(more);
    return base;
  };
  const Json latent = {{"scheme", "mla"}, {"bias", true}};
  using Names = std::map<std::string, std::string>;
  const Names latents = {{"k_latent", "k_latent"}, {"v_latent", "v_latent"}, {"k", "k"}, {"v", "v"}};
  Names cut = latents;
  cut.insert({{"v_after_svd", "v_after_svd"}, {"singular_values", "singular_values"}});
  return {
      {"mla_default", latent, {}, latents},
      {"mla_latent_gt_head", with(latent, {{"bias", false}, {"latent_dim", 8}}), {}, latents},
      {"mla_svd_r2",
       with(latent, {{"latent_dim", 4}, {"svd", "reference_noncausal"}, {"svd_rank", 2}}),
       {},
       cut},
      {"mla_svd_fullrank", with(latent, {{"latent_dim", 4}, {"svd", "reference_noncausal"}}), {}, cut},
      {"mla_svd_deficient", with(latent, {{"svd", "reference_noncausal"}, {"svd_rank", 1}}), {}, cut},
      {"mla_deepseek",
       {{"scheme", "mla"},
        {"kind", "deepseek"},
        {"latent_dim", 6},
        {"query_latent_dim", 7},
        {"nope_dim", 4},
        {"rope_dim", 4},
        {"value_dim", 5}},
       {},
       {{"c_kv_cache", "latent"}, {"k_rope_cache", "k_rope"}}},
      {"moas_static", {{"scheme", "moas"}, {"mix", "static"}, {"bias", true}}},
      {"moas_routed",
       {{"scheme", "moas"}, {"mix", "routed"}, {"bias", true}},
       {},
       {{"gates", "gates"},
        {"router_logits", "router_logits"},
        {"avg_gates", "avg_gates"},
        {"o_mha", "o_mha"},
        {"o_gqa", "o_gqa"},
        {"o_mqa", "o_mqa"}}},
      {"csa", biased},
      {"mha", biased},
      {"mqa", with(biased, {{"num_kv_heads", 1}})},
      {"gqa_kv1", with(biased, {{"num_kv_heads", 1}})},
      {"gqa_kv2", with(biased, {{"num_kv_heads", 2}})},
      {"csa_svd_r2", with(biased, {{"svd", "reference_noncausal"}, {"svd_rank", 2}})},
  };
}

plugin::SchemeGeometry geometry_of(const SchemeCase& c) {
  const Json& config = c.config();
  plugin::SchemeGeometry g;
  g.embed_dim = config.value("n_embd", config.value("d_model", int64_t{0}));
  g.query_heads = g.kv_heads = config["n_head"].get<int64_t>();
  g.head_dim = g.value_dim = g.embed_dim / g.query_heads;
  return g;
}

class Schemes : public testing::TestWithParam<Golden> {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(scheme_folder())) GTEST_SKIP() << "needs " << scheme_folder();
  }
};

TEST_P(Schemes, OutputAndGradients) {
  const Golden& golden = GetParam();
  const SchemeCase c(golden.name);
  test::TestLayer layer(golden.attention, geometry_of(c), Element::f64);
  auto our_name = [&](const std::string& name) {
    const auto found = golden.names.find(name);
    return found == golden.names.end() ? name : found->second;
  };
  const auto names = c.names("param.");
  ASSERT_EQ(names.size(), layer.parameters.all().size());
  for (const std::string& name : names)
    layer.parameters.assign(our_name(name), c.tensor("param." + name).to_tensor(), c.name());

  layer.bind(true);
  const Var x = layer.the_graph().watched(c.tensor("in.x"));
  const Var y = layer.forward({&x, 1});
  EXPECT_LT(relative_error(value_of(y), c.tensor("out.y")), golden.tolerance);
  for (const auto& [theirs, ours] : golden.intermediates) {
    const Var value = layer.reported(ours);
    ASSERT_TRUE(value) << ours;
    EXPECT_LT(relative_error(value_of(value), c.tensor("mid." + theirs)), golden.tolerance) << ours;
  }
  std::vector<Var> by = layer.parameter_nodes();
  by.push_back(x);
  const auto found = graph::gradients(layer.the_graph(), sum(y * y), {}, by, false);
  // Softmax does not change when all logits of a row move, so the gradient by a bias of keys is rounding.
  double least = 0;
  for (const std::string& name : names)
    least = std::max(least, 1e-6 * largest_magnitude(c.tensor("grad." + name)));
  EXPECT_LT(relative_error(value_of(found.back()), c.tensor("grad.x")), golden.gradient_tolerance);
  for (const std::string& name : names) {
    const auto& all = layer.parameters.all();
    const auto at =
        std::find_if(all.begin(), all.end(), [&](const auto& p) { return p.name == our_name(name); });
    EXPECT_LT(relative_error(value_of(found[static_cast<size_t>(at - all.begin())]), c.tensor("grad." + name),
                             least),
              golden.gradient_tolerance)
        << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Golden, Schemes, testing::ValuesIn(make_cases()),
                         [](const auto& the_case) { return the_case.param.name; });

}  // namespace
}  // namespace attnlab::golden
