// Latent attention: what the golden cases say beyond outputs and gradients of the forward (schemes_test.cpp):
// accounting, decoding, caches and the randomised SVD.
#include <gtest/gtest.h>

#include <attnlab/scheme.hpp>

#include "core/base/error.hpp"
#include "tests/golden/scheme_case.hpp"
#include "tests/support/scheme_layer.hpp"

namespace attnlab::golden {
namespace {

using graph::Array;
using graph::Element;
using graph::value_of;
using io::Json;

plugin::SchemeGeometry geometry_of(const SchemeCase& c) {
  const Json& config = c.config();
  plugin::SchemeGeometry g;
  g.embed_dim = config.value("n_embd", config.value("d_model", int64_t{0}));
  g.query_heads = g.kv_heads = config["n_head"].get<int64_t>();
  g.head_dim = g.value_dim = g.embed_dim / g.query_heads;
  return g;
}

Json attention_of(const SchemeCase& c) {
  const Json& config = c.config();
  if (c.name() == "mla_deepseek") {
    return {{"scheme", "mla"},
            {"kind", "deepseek"},
            {"latent_dim", config["d_c"]},
            {"query_latent_dim", config["d_cq"]},
            {"nope_dim", config["d_nope"]},
            {"rope_dim", config["d_rope"]},
            {"value_dim", config["d_v"]}};
  }
  Json attention = {{"scheme", "mla"}, {"bias", config["bias"]}};
  if (!config["mla_latent_dim"].is_null()) attention["latent_dim"] = config["mla_latent_dim"];
  if (config["use_svd"].get<bool>()) attention["svd"] = "reference_noncausal";
  if (!config["svd_rank"].is_null()) attention["svd_rank"] = config["svd_rank"];
  return attention;
}

/// The case's layer with its parameters, bound without gradients.
std::unique_ptr<test::TestLayer> layer_of(const SchemeCase& c, const Json& more = Json::object()) {
  Json attention = attention_of(c);
  attention.merge_patch(more);
  auto layer = std::make_unique<test::TestLayer>(attention, geometry_of(c), Element::f64);
  for (const std::string& name : c.names("param."))
    layer->parameters.assign(name, c.tensor("param." + name).to_tensor(), c.name());
  layer->bind(false);
  return layer;
}

Array decoded(test::TestLayer& layer, model::LayerState& state, const Array& x) {
  std::vector<Var> parts;
  for (int64_t t = 0; t < x.extent(1); ++t)
    parts.push_back(layer.step(state, layer.the_graph().constant(x.sliced(1, t, t + 1))));
  return value_of(concat(parts, 1));
}

class MlaGolden : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(scheme_folder())) GTEST_SKIP() << "needs " << scheme_folder();
  }
};

const std::vector<std::string> kSeedCases = {"mla_default", "mla_latent_gt_head", "mla_svd_r2",
                                             "mla_svd_fullrank", "mla_svd_deficient"};

TEST_F(MlaGolden, CountsWhatTheReferenceReportsAndWhatThereIs) {
  for (const std::string& name : kSeedCases) {
    const SchemeCase c(name);
    const auto layer = layer_of(c);
    const Var x = layer->the_graph().constant(c.tensor("in.x"));
    layer->forward({&x, 1});
    auto metric = [&](const std::string& key) { return value_of(layer->reported(key)).scalar(); };
    EXPECT_NEAR(metric("compression_ratio_reported"), c.scalar("compression_ratio_reported"), 1e-12) << name;
    EXPECT_NEAR(metric("compression_ratio_actual"), c.scalar("compression_ratio_actual"), 1e-12) << name;
    EXPECT_NEAR(metric("memory_savings_reported"), c.scalar("memory_savings_reported_T1024"), 1e-12) << name;
  }
}

TEST_F(MlaGolden, DecodesTheCausalCases) {
  for (const char* name : {"mla_default", "mla_latent_gt_head", "mla_deepseek"}) {
    for (const bool absorb : {true, false}) {
      const SchemeCase c(name);
      const auto layer = layer_of(c, {{"absorb", absorb}});
      model::LayerState state;
      EXPECT_LT(relative_error(decoded(*layer, state, c.tensor("in.x")), c.tensor("out.y")), 1e-12) << name;
    }
  }
}

