#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "core/base/hash.hpp"
#include "core/sweep/samplers/sequence.hpp"
#include "tests/unit/plugin_test_support.hpp"
#include "tests/unit/sweep_test_support.hpp"

namespace attnlab::sweep {
namespace {

using Kind = SamplerPlan::Kind;
using Place = std::vector<double>;

TEST(SweepSequences, SobolBeginsAsPublished) {
  const auto sobol = make_sequence(Kind::sobol, 3, 0);
  EXPECT_EQ(sobol->next(), (Place{0.5, 0.5, 0.5}));
  EXPECT_EQ(sobol->next(), (Place{0.75, 0.25, 0.25}));
  EXPECT_EQ(sobol->next(), (Place{0.25, 0.75, 0.75}));
  EXPECT_EQ(sobol->next(), (Place{0.375, 0.375, 0.625}));
  EXPECT_EQ(sobol->next(), (Place{0.875, 0.875, 0.125}));
}

TEST(SweepSequences, HaltonIsTheRadicalInverse) {
  const auto halton = make_sequence(Kind::halton, 3, 0);
  const std::vector<Place> first = {
      {1. / 2, 1. / 3, 1. / 5}, {1. / 4, 2. / 3, 2. / 5}, {3. / 4, 1. / 9, 3. / 5}};
  for (const Place& wanted : first) {
    const Place place = halton->next();
    for (size_t d = 0; d < 3; ++d) EXPECT_NEAR(place[d], wanted[d], 1e-15);
  }
}

TEST(SweepSequences, EvenOnesAreEvenWhateverTheSeed) {
  for (const uint64_t seed : {1u, 2u, 99u}) {
    for (const Kind kind : {Kind::sobol, Kind::halton, Kind::random}) {
      const auto sequence = make_sequence(kind, 2, seed);
      std::vector<int> cells(16, 0);
      for (int i = 0; i < 1023; ++i) {
        const Place place = sequence->next();
        ASSERT_TRUE(place[0] >= 0 && place[0] < 1 && place[1] >= 0 && place[1] < 1);
        ++cells[static_cast<size_t>(place[0] * 4) * 4 + static_cast<size_t>(place[1] * 4)];
      }
      const auto [least, most] = std::minmax_element(cells.begin(), cells.end());
      const int spread = kind == Kind::sobol ? 1 : kind == Kind::halton ? 6 : 35;
      EXPECT_GE(*least, 64 - spread) << name_of(kind) << seed;
      EXPECT_LE(*most, 64 + spread) << name_of(kind) << seed;
    }
  }
  EXPECT_NE(make_sequence(Kind::sobol, 2, 1)->next(), make_sequence(Kind::sobol, 2, 2)->next());
}

/// Two even axes and a list; the objective is a function of the point.
SweepConfig toy(const std::string& sampler) {
  return sweep_of(R"({"space": {"/pipelines/main/0/sink_size": {"range": [0.0, 1.0]},
      "/pipelines/main/1/window_size": {"range": [0.0, 1.0]}, "/seed": [3, 1, 4, 15, 9, 2, 6]},
      "objective": {"minimise": "output_error"}, "sampler": )" +
                  sampler + "}");
}

double toy_error(const Point& point) {
  const double x = point["/pipelines/main/0/sink_size"], y = point["/pipelines/main/1/window_size"];
  const double z = point["/seed"];
  return (x - 0.3) * (x - 0.3) + (y - 0.8) * (y - 0.8) + 0.02 * std::abs(z - 6);
}

Result judged(const Proposal& proposal, double error) {
  Result result{base::hash_hex(key_of(proposal.point)), proposal.point, proposal.rung, {}};
  if (std::isnan(error)) return result;
  result.judgement = {Judgement::Kind::feasible, "", {error}};
  return result;
}

/// Every batch, with the results told in the given order.
template <class Order>
std::vector<std::vector<std::string>> batches_of(const SweepConfig& sweep, const Order& order, double& best) {
  const auto sampler = make_sampler(sweep);
  std::vector<std::vector<std::string>> batches;
  std::vector<Result> results;
  best = std::numeric_limits<double>::infinity();
  for (auto batch = sampler->next({}); !batch.empty(); batch = sampler->next(results)) {
    batches.emplace_back();
    for (const Proposal& proposal : batch) {
      batches.back().push_back(key_of(proposal.point));
      const double error = toy_error(proposal.point);
      best = std::min(best, error);
      results.push_back(judged(proposal, error));
    }
    order(results);
  }
  return batches;
}

