// Document -> LayerPlan -> extents: defaults, errors with places, and the fixpoint.
#include <gtest/gtest.h>
#include <attnlab/scheme.hpp>

#include "core/config/layer_plan.hpp"
#include "tests/support/documents.hpp"
#include "tests/unit/plugin_test_support.hpp"

namespace attnlab::config {
namespace {

using io::Json;
using test::document_of;

struct Keeps : attnlab::AttentionScheme {
  int64_t rank = 3;
  static void describe(attnlab::Description<Keeps>& d) {
    d.id("keeps").summary("Returns its values.");
    d.parameter("rank", &Keeps::rank).at_least(1);
  }
  Var forward(Context&, Var, Var, Var v) const { return v; }
};
ATTNLAB_STATIC_PLUGIN(schemes, Keeps);

const plugin::Catalog& catalog() {
  static const plugin::Catalog instance = plugin::catalog_of(schemes);
  return instance;
}

Json layer_with(const std::string& members) {
  Json json = {{"attention", {{"scheme", "keeps"}}}};
  json.update(Json::parse(members));
  return json;
}

plugin::SchemeGeometry geometry_of(const Json& json, const InputExtents& input) {
  const Document document = document_of(json);
  return layer_geometry(resolve_layer(document, catalog()), document, input);
}

base::UserError mistake_of(const Json& json, const InputExtents& input) {
  try {
    geometry_of(json, input);
  } catch (const base::UserError& error) {
    return error;
  }
  ADD_FAILURE() << "accepted: " << json;
  return base::UserError("accepted");
}

constexpr InputExtents channels_16{.channels = 16};

TEST(ConfigLayerPlan, ExtentsFollowFromTheInput) {
  const auto one = geometry_of(layer_with("{}"), channels_16);
  EXPECT_EQ(one.embed_dim, 16);
  EXPECT_EQ(one.query_heads, 1);
  EXPECT_EQ(one.kv_heads, 1);
  EXPECT_EQ(one.head_dim, 16);
  EXPECT_EQ(one.value_dim, 16);
  EXPECT_TRUE(one.causal);
  EXPECT_EQ(one.scale, 0) << "the scheme's default";

  const auto four = geometry_of(
      layer_with(R"({"query_heads": 4, "kv_heads": 2, "value_dim": 7, "causal": false, "scale": 0.5})"),
      channels_16);
  EXPECT_EQ(four.kv_heads, 2);
  EXPECT_EQ(four.head_dim, 4);
  EXPECT_EQ(four.value_dim, 7);
  EXPECT_FALSE(four.causal);
  EXPECT_EQ(four.scale, 0.5);

  const auto wide =
      geometry_of(layer_with(R"({"query_heads": 3, "head_dim": 5, "embed_dim": 20})"), channels_16);
  EXPECT_EQ(wide.embed_dim, 20) << "the config's wins: the scheme decides whether x fits";
  EXPECT_EQ(wide.head_dim, 5);
  EXPECT_EQ(wide.value_dim, 5);
  EXPECT_EQ(wide.kv_heads, 3);
}

TEST(ConfigLayerPlan, HeadsOfQueriesAndKeysFixTheExtents) {
  const InputExtents heads{.query_heads = 6, .kv_heads = 2, .head_dim = 8, .value_dim = 4};
  const auto g = geometry_of(layer_with(R"({"query_heads": 6})"), heads);
  EXPECT_EQ(g.query_heads, 6);
  EXPECT_EQ(g.kv_heads, 2);
  EXPECT_EQ(g.head_dim, 8);
  EXPECT_EQ(g.value_dim, 4);
  EXPECT_EQ(g.embed_dim, 24);
  for (const char* key : {"query_heads", "kv_heads", "head_dim", "value_dim"}) {
    const auto error = mistake_of(layer_with(std::string("{\"") + key + "\": 3}"), heads);
    EXPECT_EQ(error.mistake().pointer, std::string("/") + key);
    EXPECT_EQ(error.mistake().found, "3");
  }
}

TEST(ConfigLayerPlan, NullMeansTheDefault) {
  const auto g = geometry_of(layer_with(R"({"query_heads": 4, "kv_heads": null, "head_dim": null,
                                            "value_dim": null, "embed_dim": null, "scale": null})"),
                             channels_16);
  EXPECT_EQ(g.kv_heads, 4);
  EXPECT_EQ(g.head_dim, 4);
  EXPECT_EQ(g.embed_dim, 16);
  EXPECT_EQ(mistake_of(layer_with(R"({"causal": null})"), channels_16).mistake().pointer, "/causal");
}

TEST(ConfigLayerPlan, ResolvingTheResolvedConfigChangesNothing) {
  const Document document = document_of(layer_with(
      R"({"title": "t", "query_heads": 4, "kv_heads": 2, "seed": 9, "scale": 0.5, "plugin_path": ["p"],
          "lift": {"rope": true}})"));
  const LayerPlan plan = resolve_layer(document, catalog());
  ASSERT_TRUE(plan.lift);
  EXPECT_TRUE(plan.lift->rope);
  EXPECT_FALSE(plan.lift->bias);
  EXPECT_EQ(plan.lift->rope_theta, 10000);
  EXPECT_EQ(plan.seed, 9u);
  EXPECT_EQ(plan.plugin_path, std::vector<std::string>{"/data/p"});
  const Json resolved = to_json(plan, layer_geometry(plan, document, channels_16), catalog());
  EXPECT_EQ(resolved["attention"]["rank"], 3);
  EXPECT_EQ(resolved["embed_dim"], 16);
  const Document again = document_of(resolved);
  const LayerPlan second = resolve_layer(again, catalog());
  EXPECT_EQ(to_json(second, layer_geometry(second, again, channels_16), catalog()), resolved);
}

TEST(ConfigLayerPlan, MistakesSayWhereAndWhatInstead) {
  struct Case {
    Json json;
    const char *pointer, *words;
  };
  const Case cases[] = {
      {layer_with(R"({"query_head": 4})"), "/query_head", "did you mean \"query_heads\"?"},
      {layer_with(R"({"pipelines": {}})"), "/pipelines", "unknown key"},
      {layer_with(R"({"query_heads": 3})"), "/query_heads", "a divisor of embed_dim, 16"},
      {layer_with(R"({"query_heads": 4, "kv_heads": 3})"), "/kv_heads", "a divisor of query_heads, 4"},
      {layer_with(R"({"query_heads": 0})"), "/query_heads", "out of range"},
      {layer_with(R"({"query_heads": "4"})"), "/query_heads", "without quotes"},
      {layer_with(R"({"embed_dim": 1.5})"), "/embed_dim", "wrong type"},
      {layer_with(R"({"scale": 0})"), "/scale", "out of range"},
      {layer_with(R"({"causal": "yes"})"), "/causal", "wrong type"},
      {layer_with(R"({"lift": {"ropes": true}})"), "/lift/ropes", "did you mean \"rope\"?"},
      {layer_with(R"({"lift": null})"), "/lift", "wrong type"},
      {layer_with(R"({"lift": {"rope_theta": 1}})"), "/lift/rope_theta", "out of range"},
      {layer_with(R"({"head_dim": 5, "lift": {"rope": true}})"), "/lift/rope", "an even head_dim"},
      {layer_with(R"({"attention": "keeps"})"), "/attention", "names its scheme"},
      {layer_with(R"({"attention": {"scheme": "keep"}})"), "/attention/scheme", "did you mean \"keeps\"?"},
      {layer_with(R"({"attention": {"scheme": "keeps", "rnk": 1}})"), "/attention/rnk",
       "did you mean \"rank\"?"},
      {layer_with(R"({"attention": {"scheme": "keeps", "rank": 0}})"), "/attention/rank", "out of range"},
  };
  for (const auto& [json, pointer, words] : cases) {
    const base::UserError error = mistake_of(json, channels_16);
    EXPECT_EQ(error.mistake().pointer, pointer) << error.what();
    EXPECT_EQ(error.mistake().file, "test.json") << error.what();
    EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
  }
  EXPECT_NE(std::string(mistake_of(Json{{"seed", 1}}, channels_16).what()).find("no \"attention\""),
            std::string::npos);
}

TEST(ConfigLayerPlan, KeysOfOperatorsAreRefusedForLayers) {
  for (const char* members : {R"({"lift": {}})", R"({"scale": 2})"}) {
    const Document document = document_of(layer_with(members));
    const LayerPlan plan = resolve_layer(document, catalog());
    EXPECT_NO_THROW(check_operator_keys(plan, document, true));
    EXPECT_REFUSED(check_operator_keys(plan, document, false), "is for operators");
  }
  const Document plain = document_of(layer_with("{}"));
  EXPECT_NO_THROW(check_operator_keys(resolve_layer(plain, catalog()), plain, false));
}

}  // namespace
}  // namespace attnlab::config
