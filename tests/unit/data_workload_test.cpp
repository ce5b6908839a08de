#include "core/data/workload.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/base/hash.hpp"
#include "core/base/parallel.hpp"
#include "core/config/schema.hpp"
#include "tests/unit/io_test_support.hpp"
#include "tests/unit/workload_test_support.hpp"

namespace attnlab::data {
namespace {

std::string fingerprint(const LayerProblem& problem) {
  std::string text;
  for (const auto& tensor : problem.storage) text += base::hash_hex(tensor.bytes(), tensor.byte_size()) + " ";
  const auto& mass = problem.true_mass;
  return mass.empty() ? text : text + base::hash_hex(mass.bytes(), mass.byte_size());
}

TEST(Workload, PowerLawMassIsExactForEveryRow) {
  for (int64_t head_dim : {1, 2, 3, 4, 17, 64, 128}) {
    for (double alpha : {0.0, 0.5, 1.0, 2.0}) {
      SCOPED_TRACE(testing::Message() << "head_dim " << head_dim << " alpha " << alpha);
      auto spec = small("power_law");
      spec.head_dim = head_dim;
      spec.alpha = alpha;
      spec.layers = 1;
      spec.queries = 10;
      expect_exact_mass(spec);
    }
  }
}

TEST(Workload, MassIsExactWhenEveryPositionIsAQuery) {
  for (const char* kind : {"power_law", "cone", "needle", "aggregation"}) {
    auto spec = small(kind);
    spec.queries = spec.keys = 130;
    expect_exact_mass(spec);
  }
}

TEST(Workload, NeedleMassIsExactForEveryRow) {
  for (int64_t head_dim : {1, 2, 3, 64}) {
    for (double share : {1e-6, 0.5, 0.999}) {
      SCOPED_TRACE(testing::Message() << "head_dim " << head_dim << " share " << share);
      auto spec = small("needle");
      spec.head_dim = head_dim;
      spec.needle_mass = share;
      spec.layers = 1;
      spec.queries = 10;
      expect_exact_mass(spec);
    }
  }
}

TEST(Workload, PowerLawMassesArePermutedPerHeadAndLayer) {
  auto spec = small("power_law");
  spec.alpha = 1.5;
  auto source = open_workload(spec);
  std::set<std::vector<float>> orders;
  for (int layer : source->layers()) {
    LayerProblem problem = source->load(layer);
    for (int64_t b = 0; b < spec.batch; ++b) {
      for (int64_t h = 0; h < spec.kv_heads; ++h) {
        auto row = mass_row(problem, source->geometry(), b, h);
        std::vector<float> masses(row.begin(), row.end());
        orders.insert(masses);
        std::sort(masses.begin(), masses.end(), std::greater<>());
        for (size_t i = 0; i < masses.size(); ++i) {
          ASSERT_FLOAT_EQ(masses[i], static_cast<float>(std::pow(static_cast<double>(i + 1), -1.5)));
        }
      }
    }
  }
  EXPECT_EQ(orders.size(), 8u);
}

/// Keys heavier than the background.
std::vector<size_t> needles_of(const WorkloadSpec& spec) {
  auto source = open_workload(spec);
  LayerProblem problem = source->load(0);
  auto mass = mass_row(problem, source->geometry(), 0, 0);
  std::vector<size_t> needles;
  for (size_t j = 0; j < mass.size(); ++j) {
    if (mass[j] != 1.0f) needles.push_back(j);
  }
  return needles;
}

TEST(Workload, NeedlesStandAtTheirDepthsAndHoldTheirShare) {
  auto spec = small("needle");
  spec.keys = 301;
  spec.needle_mass = 0.9;
  spec.depths = {0, 0.5, 1};
  EXPECT_EQ(needles_of(spec), (std::vector<size_t>{0, 150, 300}));
  auto source = open_workload(spec);
  LayerProblem problem = source->load(1);
  for (int64_t h = 0; h < spec.query_heads; ++h) {
    auto p = dense_row(problem, source->geometry(), 1, h, spec.queries - 1);
    EXPECT_NEAR(p[0], 0.3, 3e-6);
    EXPECT_NEAR(p[150], 0.3, 3e-6);
    EXPECT_NEAR(p[300], 0.3, 3e-6);
  }
}

TEST(Workload, NeedlesOfOneDepthStandOnDistinctKeys) {
  auto spec = small("needle");
  spec.keys = 100;
  spec.depths = {1, 1, 1};
  EXPECT_EQ(needles_of(spec), (std::vector<size_t>{97, 98, 99}));
  spec.depths = {0, 0, 0.001};
  EXPECT_EQ(needles_of(spec), (std::vector<size_t>{0, 1, 2}));
  spec.depths.assign(99, 0.5);
  EXPECT_EQ(needles_of(spec).size(), 99u);
}

TEST(Workload, NoChannelIsSpecial) {
  for (const std::string& kind : config::workload_kinds()) {
    auto spec = small(kind);
    spec.keys = 2000;
    spec.queries = 2000;
    auto source = open_workload(spec);
    LayerProblem problem = source->load(0);
    for (const tensor::HeadView& view : {problem.query, problem.key}) {
      for (int64_t channel = 0; channel < spec.head_dim; ++channel) {
        double mean = 0, square = 0;
        for (int64_t t = 0; t < view.tokens; ++t) {
          double x = view.row(1, 1, t)[channel];
          mean += x / static_cast<double>(view.tokens);
          square += x * x / static_cast<double>(view.tokens);
        }
        double deviation = std::sqrt(square - mean * mean);
        EXPECT_GT(deviation, 0.3) << kind << " channel " << channel;
        EXPECT_LT(deviation, 2.5) << kind << " channel " << channel;
      }
    }
  }
}

TEST(Workload, GaussianIsStandardNormalAndIndependent) {
  auto spec = small("gaussian");
  spec.queries = spec.keys = 4000;
  spec.value_dim = spec.head_dim;
  spec.query_heads = spec.kv_heads;
  LayerProblem problem = open_workload(spec)->load(0);
  EXPECT_TRUE(problem.true_mass.empty());
  ASSERT_EQ(problem.storage.size(), 3u);
  double count = static_cast<double>(problem.storage[0].size());
  double error = 1 / std::sqrt(count);
  for (size_t a = 0; a < 3; ++a) {
    auto x = problem.storage[a].values<float>();
    double mean = 0, square = 0, fourth = 0, product = 0;
    auto y = problem.storage[(a + 1) % 3].values<float>();
    for (size_t i = 0; i < x.size(); ++i) {
      double v = x[i];
      mean += v;
      square += v * v;
      fourth += v * v * v * v;
      product += v * y[i];
    }
    EXPECT_NEAR(mean / count, 0, 4 * error);
    EXPECT_NEAR(square / count, 1, 4 * std::sqrt(2.0) * error);
    EXPECT_NEAR(fourth / count, 3, 4 * std::sqrt(96.0) * error);
    EXPECT_NEAR(product / count, 0, 4 * error);
  }
}

TEST(Workload, SameBitsForAnyThreadsAndOrderOfLoading) {
  for (const std::string& kind : config::workload_kinds()) {
    auto spec = small(kind);
    spec.keys = 3000;
    std::vector<std::string> expected;
    for (int threads : {1, 2, 5}) {
      base::ThreadLimit limit(threads);
      auto source = open_workload(spec);
      std::string second = fingerprint(source->load(1));
      std::string first = fingerprint(source->load(0));
      if (expected.empty()) expected = {first, second};
      EXPECT_EQ(first, expected[0]) << kind << " with " << threads << " threads";
      EXPECT_EQ(second, expected[1]) << kind << " with " << threads << " threads";
    }
    EXPECT_NE(expected[0], expected[1]) << kind;
    spec.seed = 12;
    EXPECT_NE(fingerprint(open_workload(spec)->load(0)), expected[0]) << kind;
  }
}

TEST(Workload, GaussianHasTheSameBitsOnEveryPlatform) {
  auto spec = small("gaussian");
  // Pinned from this implementation: a change gives published seeds other numbers.
  EXPECT_EQ(
      fingerprint(open_workload(spec)->load(0)),
      "f929cd9526d33d7851d5035a8d124312 ee07eb260408bb97e2142e44680fe8f2 77b1c15f79dfb78d0df651708b91203e ");
}

TEST(Workload, StatesItsConstruction) {
  auto spec = small("needle");
  auto source = open_workload(spec);
  EXPECT_DOUBLE_EQ(*source->scale(), 0.125);
  EXPECT_EQ(source->causal(), true);
  EXPECT_TRUE(source->files().empty());
  EXPECT_EQ(source->layers(), (std::vector<int>{0, 1}));
  EXPECT_EQ(source->description(),
            "workload needle (mass 0.5, 3 needles), 2 layers, batch 2, 4/2 heads, head_dim 64, 40 queries, "
            "300 keys, "
            "seed 11");
  LayerProblem problem = source->load(1);
  EXPECT_EQ(problem.layer, 1);
  EXPECT_EQ(problem.valid, (std::vector<int64_t>{300, 300}));
  EXPECT_EQ(problem.value.channels, 24);
  EXPECT_EQ(problem.query.tokens, 40);
}

TEST(Workload, OneKeyAndOneChannelAreEnough) {
  for (const std::string& kind : config::workload_kinds()) {
    if (kind == "needle") continue;  // a needle needs a background
    SCOPED_TRACE(kind);
    auto spec = small(kind);
    spec.queries = spec.keys = spec.head_dim = spec.value_dim = 1;
    LayerProblem problem = open_workload(spec)->load(1);
    for (const auto& tensor : problem.storage) {
      for (float x : tensor.values<float>()) EXPECT_TRUE(std::isfinite(x));
    }
    if (!problem.true_mass.empty()) expect_exact_mass(spec);
  }
}

TEST(Workload, RefusesWhatCannotBeMet) {
  struct Case {
    const char* kind;
    std::function<void(WorkloadSpec&)> change;
    const char* text;
  };
  const Case cases[] = {
      {"gausian", [](auto&) {}, "did you mean \"gaussian\"?"},
      {"gaussian", [](auto& s) { s.keys = 0; }, "bad keys"},
      {"gaussian", [](auto& s) { s.layers = -1; }, "bad layers"},
      {"gaussian", [](auto& s) { s.layers = int64_t{1} << 40; }, "bad layers"},
      {"gaussian", [](auto& s) { s.kv_heads = 3; }, "KV heads do not divide"},
      {"gaussian", [](auto& s) { s.queries = 301; }, "more queries than keys"},
      {"gaussian", [](auto& s) { s.keys = int64_t{1} << 31; }, "bad keys"},
      {"gaussian", [](auto& s) { s.batch = s.head_dim = s.keys = 2147483647; }, "does not fit in memory"},
      {"power_law", [](auto& s) { s.alpha = 20; }, "bad alpha"},
      {"power_law", [](auto& s) { s.alpha = std::nan(""); }, "bad alpha"},
      {"needle", [](auto& s) { s.depths.clear(); }, "bad number of needle depths"},
      {"needle", [](auto& s) { s.depths.assign(300, 0.5); }, "bad number of needle depths"},
      {"needle", [](auto& s) { s.depths = {1.01}; }, "bad needle depth"},
      {"needle", [](auto& s) { s.depths = {std::nan("")}; }, "bad needle depth"},
      {"needle", [](auto& s) { s.needle_mass = 0; }, "bad needle_mass"},
      {"needle", [](auto& s) { s.needle_mass = 1; }, "bad needle_mass"},
      {"needle", [](auto& s) { s.needle_mass = -1; }, "bad needle_mass"},
      {"cone", [](auto& s) { s.alpha = 20; }, "bad alpha"},
      {"cone", [](auto& s) { s.mean_norm = -1; }, "bad mean_norm"},
      {"cone", [](auto& s) { s.mean_norm = std::nan(""); }, "bad mean_norm"},
      {"cone", [](auto& s) { s.rank = 65; }, "bad rank"},
      {"cone", [](auto& s) { s.rank = -1; }, "bad rank"},
      {"aggregation", [](auto& s) { s.relevant_share = 0; }, "bad relevant_share"},
      {"aggregation", [](auto& s) { s.relevant_share = 1; }, "bad relevant_share"},
      {"aggregation", [](auto& s) { s.relevant_mass = 0; }, "bad relevant_mass"},
      {"aggregation", [](auto& s) { s.relevant_mass = std::nan(""); }, "bad relevant_mass"},
      {"drift", [](auto& s) { s.drift_begin = 1.5; }, "bad drift_begin"},
      {"drift", [](auto& s) { s.drift_begin = std::nan(""); }, "bad drift_begin"},
      {"drift", [](auto& s) { s.clusters = 0; }, "bad clusters"},
  };
  for (const Case& c : cases) {
    auto spec = small(c.kind);
    c.change(spec);
    std::string message = io::refusal([&] { open_workload(spec); });
    EXPECT_NE(message.find(c.text), std::string::npos) << c.text << " | " << message;
  }
}

}  // namespace
}  // namespace attnlab::data
