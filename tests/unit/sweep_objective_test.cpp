#include <gtest/gtest.h>
#include <attnlab/philox.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/unit/sweep_test_support.hpp"

namespace attnlab::sweep {
namespace {

Goal error_and_density() {
  return {{{"output_error", Expression::parse("output_error", {}), false},
           {"density", Expression::parse("density", {}), false}},
          {}};
}

Result result(const std::string& id, std::vector<double> values,
              Judgement::Kind kind = Judgement::Kind::feasible) {
  return {id, io::Json::object(), 0, {kind, "", std::move(values)}};
}

std::vector<std::string> ids(const std::vector<Result>& results, const std::vector<size_t>& indices) {
  std::vector<std::string> list;
  for (const size_t i : indices) list.push_back(results[i].id);
  return list;
}

const Space no_space;

TEST(SweepObjective, TheHubsScalar) {
  const std::map<std::string, double> metrics = {{"output_error", 0.2}, {"density", 0.15}};
  auto value = [&](std::optional<double> target, const std::map<std::string, double>& given) {
    const Goal goal{{hub_objective(target)}, {}};
    return judge(goal, no_space, io::Json::object(), done("a", given)).values.at(0);
  };
  EXPECT_DOUBLE_EQ(value(0.1, metrics), 0.99 * 0.2 + 0.01 * 0.15 + 10 * (0.15 - 0.1));
  EXPECT_DOUBLE_EQ(value(0.2, metrics), 0.99 * 0.2 + 0.01 * 0.15);
  EXPECT_DOUBLE_EQ(value(std::nullopt, metrics), 0.2 + 0.1 * 0.15);
  EXPECT_DOUBLE_EQ(value(std::nullopt, {{"output_error", 0}, {"density", 1}}), 0.1 + 5);
  EXPECT_EQ(hub_objective(0.1).name, "hub at 10%");
}

TEST(SweepObjective, FailedAndBrokenTrialsAreTold) {
  Goal goal = error_and_density();
  goal.constraints.push_back(Expression::parse("density <= 0.1", {}));
  auto kind = [&](const Outcome& outcome) { return judge(goal, no_space, io::Json::object(), outcome); };
  EXPECT_EQ(kind(done("a", {{"output_error", 0.1}, {"density", 0.1}})).kind, Judgement::Kind::feasible);
  const Judgement dense = kind(done("a", {{"output_error", 0.1}, {"density", 0.2}}));
  EXPECT_EQ(dense.kind, Judgement::Kind::infeasible);
  EXPECT_EQ(dense.why, "density <= 0.1 does not hold");
  const Judgement nan = kind(done("a", {{"output_error", std::nan("")}, {"density", 0.05}}));
  EXPECT_EQ(nan.kind, Judgement::Kind::failed);
  EXPECT_TRUE(nan.values.empty());
  EXPECT_EQ(kind(done("a", {{"density", 0.05}})).kind, Judgement::Kind::failed);
  EXPECT_EQ(kind(failed("a", "signal SIGABRT")).why, "signal SIGABRT");
}

TEST(SweepObjective, TheFrontHoldsWhatNothingDominates) {
  const Goal goal = error_and_density();
  const std::vector<Result> results = {result("d", {1, 5}),
                                       result("c", {2, 2}),
                                       result("b", {5, 1}),
                                       result("a", {3, 3}),
                                       result("e", {2, 2}),
                                       result("f", {0, 0}, Judgement::Kind::failed),
                                       result("g", {0, 0}, Judgement::Kind::infeasible),
                                       result("h", {4, 4})};
  EXPECT_EQ(ids(results, pareto_front(goal, results)), (std::vector<std::string>{"d", "c", "e", "b"}));
  EXPECT_EQ(pareto_ranks(goal, results), (std::vector<int>{0, 0, 0, 1, 0, -1, 3, 2}));
}

TEST(SweepObjective, RanksAreThoseOfTheDefinition) {
  Goal goal = error_and_density();
  goal.objectives.push_back({"mass_recall", Expression::parse("mass_recall", {}), true});
  Philox random(7);
  std::vector<Result> results;
  for (int i = 0; i < 120; ++i) {
    std::vector<double> values;
    for (int o = 0; o < 3; ++o) values.push_back(static_cast<double>(random.below(6)));
    results.push_back(result("id" + std::to_string(i), values));
  }
  const std::vector<int> ranks = pareto_ranks(goal, results);
  auto dominates = [](const std::vector<double>& a, const std::vector<double>& b) {
    return a[0] <= b[0] && a[1] <= b[1] && a[2] >= b[2] && a != b;
  };
  for (size_t i = 0; i < results.size(); ++i) {
    int above = -1;
    for (size_t j = 0; j < results.size(); ++j) {
      if (dominates(results[j].judgement.values, results[i].judgement.values))
        above = std::max(above, ranks[j]);
    }
    EXPECT_EQ(ranks[i], above + 1) << i;
  }
}

TEST(SweepObjective, TheOrderDoesNotDependOnArrival) {
  const Goal goal = error_and_density();
  std::vector<Result> results = {result("a", {1, 4}),
                                 result("b", {2, 3}),
                                 result("c", {2.1, 2.9}),
                                 result("d", {4, 1}),
                                 result("e", {5, 5}),
                                 result("f", {5, 5}),
                                 result("g", {}, Judgement::Kind::failed)};
  const auto order = ids(results, best_first(goal, results));
  EXPECT_EQ(order, (std::vector<std::string>{"a", "d", "c", "b", "e", "f"}));
  std::reverse(results.begin(), results.end());
  EXPECT_EQ(ids(results, best_first(goal, results)), order);
  Goal maximum{{{"density", Expression::parse("density", {}), true}}, {}};
  const std::vector<Result> scalar = {result("a", {1}), result("b", {3}), result("c", {2})};
  EXPECT_EQ(ids(scalar, best_first(maximum, scalar)), (std::vector<std::string>{"b", "c", "a"}));
}

}  // namespace
}  // namespace attnlab::sweep