constexpr auto as_they_come = [](std::vector<Result>&) {};

TEST(SweepTpe, FindsBetterPointsThanChance) {
  int wins = 0;
  double learned_sum = 0, random_sum = 0;
  for (int seed = 1; seed <= 20; ++seed) {
    double learned = 0, random = 0;
    const std::string tail = R"("trials": 96, "seed": )" + std::to_string(seed);
    const auto batches =
        batches_of(toy(R"({"kind": "tpe", "batch": 8, )" + tail + "}"), as_they_come, learned);
    batches_of(toy(R"({"kind": "random", )" + tail + "}"), as_they_come, random);
    EXPECT_EQ(batches.size(), 1u + 10u);
    wins += learned < random ? 1 : 0;
    learned_sum += learned;
    random_sum += random;
  }
  EXPECT_GE(wins, 15);
  EXPECT_LT(learned_sum, random_sum / 4);
}

TEST(SweepTpe, DoesNotDependOnTheOrderOfArrival) {
  const SweepConfig sweep = toy(R"({"kind": "tpe", "trials": 64, "batch": 16, "seed": 5})");
  double best = 0;
  const auto batches = batches_of(sweep, as_they_come, best);
  EXPECT_EQ(batches, batches_of(
                         sweep, [](auto& results) { std::reverse(results.begin(), results.end()); }, best));
  EXPECT_EQ(
      batches,
      batches_of(
          sweep, [](auto& results) { std::rotate(results.begin(), results.begin() + 7, results.end()); },
          best));
  const SweepConfig other = toy(R"({"kind": "tpe", "trials": 64, "batch": 16, "seed": 6})");
  EXPECT_NE(batches, batches_of(other, as_they_come, best));
}

TEST(SweepTpe, KeepsAwayFromFailures) {
  const SweepConfig sweep = toy(R"({"kind": "tpe", "trials": 128, "batch": 16})");
  const auto sampler = make_sampler(sweep);
  std::vector<Result> results;
  int failures = 0, late_failures = 0;
  for (auto batch = sampler->next({}); !batch.empty(); batch = sampler->next(results)) {
    for (const Proposal& proposal : batch) {
      const bool fails = proposal.point["/pipelines/main/0/sink_size"] > 0.6;
      results.push_back(judged(proposal, fails ? std::nan("") : toy_error(proposal.point)));
      failures += fails ? 1 : 0;
      late_failures += fails && results.size() > 64 ? 1 : 0;
    }
  }
  EXPECT_GT(failures, 0);
  EXPECT_LT(late_failures, 13);  // chance: 26
}

TEST(SweepTpe, EndsWhenASmallSpaceIsExhausted) {
  const SweepConfig sweep = sweep_of(R"({"space": {"/seed": [1, 2, 3], "/queries": [4, 5, 6, 7]},
      "sampler": {"kind": "tpe", "trials": 50, "startup": 4, "batch": 5}, "objective": {"minimise": "density"}})");
  const auto sampler = make_sampler(sweep);
  std::set<std::string> seen;
  std::vector<Result> results;
  for (auto batch = sampler->next({}); !batch.empty(); batch = sampler->next(results)) {
    for (const Proposal& proposal : batch) {
      EXPECT_TRUE(seen.insert(key_of(proposal.point)).second);
      results.push_back(judged(proposal, proposal.point["/seed"]));
    }
  }
  EXPECT_EQ(seen.size(), 12u);
}

TEST(SweepTpe, FollowsConditions) {
  const SweepConfig sweep = sweep_of(R"({"space": {"/mode": ["prefill", "decode"]}, "conditions": [
      {"if": {"/mode": "decode"}, "then": {"/queries": {"log_range": [1, 1000]}}}],
      "sampler": {"kind": "tpe", "trials": 60, "startup": 8, "batch": 8}, "objective": {"minimise": "density"}})");
  const auto sampler = make_sampler(sweep);
  std::vector<Result> results;
  double nearest = 1000;
  for (auto batch = sampler->next({}); !batch.empty(); batch = sampler->next(results)) {
    for (const Proposal& proposal : batch) {
      const bool decode = proposal.point["/mode"] == "decode";
      ASSERT_EQ(decode, proposal.point.contains("/queries"));
      const double distance = decode ? std::abs(proposal.point["/queries"].get<double>() - 37) : 999;
      nearest = std::min(nearest, distance);
      results.push_back(judged(proposal, distance));
    }
  }
  EXPECT_LE(nearest, 2);
}

