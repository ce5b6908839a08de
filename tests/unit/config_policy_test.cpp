// Policies by layer and query head: what they resolve to, and what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/config/explain.hpp"
#include "core/config/resolve_policy.hpp"
#include "tests/unit/plugin_test_support.hpp"

namespace attnlab::config {
namespace {

using io::Json;
using testing::HasSubstr;

struct Keep : attnlab::Masker {
  int64_t count = 3;
  static void describe(attnlab::Description<Keep>& d) {
    d.id("keep").summary("Keeps keys.");
    d.parameter("count", &Keep::count).range(1, 9);
  }
  void select(const attnlab::Tile&, attnlab::RowWriter&) const {}
};

struct Draw : attnlab::Masker {
  static void describe(attnlab::Description<Draw>& d) { d.id("draw").summary("Samples.").samples(); }
  void select(const attnlab::Tile&, attnlab::RowWriter&) const {}
};

struct Learn : attnlab::Masker {
  static void describe(attnlab::Description<Learn>& d) {
    d.id("learn").summary("Learns from attention.").needs_feedback();
  }
  void select(const attnlab::Tile&, attnlab::RowWriter&) const {}
};

ATTNLAB_STATIC_PLUGIN(methods, Keep, Draw, Learn);

const plugin::Catalog& catalog() {
  static const plugin::Catalog instance = plugin::catalog_of(methods);
  return instance;
}

/// A config with the pipelines main, other, sampled, learned and `mixed`; or with `members` beside them.
Document document_with(const std::string& mixed, const std::string& members = "{}") {
  Json json = Json::parse(R"({"pipelines": {
      "main": [{"masker": "keep", "count": 1}, {"masker": "keep", "name": "more", "count": 2}],
      "mixed": null,
      "other": [{"masker": "keep", "count": 5}],
      "sampled": [{"masker": "draw"}],
      "learned": [{"masker": "learn"}]}, "input": {"workload": "gaussian"}})");
  json["pipelines"]["mixed"] = Json::parse(mixed);
  const Json more = Json::parse(members);
  for (const auto& item : more.items()) json[item.key()] = item.value();
  Document document;
  for (const auto& item : json.items())
    document.set("/" + escape(item.key()), item.value(), {"test.json", "/data"});
  return document;
}

const PipelinePlan& named(const RunPlan& plan, const std::string& name) {
  for (const auto* pipelines : {&plan.pipelines, &plan.helpers}) {
    for (const auto& pipeline : *pipelines) {
      if (pipeline.name == name) return pipeline;
    }
  }
  throw std::out_of_range(name);
}

PipelinePlan policy_of(const std::string& mixed) {
  return named(resolve(document_with(mixed), catalog()), "mixed");
}

/// Name of the variant that a head uses; "" when the policy does not say.
std::string variant_at(const PipelinePlan& plan, int64_t layer, int64_t head) {
  const auto variant = plan.policy->variant_of(layer, head);
  return variant ? plan.policy->variants[*variant].name : "";
}

TEST(ConfigPolicy, LayersNamePipelines) {
  const PipelinePlan plan = policy_of(R"({"layers": {"0,16": "dense", "2-4": "other", "*": "main"}})");
  for (int layer : {0, 16}) EXPECT_EQ(variant_at(plan, layer, 1), "dense");
  for (int layer : {2, 3, 4}) EXPECT_EQ(variant_at(plan, layer, 0), "other");
  for (int layer : {1, 5, 15, 17, 1000}) EXPECT_EQ(variant_at(plan, layer, 7), "main");
  ASSERT_EQ(plan.stages.size(), 3u) << "one of other, two of main, none of dense";
  EXPECT_EQ(plan.stage_label(0), "other/keep");
  EXPECT_EQ(plan.stage_label(2), "main/more");
  EXPECT_EQ(plan.stages[2].pointer, "/pipelines/main/1");
  EXPECT_EQ(policy_of(R"([{"masker": "keep"}])").stage_label(0), "keep");
}

