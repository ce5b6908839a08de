#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "tests/unit/plugin_test_support.hpp"
#include "tests/unit/sweep_test_support.hpp"

namespace attnlab::sweep {
namespace {

double value_of(const std::string& text, const std::map<std::string, double>& names = {}) {
  return Expression::parse(text, {}).value([&](const std::string& name) -> std::optional<double> {
    const auto found = names.find(name);
    return found == names.end() ? std::nullopt : std::optional<double>(found->second);
  });
}

TEST(SweepExpression, FollowsArithmetic) {
  EXPECT_EQ(value_of("1 + 2 * 3 - 8 / 4"), 5);
  EXPECT_EQ(value_of("-(1 + 2) * -2"), 6);
  EXPECT_EQ(value_of("10% + max(0, density - 2e-1)", {{"density", 0.5}}), 0.4);
  EXPECT_EQ(value_of("/a/K * /a/L / 2", {{"/a/K", 6}, {"/a/L", 5}}), 15);
  EXPECT_EQ(value_of("5 * (density > 0.5)", {{"density", 0.6}}), 5);
  EXPECT_EQ(value_of("density<=0.1", {{"density", 0.1}}), 1);
  EXPECT_EQ(value_of("density != 0.1", {{"density", 0.1}}), 0);
  EXPECT_TRUE(std::isnan(value_of("density <= 0.1")));
  EXPECT_TRUE(std::isnan(value_of("max(density, 1)")));
}

TEST(SweepExpression, RefusesWhatItCannotRead) {
  for (const char* text : {"", "1 +", "(1", "density 0.1", "max(1)", "a <= b <= c", "%", "1..2", "/"})
    EXPECT_REFUSED(Expression::parse(text, {.file = "sweep.json"}), "cannot be read");
  EXPECT_REFUSED(Expression::parse(std::string(501, '('), {}), "500 characters");
}

TEST(SweepSpace, AGridRunsThroughTheLastAxisFirst) {
  const SweepConfig sweep = sweep_of(
      R"({"space": {"/pipelines/main/sink/sink_size": [16, 4], "/pipelines/main/2/heavy_size": ["5%", 0.1]}})");
  EXPECT_EQ(sweep.pipeline, "main");
  EXPECT_EQ(grid_of(sweep), (std::vector<std::string>{
                                R"({"/pipelines/main/0/sink_size":16,"/pipelines/main/2/heavy_size":"5%"})",
                                R"({"/pipelines/main/0/sink_size":16,"/pipelines/main/2/heavy_size":0.1})",
                                R"({"/pipelines/main/0/sink_size":4,"/pipelines/main/2/heavy_size":"5%"})",
                                R"({"/pipelines/main/0/sink_size":4,"/pipelines/main/2/heavy_size":0.1})"}));
}

std::vector<std::string> values_of_axis(const std::string& axis) {
  const SweepConfig sweep = sweep_of(R"({"space": {"/seed": )" + axis + "}}");
  std::vector<std::string> values;
  for (const Point& point : sweep.space.grid(1000, sweep.document)) values.push_back(key_of(point["/seed"]));
  return values;
}

TEST(SweepSpace, RangesCountWhatTheySay) {
  using List = std::vector<std::string>;
  EXPECT_EQ(values_of_axis(R"({"range": [4, 12], "step": 4})"), (List{"4", "8", "12"}));
  EXPECT_EQ(values_of_axis(R"({"range": [4, 7]})"), (List{"4", "5", "6", "7"}));
  EXPECT_EQ(values_of_axis(R"({"range": [0.1, 0.5], "step": 0.1})"),
            (List{"0.1", "0.2", "0.3", "0.4", "0.5"}));
  EXPECT_EQ(values_of_axis(R"({"range": [0, 1.0], "count": 3})"), (List{"0.0", "0.5", "1.0"}));
  EXPECT_EQ(values_of_axis(R"({"log_range": [1e-3, 1.0], "count": 4})"),
            (List{"0.001", "0.01", "0.1", "1.0"}));
  EXPECT_EQ(values_of_axis(R"({"log_range": [1, 4], "count": 9})"), (List{"1", "2", "3", "4"}));
}

TEST(SweepSpace, ZippedAxesChangeTogether) {
  const SweepConfig sweep = sweep_of(R"({"space": {"zip": [{"/pipelines/main/0/sink_size": [1, 2],
      "/pipelines/main/1/window_size": [10, 20]}], "/seed": [0, 1]}})");
  EXPECT_EQ(grid_of(sweep),
            (std::vector<std::string>{
                R"({"/pipelines/main/0/sink_size":1,"/pipelines/main/1/window_size":10,"/seed":0})",
                R"({"/pipelines/main/0/sink_size":1,"/pipelines/main/1/window_size":10,"/seed":1})",
                R"({"/pipelines/main/0/sink_size":2,"/pipelines/main/1/window_size":20,"/seed":0})",
                R"({"/pipelines/main/0/sink_size":2,"/pipelines/main/1/window_size":20,"/seed":1})"}));
}