constexpr const char* halving = R"({"kind": "successive_halving", "first": "grid", "keep": 0.25,
    "rungs": [{"/input/keys": 64}, {"/input/keys": 128}, {}]})";

SweepConfig halved() {
  return sweep_of(
      R"({"space": {"/seed": {"range": [1, 16]}}, "objective": {"minimise": "output_error"}, "sampler": )" +
      std::string(halving) + "}");
}

std::vector<int64_t> seeds_of(const std::vector<Proposal>& batch) {
  std::vector<int64_t> seeds;
  for (const Proposal& proposal : batch) seeds.push_back(proposal.point["/seed"]);
  return seeds;
}

TEST(SweepHalving, KeepsTheBestOfEachRung) {
  const SweepConfig sweep = halved();
  const auto sampler = make_sampler(sweep);
  EXPECT_EQ(sampler->most_trials(), 16 + 4 + 1);
  std::vector<Result> results;
  auto run = [&](const std::vector<Proposal>& batch, int rung, auto&& error) {
    for (const Proposal& proposal : batch) {
      EXPECT_EQ(proposal.rung, rung);
      Result result = judged(proposal, error(proposal.point["/seed"].get<int64_t>()));
      result.id += std::to_string(rung);
      results.push_back(result);
    }
    std::reverse(results.begin(), results.end());
  };
  auto batch = sampler->next({});
  EXPECT_EQ(batch.size(), 16u);
  // The first two fail: they look best to nobody.
  run(batch, 0, [](int64_t seed) { return seed <= 2 ? std::nan("") : static_cast<double>(seed); });
  batch = sampler->next(results);
  EXPECT_EQ(seeds_of(batch), (std::vector<int64_t>{3, 4, 5, 6}));
  // On the larger workload another is best.
  run(batch, 1, [](int64_t seed) { return std::abs(static_cast<double>(seed) - 5); });
  batch = sampler->next(results);
  EXPECT_EQ(seeds_of(batch), (std::vector<int64_t>{5}));
  run(batch, 2, [](int64_t) { return 1.0; });
  EXPECT_TRUE(sampler->next(results).empty());
}

TEST(SweepHalving, EndsWhenARungFails) {
  const SweepConfig sweep = halved();
  const auto sampler = make_sampler(sweep);
  std::vector<Result> results;
  for (const Proposal& proposal : sampler->next({})) results.push_back(judged(proposal, std::nan("")));
  EXPECT_TRUE(sampler->next(results).empty());
}

TEST(SweepSamplers, FixedOnesGiveDifferentAllowedPoints) {
  for (const char* kind : {"random", "sobol", "halton"}) {
    const SweepConfig sweep =
        sweep_of(R"({"space": {"/seed": {"range": [1, 9]}, "/queries": {"range": [1, 9]}},
        "constraints": ["/seed < /queries"], "sampler": {"trials": 30, "kind": ")" +
                 std::string(kind) + "\"}}");
    const auto points = choose_points(sweep, sweep.sampler.kind, sweep.sampler.trials);
    const auto keys = keys_of(points);
    EXPECT_EQ(std::set<std::string>(keys.begin(), keys.end()).size(), 30u) << kind;
    for (const Point& point : points) EXPECT_LT(point["/seed"], point["/queries"]);
    // There are 36 such points.
    EXPECT_GE(choose_points(sweep, sweep.sampler.kind, 1000).size(), 34u) << kind;
  }
  const SweepConfig none = sweep_of(R"({"space": {"/seed": [1, 2]}, "constraints": ["/seed > 2"]})");
  EXPECT_REFUSED(choose_points(none, Kind::sobol, 4), "/seed > 2");
  EXPECT_REFUSED(make_sampler(none), "no point of the space");
}

}  // namespace
}  // namespace attnlab::sweep