TEST(ConfigPolicy, AVariantIsSharedByTheRulesThatNameIt) {
  const PipelinePlan plan =
      policy_of(R"({"layers": {"0": "main", "1": {"0": "main", "*": "dense"}, "*": "main"}})");
  EXPECT_EQ(plan.policy->variants.size(), 2u);
  EXPECT_EQ(plan.stages.size(), 2u);
}

TEST(ConfigPolicy, StagesMayStandInThePolicy) {
  const PipelinePlan plan = policy_of(
      R"({"layers": {"1": [{"masker": "keep", "count": 7}], "2": {"0": [{"masker": "draw"}], "*": []}, "*": "main"},
          "heads": {"3": [{"masker": "keep"}]}})");
  EXPECT_EQ(variant_at(plan, 1, 0), "layers 1");
  EXPECT_EQ(variant_at(plan, 2, 0), "layers 2 heads 0");
  EXPECT_EQ(variant_at(plan, 2, 5), "layers 2 heads *");
  EXPECT_EQ(variant_at(plan, 0, 3), "heads 3");
  EXPECT_EQ(plan.stage_label(0), "layers 1/keep");
  EXPECT_EQ(plan.stages[0].pointer, "/pipelines/mixed/layers/1/0");
}

/// The heads of a layer's object, then "heads", then the layer's own pipeline.
TEST(ConfigPolicy, Precedence) {
  const PipelinePlan plan = policy_of(
      R"({"layers": {"1": {"0-1": "other"}, "2": {"0": "other", "*": "main"}, "*": "main"}, "heads": {"1-2": "dense"}})");
  EXPECT_EQ(variant_at(plan, 0, 0), "main");
  EXPECT_EQ(variant_at(plan, 0, 1), "dense") << "heads win over the layer's choice";
  EXPECT_EQ(variant_at(plan, 1, 1), "other") << "the heads of a layer win over those of all layers";
  EXPECT_EQ(variant_at(plan, 1, 2), "dense");
  EXPECT_EQ(variant_at(plan, 1, 3), "") << "\"*\" of layers does not speak for a layer that has a rule";
  EXPECT_EQ(variant_at(plan, 2, 1), "main") << "\"*\" in a layer's heads is all of its heads";
  EXPECT_EQ(variant_at(policy_of(R"({"heads": {"0": "dense", "*": "main"}})"), 9, 9), "main");
}

TEST(ConfigPolicy, ResolvingTheResolvedChangesNothing) {
  const Document document = document_with(
      R"({"layers": {"0,2-3": "dense", "4": {"1": [{"masker": "keep"}], "*": "other"}, "*": "main"}, "heads": {"2": "sampled"}})",
      R"({"compare": ["mixed", "dense", "other"]})");
  const RunPlan plan = resolve(document, catalog());
  const Json once = to_json(plan, catalog());
  EXPECT_EQ(
      once["pipelines"]["mixed"].dump(),
      R"({"layers":{"0,2-3":"dense","4":{"1":[{"masker":"keep","name":"keep","count":3,"seed":0}],"*":"other"},"*":"main"},"heads":{"2":"sampled"}})");
  EXPECT_EQ(once["compare"], (Json{"mixed", "dense", "other"}));
  Document again;
  for (const auto& item : once.items()) again.set("/" + escape(item.key()), item.value(), {"r.json", "/"});
  EXPECT_EQ(to_json(resolve(again, catalog()), catalog()).dump(), once.dump());
}

TEST(ConfigPolicy, CompareChoosesAndOrders) {
  const RunPlan plan =
      resolve(document_with(R"({"layers": {"*": "main"}})", R"({"compare": ["other", "mixed", "dense"]})"),
              catalog());
  ASSERT_EQ(plan.pipelines.size(), 3u);
  EXPECT_EQ(plan.pipelines[0].name, "other");
  EXPECT_EQ(plan.pipelines[1].name, "mixed");
  EXPECT_EQ(plan.pipelines[2].name, "dense");
  EXPECT_TRUE(plan.pipelines[2].stages.empty()) << "dense is known without a definition";
  EXPECT_EQ(plan.helpers.size(), 3u);
  EXPECT_EQ(resolve(document_with("[]"), catalog()).pipelines.size(), 5u);
}