constexpr const char* by_method = R"({
  "space": {"/pipelines/main/2": [{"masker": "oracle_top_k", "heavy_size": 8}, {"masker": "random_sampling"}]},
  "conditions": [
    {"if": {"/pipelines/main/2/masker": "oracle_top_k"}, "then": {"/pipelines/main/2/heavy_size": [8, 16]}},
    {"if": {"/pipelines/main/2/masker": "random_sampling"},
     "then": {"/pipelines/main/2/sampling_rate": [0.1, 0.2, 0.4], "/pipelines/main/2/name": ["r"]}}],
  "sampler": {"kind": "random", "trials": 40}})";

TEST(SweepSpace, ConditionsBringAxes) {
  const SweepConfig sweep = sweep_of(by_method);
  const std::vector<Point> points = sweep.space.grid(100, sweep.document);
  ASSERT_EQ(points.size(), 5u);
  EXPECT_EQ(points[1]["/pipelines/main/2/heavy_size"], 16);
  EXPECT_FALSE(points[1].contains("/pipelines/main/2/sampling_rate"));
  EXPECT_EQ(points[4]["/pipelines/main/2/sampling_rate"], 0.4);
  Planner planner(sweep, test::catalog());
  EXPECT_EQ(planner.trial(points[4], 0).config["pipelines"]["main"][2]["sampling_rate"], 0.4);
}

TEST(SweepSpace, ConstraintsOfThePointDecideBeforeAnyTrial) {
  const SweepConfig sweep = sweep_of(R"({"space": {"/pipelines/main/0/sink_size": [1, 2, 4],
      "/pipelines/main/1/window_size": [1, 2, 4]}, "constraints": [
      "/pipelines/main/sink/sink_size * /pipelines/main/local/window_size <= 4", "density <= 0.5"]})");
  EXPECT_EQ(grid_of(sweep).size(), 6u);
  ASSERT_EQ(sweep.goal.constraints.size(), 1u);
  EXPECT_EQ(sweep.goal.constraints[0].text(), "density <= 0.5");
}

TEST(SweepSpace, TheDefaultSpaceIsWhatMethodsDeclare) {
  const SweepConfig all = sweep_of(R"({"default_space": true})");
  ASSERT_EQ(all.space.axes.size(), 3u);
  EXPECT_EQ(all.space.axes[0].pointers[0], "/pipelines/main/0/sink_size");
  EXPECT_EQ(all.space.axes[2].pointers[0], "/pipelines/main/2/heavy_size");
  EXPECT_EQ(all.space.axes[2].choices[3][0], "10%");
  const SweepConfig one = sweep_of(
      R"({"default_space": ["/pipelines/main/oracle_top_k", "/pipelines/main/0"],
          "space": {"/pipelines/main/0/sink_size": [3, 5]}})");
  ASSERT_EQ(one.space.axes.size(), 1u + 1u);
  EXPECT_EQ(one.space.axes[0].choices.size(), 2u);  // what the space says wins
}

TEST(SweepSpace, TheUnitCubeIsSharedFairly) {
  Axis whole;
  whole.pointers = {"/x"};
  whole.low = 3, whole.high = 6, whole.whole = true;
  Axis log = whole;
  log.low = 1, log.high = 1000, log.logarithmic = true;
  Axis list = whole;
  list.choices = {{30}, {10}, {20}};
  list.ascending = {1, 2, 0};
  std::map<int64_t, int> counts;
  int small = 0;
  Point point = io::Json::object();
  for (int i = 0; i < 4000; ++i) {
    whole.choose((i + 0.5) / 4000, point);
    ++counts[point["/x"].get<int64_t>()];
    log.choose((i + 0.5) / 4000, point);
    small += point["/x"].get<int64_t>() <= 31 ? 1 : 0;
  }
  for (int64_t value = 3; value <= 6; ++value) EXPECT_EQ(counts[value], 1000) << value;
  EXPECT_NEAR(small, 2183, 5);  // log(31.5 / 0.5) / log(1000.5 / 0.5)
  list.choose(0.1, point);
  EXPECT_EQ(point["/x"], 10);
  for (const Axis* axis : {&whole, &log, &list}) {
    for (const double u : {0.0, 0.2, 0.6, 0.999999}) {
      Point once = io::Json::object(), twice = io::Json::object();
      axis->choose(u, once);
      axis->choose(axis->coordinate(once), twice);
      EXPECT_EQ(once, twice) << u;
    }
  }
}

struct Refusal {
  const char* members;
  const char* words;
};

TEST(SweepSpace, AListThatIsNotAllNumbersHasNoOrder) {
  const SweepConfig sweep = sweep_of(R"({"space": {"/pipelines/main/2/heavy_size": ["20%", 8, null]}})");
  EXPECT_FALSE(sweep.space.axes[0].is_ordered());
  std::vector<std::string> drawn;
  for (const double u : {0.1, 0.5, 0.9})
    drawn.push_back(key_of(sweep.space.at(std::vector{u})["/pipelines/main/2/heavy_size"]));
  EXPECT_EQ(drawn, (std::vector<std::string>{"\"20%\"", "8", "null"}));
}

