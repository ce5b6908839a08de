#include "core/data/drift.hpp"

#include <gtest/gtest.h>

#include "tests/unit/workload_test_support.hpp"

namespace attnlab::data {
namespace {

/// Mean of rows [begin, end) of one head.
std::vector<float> mean_of(const tensor::HeadView& view, int64_t head, int64_t begin, int64_t end) {
  std::vector<double> mean(static_cast<size_t>(view.channels));
  for (int64_t t = begin; t < end; ++t) {
    for (size_t c = 0; c < mean.size(); ++c) mean[c] += double{view.row(0, head, t)[c]};
  }
  std::vector<float> result(mean.size());
  for (size_t c = 0; c < mean.size(); ++c) {
    result[c] = static_cast<float>(mean[c] / static_cast<double>(end - begin));
  }
  return result;
}

WorkloadSpec one_cluster() {
  auto spec = small("drift");
  spec.keys = 2000;
  spec.queries = 1500;  // positions 500 to 1999
  spec.drift_begin = 0.6;
  spec.clusters = 1;
  return spec;
}

TEST(Drift, QueriesAndKeysMoveTogetherAtTheSamePosition) {
  auto spec = one_cluster();
  EXPECT_EQ(drift_position(spec), 1200);
  LayerProblem problem = open_workload(spec)->load(0);
  const auto old_keys = mean_of(problem.key, 0, 0, 1200), new_keys = mean_of(problem.key, 0, 1200, 2000);
  for (int64_t head : {0, 1}) {  // of KV head 0
    EXPECT_GT(cosine(mean_of(problem.query, head, 0, 700), old_keys), 0.99);
    EXPECT_GT(cosine(mean_of(problem.query, head, 700, 1500), new_keys), 0.99);
  }
  EXPECT_LT(std::abs(cosine(old_keys, new_keys)), 0.5);
  EXPECT_LT(std::abs(cosine(old_keys, mean_of(problem.key, 1, 0, 1200))), 0.5) << "each KV head has its own";
  // The last key before the turn is old, the first after it is new.
  const auto nearer_to_new = [&](int64_t t) {
    const std::span<const float> key(problem.key.row(0, 0, t), old_keys.size());
    return cosine(key, new_keys) > cosine(key, old_keys);
  };
  for (int64_t t = 1150; t < 1250; ++t) EXPECT_EQ(nearer_to_new(t), t >= 1200) << t;
}

TEST(Drift, BeginsAtEitherEndWhenTold) {
  auto spec = one_cluster();
  spec.drift_begin = 0;
  LayerProblem all_new = open_workload(spec)->load(0);
  spec.drift_begin = 1;
  LayerProblem all_old = open_workload(spec)->load(0);
  for (const LayerProblem* problem : {&all_new, &all_old}) {
    EXPECT_GT(cosine(mean_of(problem->key, 0, 0, 500), mean_of(problem->key, 0, 1500, 2000)), 0.98);
  }
  EXPECT_LT(std::abs(cosine(mean_of(all_new.key, 0, 0, 2000), mean_of(all_old.key, 0, 0, 2000))), 0.5);
}

TEST(Drift, LateQueriesLookAtNewKeys) {
  auto spec = small("drift");
  spec.keys = 2000;
  spec.drift_begin = 0.5;
  auto source = open_workload(spec);
  LayerProblem problem = source->load(1);
  double worst = 1, mean = 0;
  for (int64_t i = 0; i < spec.queries; ++i) {
    const auto p = dense_row(problem, source->geometry(), 1, 3, i);
    const double on_new = std::accumulate(p.begin() + 1000, p.end(), 0.0);
    worst = std::min(worst, on_new);
    mean += on_new / static_cast<double>(spec.queries);
  }
  EXPECT_GT(mean, 0.9);
  EXPECT_GT(worst, 0.4);
}

/// How many clusters the keys of the first KV head stand in: a key starts one unless it is near an earlier.
TEST(Drift, HasAsManyClustersAsAskedFor) {
  auto spec = small("drift");
  spec.head_dim = 256;
  spec.keys = 400;
  spec.clusters = 5;
  spec.drift_begin = 0.5;
  LayerProblem problem = open_workload(spec)->load(0);
  std::vector<std::span<const float>> found;
  for (int64_t t = 0; t < spec.keys; ++t) {
    const std::span<const float> key(problem.key.row(0, 0, t), 256);
    // Keys of one cluster have a cosine of about 1/2, others of about 0, both give or take 1/16.
    const bool known =
        std::any_of(found.begin(), found.end(), [&](auto other) { return cosine(key, other) > 0.28; });
    if (!known) found.push_back(key);
    if (t == 199) {
      EXPECT_EQ(found.size(), 5u);
    }
  }
  EXPECT_EQ(found.size(), 10u);
}

}  // namespace
}  // namespace attnlab::data