/// The cut over the whole sequence reads the future exactly where the reference does.
TEST_F(MlaGolden, CutOverTheSequenceLeaksTheFuture) {
  for (const std::string& name : kSeedCases) {
    const SchemeCase c(name);
    const auto layer = layer_of(c);
    const Array x = c.tensor("in.x").packed();
    const int64_t half = x.extent(1) / 2;
    Array changed(Element::f64, x.shape());
    graph::copy_elements(x, changed);
    Array future = changed.sliced(1, half, x.extent(1));
    graph::copy_elements(x.sliced(1, 0, half), future);
    auto past_of = [&](const Array& in) {
      const Var input = layer->the_graph().constant(in);
      return value_of(layer->forward({&input, 1})).sliced(1, 0, half);
    };
    const double leak = relative_error(past_of(changed), past_of(x));
    EXPECT_EQ(leak > 1e-3, c.scalar("future_leak") > 1e-3) << name << ": " << leak;
    model::LayerState state;
    if (c.config()["use_svd"].get<bool>()) {
      EXPECT_THROW(decoded(*layer, state, x), base::UserError);
    } else {
      EXPECT_EQ(leak, 0) << name;
    }
  }
}

TEST_F(MlaGolden, DeepSeekCachesTheNormedLatentAndTheRotatedKey) {
  const SchemeCase c("mla_deepseek");
  const auto layer = layer_of(c);
  const Array x = c.tensor("in.x");
  const int64_t tokens = x.extent(1), batch = x.extent(0), latent = 6, rope = 4;
  model::LayerState state;
  const Array y = decoded(*layer, state, x);
  EXPECT_LT(
      relative_error(y.sliced(1, tokens - 1, tokens).reshaped({batch, -1}), c.tensor("out.y_last_absorbed")),
      1e-12);
  EXPECT_EQ(state.bytes(), static_cast<uint64_t>(batch * tokens * (latent + rope)) * sizeof(double));
  const attnlab_scheme_state table = state.table(layer->the_graph());
  const State kept(layer->the_graph().table(), &table);
  EXPECT_LT(relative_error(value_of(kept.get("latent")), c.tensor("mid.c_kv_cache")), 1e-12);
  EXPECT_LT(relative_error(value_of(kept.get("k_rope")), c.tensor("mid.k_rope_cache")), 1e-12);
  Var last;
  for (const model::Report& report : layer->reports) {
    if (report.name == "q_absorbed") last = report.value;
  }
  EXPECT_LT(relative_error(value_of(last).reshaped({batch, 2, latent}), c.tensor("mid.q_absorbed_last")),
            1e-12);
}

TEST_F(MlaGolden, RandomisedSvdWithTheOraclesDirections) {
  const SchemeCase c("rsvd_oracle");
  const graph::Graph g(Element::f64);
  const Var a = g.constant(c.tensor("in.a")), omega = g.constant(c.tensor("in.omega"));
  const auto rank = c.config()["rank"].get<int64_t>();
  const Var best = apply("low_rank", {a}, {{"rank", rank}});
  EXPECT_LT(relative_error(value_of(best), c.tensor("out.best_rank5")), 1e-10);
  auto distance = [&](const Var& b) { return std::sqrt(value_of(sum((a - b) * (a - b))).scalar()); };
  for (const int64_t q : {0, 1, 2}) {
    const std::string suffix = "_q" + std::to_string(q);
    const Var found = apply("randomised_low_rank", {a, omega}, {{"rank", rank}, {"power_iterations", q}});
    EXPECT_LT(relative_error(value_of(found), c.tensor("out.recon" + suffix)), 1e-10) << q;
    const Array s = value_of(apply("singular_values", {found})).sliced(0, 0, rank);
    EXPECT_LT(relative_error(s, c.tensor("out.s" + suffix)), 1e-10) << q;
    EXPECT_NEAR(distance(found) / distance(best) - 1, c.scalar("excess_error" + suffix), 1e-10) << q;
  }
}

}  // namespace
}  // namespace attnlab::golden