TEST(SweepSpace, MistakesAreToldWithTheirPlace) {
  const std::vector<Refusal> cases = {
      {R"({"space": {}})", "a sweep varies something"},
      {R"({"space": {"/seed": []}})", "the list is empty"},
      {R"({"space": {"/seed": 3}})", "a list of values or a range"},
      {R"({"space": {"/seed": [1, 2, 1]}})", "a value stands twice"},
      {R"({"space": {"seed": [1, 2]}})", "\n  /seed"},
      {R"({"space": {"/sead": [1, 2]}})", "did you mean \"seed\""},
      {R"({"space": {"/plugin_path": ["a", "b"]}})", "the same in all trials"},
      {R"({"space": {"/pipelines/main/sonk/sink_size": [1]}})", "no such list element"},
      {R"({"space": {"/seed": {"range": [5, 1]}}})", "[1, 5]"},
      {R"({"space": {"/seed": {"range": [1, 5], "steps": 2}}})", "did you mean \"step\""},
      {R"({"space": {"/seed": {"log_range": [0, 5]}}})", "is positive"},
      {R"({"space": {"/seed": {"range": [1, 5], "count": 1}}})", "no count"},
      {R"({"space": {"/seed": [1], "zip": [{"/heads": [[0], [1]], "/layers": [[0]]}]}})", "equally many"},
      {R"({"space": {"/seed": [1], "zip": [{"/seed": [2], "/layers": [[0]]}]}})", "two axes choose the same"},
      {R"({"space": {"/seed": [1]}, "conditions": [{"if": {"/seed": 2}, "then": {"/mode": ["decode"]}}]})",
       "never has this value"},
      {R"({"space": {"/seed": [1]}, "conditions": [{"if": {"/mode": "a"}, "then": {"/mode": ["decode"]}}]})",
       "no axis before"},
      {R"({"space": {"/seed": [1, 2]}, "conditions": [{"if": {"/seed": [1, 2]}, "then": {"/mode": ["decode"]}},
           {"if": {"/seed": 2}, "then": {"/mode": ["prefill"]}}]})",
       "two axes choose the same"},
      {R"({"space": {"/seed": [1]}, "conditions": {}})", "has the wrong type"},
      {R"({"space": {"/seed": [1]}, "constraints": {}})", "has the wrong type"},
      {R"({"space": {"/seed": [1]}, "default_space": {}})", "default_space"},
      {R"({"space": {"/seed": [1]}, "constraints": ["density"]})", "a constraint compares"},
      {R"({"space": {"/seed": [1]}, "constraints": ["densty < 1"]})", "did you mean \"density\""},
      {R"({"space": {"/seed": [1]}, "constraints": ["/pipelines/main/0/masker < 1"]})", "has a number"},
      {R"({"space": {"/seed": [1]}, "sampler": {"kind": "gird"}})", "did you mean \"grid\""},
      {R"({"space": {"/seed": [1]}, "sampler": {"kind": "random"}})", "\"trials\" is missing"},
      {R"({"space": {"/seed": [1]}, "sampler": {"kind": "random", "trials": 2, "batch": 3}})",
       "key of the sampler tpe"},
      {R"({"space": {"/seed": [1]}, "sampler": {"kind": "successive_halving", "trials": 4, "rungs": [{}]}})",
       "2 to 16"},
      {R"({"space": {"/seed": [1]}, "objective": {"minimize": "density"}})", "did you mean \"minimise\""},
      {R"({"space": {"/seed": [1]}, "objective": {"minimise": "eror"}})", "no such metric"},
      {R"({"space": {"/seed": [1]}, "objective": {"minimise": "density < 1"}})", "no objective"},
      {R"({"space": {"/seed": [1]}, "limits": {"memory": "2 GB"}})", "\"GiB\""},
      {R"({"space": {"/seed": [1]}, "input": {}})", "belongs into \"base\""},
      {R"({"space": {"/seed": [1]}, "pipeline": "mein"})", "did you mean \"main\""},
      {R"({"space": {"/seed": [1]}, "base": "no.json"})", "does not exist"},
  };
  for (const auto& [members, words] : cases) {
    const std::string text = io::refusal([&, &given = members] { sweep_of(given); });
    EXPECT_NE(text.find(words), std::string::npos) << members << "\n" << text;
    EXPECT_NE(text.find("test.json"), std::string::npos) << members << "\n" << text;
  }
}

TEST(SweepSpace, AGridNeedsStepsAndEnds) {
  const SweepConfig open = sweep_of(R"({"space": {"/seed": {"range": [0.5, 2]}}})");
  EXPECT_REFUSED(grid_of(open), "needs the values of every axis");
  const SweepConfig large =
      sweep_of(R"({"space": {"/seed": {"range": [1, 900]}, "/queries": {"range": [1, 900]}},
      "constraints": ["/seed + /queries <= 3"]})");
  EXPECT_EQ(grid_of(large).size(), 3u);
  EXPECT_REFUSED(large.space.grid(2, large.document), "the grid is too large");
}

}  // namespace
}  // namespace attnlab::sweep