TEST(ConfigPolicy, EveryValueIsExplained) {
  const Document document = document_with(
      R"({"layers": {"0": "dense", "1": [{"masker": "keep", "count": 4}], "*": {"*": "main"}}})");
  const auto values = explain(document, resolve(document, catalog()), catalog());
  EXPECT_EQ(at_pointer(values, "/pipelines/mixed/layers/0").at(0).value, "dense");
  EXPECT_EQ(at_pointer(values, "/pipelines/mixed/layers/1/keep/count").at(0).value, 4);
  EXPECT_EQ(at_pointer(values, "/pipelines/mixed/layers/*/*").at(0).value, "main");
  EXPECT_EQ(at_pointer(values, "/pipelines/mixed/layers/0").at(0).parameter.enum_names,
            (std::vector<std::string>{"dense", "main", "other", "sampled", "learned"}));
}

struct Mistaken {
  std::string mixed, members, pointer, words;
};

TEST(ConfigPolicy, MistakesAreLocated) {
  const std::string at = "/pipelines/mixed";
  const std::vector<Mistaken> mistakes = {
      {"{}", "{}", at, "says nothing"},
      {R"({"layer": {}})", "{}", at + "/layer", "did you mean \"layers\"?"},
      {R"({"masker": "keep"})", "{}", at, "put the stage into a list"},
      {R"({"layers": {}})", "{}", at + "/layers", "wrong form"},
      {R"({"layers": ["dense"]})", "{}", at + "/layers", "wrong form"},
      {R"({"layers": {"0": "mian"}})", "{}", at + "/layers/0", "did you mean \"main\"?"},
      {R"({"layers": {"0": 3}})", "{}", at + "/layers/0", "gives a pipeline"},
      {R"({"layers": {"0": "mixed"}})", "{}", at + "/layers/0", "a policy names itself"},
      {R"({"layers": {"0": "second"}})",
       R"({"pipelines": {"main": [], "second": {"heads": {"*": "main"}}, "mixed": {"layers": {"0": "second"}}}})",
       at + "/layers/0", "policies do not nest"},
      {R"({"layers": {"0": {"layers": {"*": "main"}}}})", "{}", at + "/layers/0/layers",
       "policies do not nest"},
      {R"({"layers": {"0": {"1": {"2": "main"}}}})", "{}", at + "/layers/0/1", "policies do not nest"},
      {R"({"layers": {"0": [{"masker": "kepe"}]}})", "{}", at + "/layers/0/0/masker",
       "did you mean \"keep\"?"},
      {R"({"layers": {"0": [{"masker": "draw"}, {"masker": "draw", "name": "b"}]}})", "{}",
       at + "/layers/0/1", "sample"},
      {R"({"layers": {"0-4": "main", "3": "dense"}})", "{}", at + "/layers/3", "two keys name layer 3"},
      {R"({"heads": {"0,2": "main", "1-2": "dense"}})", "{}", at + "/heads/1-2", "two keys name head 2"},
      {R"({"layers": {"0,0": "main"}})", "{}", at + "/layers/0,0", "names 0 twice"},
      {R"({"layers": {"4-2": "main"}})", "{}", at + "/layers/4-2", "a range ascends: 2-4"},
      {R"({"layers": {"0, 16": "main"}})", "{}", at + "/layers/0, 16", "write \"0,16\""},
      {R"({"layers": {"a": "main"}})", "{}", at + "/layers/a", "such as \"0,4-7\""},
      {R"({"layers": {"": "main"}})", "{}", at + "/layers/", "lists layers or heads"},
      {R"({"layers": {"0,*": "main"}})", "{}", at + "/layers/0,*", "lists layers or heads"},
      {R"({"layers": {"-1": "main"}})", "{}", at + "/layers/-1", "lists layers or heads"},
      {R"({"layers": {"9999999": "main"}})", "{}", at + "/layers/9999999", "largest number"},
      {R"({"layers": {"*": "main"}, "heads": {"*": "dense"}})", "{}", at + "/heads/*",
       "hides what \"layers\" says"},
      {"[]", R"({"layers": {"0": "dense"}})", "/layers", "\"pipelines\": {\"mixed\": {\"layers\": {...}}}"},
      {"[]", R"({"heads": {"0": "dense"}})", "/heads", "a policy belongs to a pipeline"},
      {"[]", R"({"compare": ["mixd"]})", "/compare/0", "did you mean \"mixed\"?"},
      {"[]", R"({"compare": ["mixed", "mixed"]})", "/compare/1", "twice"},
  };
  for (const auto& mistake : mistakes) {
    try {
      resolve(document_with(mistake.mixed, mistake.members), catalog());
      ADD_FAILURE() << mistake.mixed << mistake.members;
    } catch (const base::UserError& error) {
      EXPECT_EQ(error.mistake().pointer, mistake.pointer) << error.what();
      EXPECT_THAT(error.what(), HasSubstr(mistake.words));
    }
  }
}

