// Document -> RunPlan -> resolved document: defaults, errors with places, and the fixpoint.
#include <gtest/gtest.h>

#include "core/config/run_plan.hpp"
#include "core/config/schema.hpp"
#include "tests/support/documents.hpp"
#include "tests/unit/plugin_test_support.hpp"

namespace attnlab::config {
namespace {

using io::Json;
using plugin::Size;
using test::document_of;

enum class Shape { round, square };

struct Fixed : attnlab::Masker {
  attnlab::CountOrFraction size = 0.25;
  attnlab::Offset offset = 0;
  int64_t count = 3;
  double share = 0.5;
  bool flag = true;
  Shape shape = Shape::square;
  std::string word = "w";
  std::vector<double> list = {0.5, 1};
  attnlab::Path file;
  static void describe(attnlab::Description<Fixed>& d) {
    d.id("fixed").summary("Every type.");
    d.parameter("size", &Fixed::size);
    d.parameter("offset", &Fixed::offset);
    d.parameter("count", &Fixed::count).range(1, 9);
    d.parameter("portion", &Fixed::share);
    d.parameter("flag", &Fixed::flag);
    d.parameter("shape", &Fixed::shape).names({"round", "square"});
    d.parameter("word", &Fixed::word);
    d.parameter("list", &Fixed::list);
    d.parameter("file", &Fixed::file);
  }
  void select(const attnlab::Tile&, attnlab::RowWriter&) const {}
};

struct Needy : attnlab::Masker {
  int64_t budget = 0, seed = 11;
  static void describe(attnlab::Description<Needy>& d) {
    d.id("needy").summary("Requires a budget, samples, has its own seed.").samples();
    d.parameter("budget", &Needy::budget).required();
    d.parameter("seed", &Needy::seed);
  }
  void select(const attnlab::Tile&, attnlab::RowWriter&) const {}
};

template <int Number>
struct Ranker : attnlab::Scorer {
  static void describe(attnlab::Description<Ranker>& d) {
    const char* ids[] = {"rank_k", "rank_p", "rank_importance"};
    const char* selectors[] = {"top_k", "top_p", "importance"};
    d.id(ids[Number]).summary("Ranks.").selector(selectors[Number]);
  }
  void score(const attnlab::Tile&, attnlab::Scores&) const {}
};

struct OwnName : attnlab::Masker {
  int64_t name = 1;
  static void describe(attnlab::Description<OwnName>& d) {
    d.id("own_name").summary("Its parameter has the name of a key of the host.");
    d.parameter("name", &OwnName::name);
  }
  void select(const attnlab::Tile&, attnlab::RowWriter&) const {}
};

struct OwnShare : attnlab::Scorer {
  double share = 1;
  static void describe(attnlab::Description<OwnShare>& d) {
    d.id("own_share").summary("Its parameter has the name of a selector's key.").selector("top_k");
    d.parameter("share", &OwnShare::share);
  }
  void score(const attnlab::Tile&, attnlab::Scores&) const {}
};

ATTNLAB_STATIC_PLUGIN(methods, Fixed, Needy, Ranker<0>, Ranker<1>);
ATTNLAB_STATIC_PLUGIN(importance_method, Ranker<2>);
ATTNLAB_STATIC_PLUGIN(own_name_method, OwnName);
ATTNLAB_STATIC_PLUGIN(own_share_method, OwnShare);

const plugin::Catalog& catalog() {
  static const plugin::Catalog instance = plugin::catalog_of(methods);
  return instance;
}

/// A config with one stage, or with other members than the usual ones.
Json with_stage(const std::string& stage) {
  return Json{{"pipelines", {{"main", Json::array({Json::parse(stage)})}}},
              {"input", {{"workload", "gaussian"}}}};
}
Json with_members(const std::string& members) {
  Json json{{"pipelines", {{"dense", Json::array()}}}, {"input", {{"workload", "gaussian"}}}};
  json.update(Json::parse(members));
  return json;
}

RunPlan resolved(const Json& json) {
  return resolve(document_of(json), catalog());
}
StagePlan stage(const std::string& json) {
  return resolved(with_stage(json)).pipelines.at(0).stages.at(0);
}

base::UserError mistake_of(const Json& json, const plugin::Catalog& methods_of = catalog()) {
  try {
    resolve(document_of(json), methods_of);
  } catch (const base::UserError& error) {
    return error;
  }
  return base::UserError("resolved");
}

TEST(ConfigResolve, FillsInDefaults) {
  const RunPlan plan = resolved(with_members("{}"));
  EXPECT_EQ(plan.mode, Mode::prefill);
  EXPECT_EQ(plan.seed, 0u);
  EXPECT_FALSE(plan.queries);
  EXPECT_TRUE(plan.layers.empty());
  EXPECT_TRUE(plan.heads.empty());
  EXPECT_FALSE(plan.attention.causal);
  EXPECT_FALSE(plan.attention.scale);
  EXPECT_EQ(plan.attention.on_empty_row, EmptyRow::error);
  EXPECT_TRUE(plan.pipelines.at(0).stages.empty());
  EXPECT_EQ(plan.input.workload.kind, "gaussian");
  EXPECT_EQ(plan.input.workload.keys, WorkloadSpec{}.keys);
}

TEST(ConfigResolve, ReadsWhatIsGiven) {
  const RunPlan plan = resolved(with_members(R"({
      "title": "t", "mode": "question", "queries": 7, "layers": [3, 1, 3], "heads": [5], "seed": 9,
      "attention": {"causal": false, "scale": 0.125, "on_empty_row": "dense"},
      "input": {"workload": "needle", "keys": 100, "queries": 10, "depths": [0, 0.5], "needle_mass": 0.25, "seed": 4}})"));
  EXPECT_EQ(plan.title, "t");
  EXPECT_EQ(plan.mode, Mode::question);
  EXPECT_EQ(plan.queries, 7);
  EXPECT_EQ(plan.layers, (std::vector<int64_t>{1, 3}));
  EXPECT_EQ(plan.heads, (std::vector<int64_t>{5}));
  EXPECT_EQ(plan.seed, 9u);
  EXPECT_EQ(plan.attention.causal, false);
  EXPECT_EQ(plan.attention.scale, 0.125);
  EXPECT_EQ(plan.attention.on_empty_row, EmptyRow::dense);
  EXPECT_EQ(plan.input.workload.depths, (std::vector<double>{0, 0.5}));
  EXPECT_EQ(plan.input.workload.needle_mass, 0.25);
  EXPECT_EQ(plan.input.workload.seed, 4u);
}

TEST(ConfigResolve, StagesGetDefaultsInTableOrder) {
  const StagePlan plan = stage(R"({"masker": "fixed", "offset": "50%", "file": "w.npz", "shape": "round"})");
  EXPECT_EQ(plan.name, "fixed");
  EXPECT_EQ(plan.pointer, "/pipelines/main/0");
  EXPECT_FALSE(plan.selector);
  ASSERT_EQ(plan.values.size(), 9u);
  EXPECT_EQ(plan.values[0].as<Size>(), (Size{true, 0, 0.25}));
  EXPECT_EQ(plan.values[1].as<Size>(), (Size{true, 0, 0.5}));
  EXPECT_EQ(plan.values[2].as<int64_t>(), 3);
  EXPECT_EQ(plan.values[5].as<std::string>(), "round");
  EXPECT_EQ(plan.values[8].as<std::string>(), "/data/w.npz") << "relative to the file that names it";
  EXPECT_FALSE(stage(R"({"masker": "fixed"})").values[8].is_set());
  EXPECT_EQ(stage(R"({"masker": "fixed", "name": "n", "seed": 5})").name, "n");
  EXPECT_EQ(stage(R"({"masker": "fixed", "seed": 5})").seed, 5u);
  EXPECT_EQ(stage(R"({"masker": "needy", "budget": 1, "seed": 6})").values[1].as<int64_t>(), 6)
      << "a method's own seed wins over the stage's";
}

TEST(ConfigResolve, SelectorsFollowTheMethodOrTheConfig) {
  const StagePlan top_k = stage(R"({"masker": "rank_k", "heavy_size": 0.1})");
  ASSERT_TRUE(top_k.selector);
  EXPECT_EQ(top_k.selector->kind, SelectorPlan::Kind::top_k);
  EXPECT_EQ(top_k.selector->heavy_size, (Size{true, 0, 0.1}));
  EXPECT_EQ(top_k.selector->share, SelectorPlan::Share::query_head);
  const StagePlan top_p = stage(R"({"masker": "rank_p", "top_p": 0.9, "of": "total", "share": "kv_group"})");
  EXPECT_EQ(top_p.selector->kind, SelectorPlan::Kind::top_p);
  EXPECT_TRUE(top_p.selector->of_total);
  EXPECT_EQ(top_p.selector->share, SelectorPlan::Share::kv_group);
  const StagePlan other =
      stage(R"({"masker": "rank_p", "select": "threshold", "threshold": -1, "reduce": "mean"})");
  EXPECT_EQ(other.selector->kind, SelectorPlan::Kind::threshold);
  EXPECT_EQ(other.selector->threshold, -1);
  EXPECT_EQ(other.selector->reduce, SelectorPlan::Reduce::mean);
}

TEST(ConfigResolve, MistakesSayWhereAndWhatInstead) {
  struct Case {
    Json json;
    const char *pointer, *words;
  };
  const Case cases[] = {
      {with_members(R"({"sed": 1})"), "/sed", "did you mean \"seed\"?"},
      {with_members(R"({"attention": {"causl": true}})"), "/attention/causl", "did you mean \"causal\"?"},
      {with_members(R"({"attention": []})"), "/attention", "wrong type"},
      {with_members(R"({"attention": {"scale": 0}})"), "/attention/scale", "out of range"},
      {with_members(R"({"mode": "decod"})"), "/mode", "did you mean \"decode\"?"},
      {with_members(R"({"seed": -1})"), "/seed", "out of range"},
      {with_members(R"({"queries": 0})"), "/queries", "out of range"},
      {with_members(R"({"layers": [0, "x"]})"), "/layers/1", "wrong type"},
      {with_members(R"({"mode": "decode", "attention": {"causal": false}})"), "/attention/causal",
       "decode is causal"},
      {with_members(R"({"pipelines": {}})"), "/pipelines", "names its pipelines"},
      {with_members(R"({"pipelines": []})"), "/pipelines", "names its pipelines"},
      {with_members(R"({"pipelines": {"a/b": []}})"), "/pipelines/a~1b", "names a folder"},
      {with_members(R"({"pipelines": {"..": []}})"), "/pipelines/..", "names a folder"},
      {with_members(R"({"pipelines": {"a": {}}})"), "/pipelines/a", "a policy says nothing"},
      {with_members(R"({"pipelines": {"a": 3}})"), "/pipelines/a", "wrong type"},
      {with_stage(R"("fixed")"), "/pipelines/main/0", "names its masker"},
      {with_stage(R"({"masker": 3})"), "/pipelines/main/0/masker", "wrong type"},
      {with_stage(R"({"masker": "fixd"})"), "/pipelines/main/0/masker", "did you mean \"fixed\"?"},
      {with_stage(R"({"masker": "fixed", "siz": 3})"), "/pipelines/main/0/siz", "did you mean \"size\"?"},
      {with_stage(R"({"masker": "fixed", "count": 10})"), "/pipelines/main/0/count", "[1, 9]"},
      {with_stage(R"({"masker": "fixed", "list": [0.5, []]})"), "/pipelines/main/0/list/1", "wrong type"},
      {with_stage(R"({"masker": "fixed", "name": "a b"})"), "/pipelines/main/0/name", "names a folder"},
      {with_stage(R"({"masker": "fixed", "select": "top_k"})"), "/pipelines/main/0/select", "unknown key"},
      {with_stage(R"({"masker": "needy"})"), "/pipelines/main/0", "required key \"budget\""},
      {with_stage(R"({"masker": "rank_k"})"), "/pipelines/main/0", "required key \"heavy_size\""},
      {with_stage(R"({"masker": "rank_k", "heavy_size": 3, "top_p": 0.5})"), "/pipelines/main/0/top_p",
       "unknown key"},
      {with_stage(R"({"masker": "rank_k", "select": "top_p", "heavy_size": 3})"),
       "/pipelines/main/0/heavy_size", "unknown key"},
      {with_stage(R"({"masker": "rank_k", "select": "best", "heavy_size": 3})"), "/pipelines/main/0/select",
       "\"top_k\" | \"top_p\" | \"threshold\""},
      {with_members(R"({"input": {}})"), "/input", "one of four kinds"},
      {with_members(R"({"input": {"trce": "x"}})"), "/input", "did you mean \"trace\"?"},
      {with_members(R"({"input": {"trace": "x", "npz": "y"}})"), "/input", "not trace and npz"},
      {with_members(R"({"input": {"trace": 1}})"), "/input", "one of four kinds"},
      {with_members(R"({"input": {"trace": "x", "keys": 1}})"), "/input/keys", "unknown key"},
      {with_members(R"({"input": {"workload": "needles"}})"), "/input/workload", "did you mean \"needle\"?"},
      {with_members(R"({"input": {"workload": "gaussian", "alpha": 1}})"), "/input/alpha", "unknown key"},
      {with_members(R"({"input": {"workload": "gaussian", "query_heads": 7}})"), "/input/query_heads",
       "groups"},
      {with_members(R"({"input": {"workload": "gaussian", "keys": 8, "queries": 9}})"), "/input/queries",
       "more queries than keys"},
      {with_members(R"({"input": {"workload": "gaussian", "keys": 1099511627776}})"), "/input/keys",
       "out of range"},
      {with_members(R"({"input": {"workload": "needle", "depths": [0.5, 1.5]}})"), "/input/depths/1",
       "out of range"},
  };
  for (const auto& [json, pointer, words] : cases) {
    const base::UserError error = mistake_of(json);
    EXPECT_EQ(error.mistake().pointer, pointer) << error.what();
    EXPECT_EQ(error.mistake().file, "test.json") << error.what();
    EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
  }
  Json missing = with_members("{}");
  missing.erase("input");
  EXPECT_EQ(mistake_of(missing).mistake().pointer, "/input");
  missing.erase("pipelines");
  EXPECT_EQ(mistake_of(missing).mistake().pointer, "/pipelines");
}

TEST(ConfigResolve, AnUnknownMaskerIsAMissingPlugin) {
  EXPECT_EQ(mistake_of(with_stage(R"({"masker": "fixd"})")).exit(), base::Exit::plugin_missing);
  EXPECT_EQ(mistake_of(with_stage(R"({"masker": "fixed", "siz": 3})")).exit(), base::Exit::invalid);
}

TEST(ConfigResolve, StagesOfAPipelineHaveNamesOfTheirOwnAndOneSamples) {
  const auto pipeline = [](const char* stages) {
    return with_members(std::string(R"({"pipelines": {"p": )") + stages + "}}");
  };
  const base::UserError same = mistake_of(pipeline(R"([{"masker": "fixed"}, {"masker": "fixed"}])"));
  EXPECT_EQ(same.mistake().pointer, "/pipelines/p/1");
  EXPECT_EQ(resolved(pipeline(R"([{"masker": "fixed"}, {"masker": "fixed", "name": "b"}])"))
                .pipelines[0]
                .stages.size(),
            2u);
  const base::UserError samplers = mistake_of(
      pipeline(R"([{"masker": "needy", "budget": 1}, {"masker": "needy", "budget": 2, "name": "b"}])"));
  EXPECT_NE(samplers.summary().find("sample"), std::string::npos);
  EXPECT_EQ(samplers.mistake().found, "needy and b");
}

/// What a plugin declares is refused with the plugin or in `resolve`, never an exception of the standard
/// library that tells a user nothing.
TEST(ConfigResolve, MethodsThatClashWithTheHostAreRefused) {
  const auto outcome = [](const attnlab_plugin_entry& entry, const std::string& stage_json) -> std::string {
    plugin::Catalog clashing;
    try {
      clashing = plugin::catalog_of(entry);
    } catch (const std::runtime_error&) {
      return "refused";
    }
    try {
      resolve(document_of(with_stage(stage_json)), clashing);
    } catch (const base::UserError&) {
      return "refused";
    } catch (const std::exception& escaped) {
      return escaped.what();
    }
    return "resolved";
  };
  EXPECT_EQ(outcome(importance_method, R"({"masker": "rank_importance"})"), "refused");
  EXPECT_EQ(outcome(own_name_method, R"({"masker": "own_name"})"), "refused");
  EXPECT_EQ(outcome(own_share_method, R"({"masker": "own_share", "heavy_size": 3})"), "refused");
}

TEST(ConfigResolve, PluginFoldersAreRelativeToTheirOrigin) {
  EXPECT_TRUE(plugin_folders(document_of(with_members("{}"))).empty());
  EXPECT_EQ(plugin_folders(document_of(with_members(R"({"plugin_path": "a"})"))),
            std::vector<std::string>{"/data/a"});
  EXPECT_EQ(plugin_folders(document_of(with_members(R"({"plugin_path": ["a", "/b", "../c"]})"))),
            (std::vector<std::string>{"/data/a", "/b", "/c"}));
  EXPECT_REFUSED(plugin_folders(document_of(with_members(R"({"plugin_path": [1]})"))),
                 "a folder or a list of folders");
}

TEST(ConfigResolve, TheResolvedConfigResolvesToItself) {
  const Json configs[] = {
      with_members("{}"),
      with_members(
          R"({"title": "t", "mode": "decode", "queries": 7, "layers": [3, 1], "heads": [5], "seed": 12345678901,
                       "attention": {"causal": true, "scale": 0.1, "on_empty_row": "zeros"}})"),
      with_members(R"({"input": {"workload": "power_law", "alpha": 0.7, "keys": 99, "queries": 3}})"),
      with_members(
          R"({"input": {"workload": "needle", "depths": [0.1, 0.333333333333], "needle_mass": 0.9}})"),
      with_members(R"({"input": {"workload": "cone", "alpha": 0.7, "mean_norm": 1.5, "rank": 0}})"),
      with_members(R"({"input": {"workload": "aggregation", "relevant_share": 0.1, "relevant_mass": 0.9}})"),
      with_members(R"({"input": {"workload": "drift", "drift_begin": 0.3, "clusters": 5}})"),
      with_members(R"({"input": {"trace": "folder/../x"}})"),
      with_members(R"({"input": {"npz": "x.npz"}})"),
      with_members(R"({"input": {"safetensors": "x.safetensors"}})"),
      with_stage(
          R"({"masker": "fixed", "size": "33%", "offset": 0.123456789, "list": [], "file": "f", "seed": 3})"),
      with_stage(
          R"({"masker": "fixed", "size": 1e-9, "portion": 1e-300, "word": "ü \"quoted\"", "name": "n.1-x+y"})"),
      with_stage(R"({"masker": "needy", "budget": -4, "seed": 77})"),
      with_stage(R"({"masker": "rank_k", "heavy_size": 0.0123})"),
      with_stage(R"({"masker": "rank_k", "select": "threshold", "threshold": -2.5, "share": "kv_group"})"),
      with_stage(R"({"masker": "rank_p", "top_p": 0.95, "of": "total", "reduce": "mean"})"),
  };
  for (const Json& config : configs) {
    const Json once = to_json(resolved(config), catalog());
    const Json read = Json::parse(once.dump());
    const Json twice = to_json(resolved(read), catalog());
    EXPECT_EQ(once.dump(1), twice.dump(1));
  }
}

TEST(ConfigResolve, TheResolvedConfigWritesEveryDefault) {
  const Json json = to_json(resolved(with_stage(R"({"masker": "rank_k", "heavy_size": 0.1})")), catalog());
  EXPECT_EQ(
      json["pipelines"]["main"][0],
      Json::parse(R"({"masker": "rank_k", "name": "rank_k", "seed": 0, "select": "top_k", "heavy_size": "10%",
                            "share": "query_head", "reduce": "max"})"));
  EXPECT_EQ(json["mode"], "prefill");
  EXPECT_EQ(json["input"]["keys"], WorkloadSpec{}.keys);
}

}  // namespace
}  // namespace attnlab::config