std::string check(const std::string& mixed, const std::vector<int>& run) {
  const Document document = document_with(mixed);
  try {
    check_policy(named(resolve(document, catalog()), "mixed"), document, {0, 1, 2, 3}, run, 4, 2);
  } catch (const base::UserError& error) {
    return error.what();
  }
  return "";
}

TEST(ConfigPolicy, TheInputDecidesWhatExistsAndWhatIsLeftOut) {
  EXPECT_EQ(check(R"({"layers": {"0-2": "dense", "3": {"0-1": "main", "2-3": "other"}}})", {0, 1, 2, 3}), "");
  EXPECT_THAT(check(R"({"layers": {"0,4": "dense", "*": "main"}})", {0}),
              testing::AllOf(HasSubstr("/layers/0,4"), HasSubstr("no such layer"), HasSubstr("found: 4")));
  EXPECT_THAT(check(R"({"layers": {"0": {"4": "dense"}, "*": "main"}})", {0}),
              testing::AllOf(HasSubstr("/layers/0/4"), HasSubstr("no such query head"), HasSubstr("0 to 3")));
  EXPECT_THAT(check(R"({"heads": {"2-5": "dense", "*": "main"}})", {0}), HasSubstr("/heads/2-5"));
  const std::string partial = R"({"layers": {"0,2": "dense"}})";
  EXPECT_EQ(check(partial, {0, 2}), "") << "layer 1 is not run";
  EXPECT_THAT(check(partial, {0, 1, 2}),
              testing::AllOf(HasSubstr("layer 1, head 0"), HasSubstr("add \"*\" to \"layers\"")));
  EXPECT_THAT(check(R"({"heads": {"0-2": "dense"}})", {0}),
              testing::AllOf(HasSubstr("layer 0, head 3"), HasSubstr("\"heads\"")));
}

/// What a KV head's keys receive is the sum over its query heads.
TEST(ConfigPolicy, FeedbackNeedsAllHeadsOfAKvHead) {
  EXPECT_EQ(check(R"({"heads": {"0-1": "learned", "*": "main"}})", {0}), "");
  EXPECT_THAT(check(R"({"heads": {"0-2": "learned", "*": "main"}})", {1}),
              HasSubstr("layer 1: heads 2 and 3 of KV head 1"));
  EXPECT_EQ(check(R"({"layers": {"0": {"0-2": "learned", "*": "main"}, "*": "main"}})", {1}), "")
      << "layer 0 is not run";
}

}  // namespace
}  // namespace attnlab::config
