// The backward of attention over segments: the reference against differences of the loss, every target
// against it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "core/base/parallel.hpp"
#include "core/kernels/attention/backward_reference.hpp"
#include "core/kernels/attention/reference.hpp"
#include "core/kernels/table.hpp"
#include "tests/unit/kernels_test_support.hpp"

namespace attnlab::kernels {
namespace {

using test::Case;
using test::kNan;

/// A case of the forward, the gradient that arrives, and where gradients go. Segments of a cache share its
/// gradients.
struct Gradients {
  explicit Gradients(const Case& c) : problem(c), forward(problem.attend_arguments(out, lse)) {
    grad_out = test::normal_rows(problem.random, c.rows, c.value_dim, problem.value_stride);
    std::normal_distribution<float> normal;
    for (int64_t r = 0; r < c.rows; ++r) grad_lse.push_back(normal(problem.random));
    grad_query.assign(c.rows * problem.key_stride, kNan);
    grad_sink.assign(c.rows, kNan);
    for (size_t i = 0; i < 2; ++i) {
      grad_key[i].assign(c.keys * c.head_dim, 0);
      grad_value[i].assign(c.keys * c.value_dim, 0);
    }
    grad_log_weight.assign(problem.log_weight.size(), 0);
    segments.resize(problem.segments.size());
    for (size_t s = 0; s < segments.size(); ++s)
      segments[s] = {grad_key[s / 3].data(), c.head_dim, grad_value[s / 3].data(), c.value_dim};
    segments[3].log_weight = grad_log_weight.data();
  }

  AttendBackwardArguments arguments() {
    return {.forward = forward,
            .grad_out = grad_out.data(),
            .grad_out_stride = problem.value_stride,
            .grad_lse = grad_lse.data(),
            .grad_query = grad_query.data(),
            .grad_query_stride = problem.key_stride,
            .segments = segments.data(),
            .grad_sink_logit = problem.shape.sink ? grad_sink.data() : nullptr};
  }

  double loss() {
    std::vector<double> wide_out(out.size()), wide_lse(lse.size());
    reference::attend(forward, wide_out.data(), wide_lse.data());
    double sum = 0;
    for (int64_t r = 0; r < forward.rows; ++r) {
      sum += wide_lse[r] * grad_lse[r];
      for (int64_t c = 0; c < forward.value_dim; ++c)
        sum += wide_out[r * forward.out_stride + c] * grad_out[r * problem.value_stride + c];
    }
    return sum;
  }

  double difference(float& x) {
    constexpr float step = 0x1p-9F;
    const float old = x;
    x = old + step;
    const double high = loss(), high_x = x;
    x = old - step;
    const double low = loss(), low_x = x;
    x = old;
    return (high - low) / (high_x - low_x);
  }

  test::Problem problem;
  std::vector<float> out, lse, grad_out, grad_lse, grad_query, grad_sink, grad_log_weight;
  std::vector<float> grad_key[2], grad_value[2];
  std::vector<SegmentGradient> segments;
  AttendArguments forward;
};

TEST(SparseBackwardReference, EqualsDifferencesOfTheLoss) {
  Gradients g(
      {.rows = 2, .keys = 9, .head_dim = 3, .value_dim = 2, .bias = true, .weights = true, .sink = true});
  const reference::AttendGradients expected = reference::attend_backward(g.arguments(), 9);
  for (size_t i = 0; i < g.problem.query.size(); ++i)
    EXPECT_NEAR(expected.query[i], g.difference(g.problem.query[i]), 1e-4) << i;
  for (size_t i = 0; i < expected.key[3].size(); ++i)
    EXPECT_NEAR(expected.key[3][i], g.difference(g.problem.second.key[i]), 1e-4) << i;
  for (size_t i = 0; i < expected.value[3].size(); ++i)
    EXPECT_NEAR(expected.value[3][i], g.difference(g.problem.second.value[i]), 1e-4) << i;
  for (size_t i = 0; i < expected.log_weight[3].size(); ++i)
    EXPECT_NEAR(expected.log_weight[3][i], g.difference(g.problem.log_weight[i]), 1e-4) << i;
  EXPECT_NEAR(expected.sink_logit[0], g.difference(g.problem.sink[0]), 1e-4);
}

class SparseBackward : public testing::TestWithParam<std::tuple<const KernelTable*, Case>> {
 protected:
  Gradients gradients{std::get<1>(GetParam())};

  /// A weight's relative error is twice its logit's and a few roundings; a gradient's error is that of its
  /// largest part.
  void expect_near(const float* found, const double* expected, int64_t count, const std::string& name) const {
    double largest = 1;
    for (int64_t i = 0; i < count; ++i) largest = std::max(largest, std::abs(expected[i]));
    const double bound = largest * (1e-5 + 6 * gradients.problem.logit_error());
    for (int64_t i = 0; i < count; ++i) ASSERT_NEAR(found[i], expected[i], bound) << name << " " << i;
  }
};

TEST_P(SparseBackward, EqualsReference) {
  const KernelTable& table = *std::get<0>(GetParam());
  Gradients& g = gradients;
  const Case& c = g.problem.shape;
  table.attend(g.forward);
  const AttendBackwardArguments arguments = g.arguments();
  const reference::AttendGradients expected = reference::attend_backward(arguments, c.keys);
  const std::span<const AttendBackwardArguments> head(&arguments, 1);
  sparse_backward(table, {&head, 1});
  for (int64_t r = 0; r < c.rows; ++r) {
    expect_near(g.grad_query.data() + r * g.problem.key_stride, expected.query.data() + r * c.head_dim,
                c.head_dim, "query " + std::to_string(r));
  }
  std::vector<double> key = expected.key[0], value = expected.value[0];
  for (size_t i = 0; i < key.size(); ++i) key[i] += expected.key[1][i];
  for (size_t i = 0; i < value.size(); ++i) value[i] += expected.value[1][i];
  expect_near(g.grad_key[0].data(), key.data(), std::ssize(key), "first key");
  expect_near(g.grad_value[0].data(), value.data(), std::ssize(value), "first value");
  expect_near(g.grad_key[1].data(), expected.key[3].data(), std::ssize(key), "second key");
  expect_near(g.grad_value[1].data(), expected.value[3].data(), std::ssize(value), "second value");
  expect_near(g.grad_log_weight.data(), expected.log_weight[3].data(), std::ssize(g.grad_log_weight),
              "log weight");
  if (c.sink) expect_near(g.grad_sink.data(), expected.sink_logit.data(), c.rows, "sink");
}

/// A third of the forward's cases, in which all key and channel counts occur, and those of many rows.
std::vector<Case> backward_cases() {
  std::vector<Case> cases;
  const std::vector<Case> all = test::all_cases();
  for (size_t i = 0; i < all.size(); ++i) {
    if ((i % 3 == i / 9 % 3 || all[i].rows > kBackwardFewRows) && all[i].head_dim <= 256)
      cases.push_back(all[i]);
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Cases, SparseBackward,
                         testing::Combine(testing::ValuesIn(all_tables()),
                                          testing::ValuesIn(backward_cases())),
                         [](const auto& instance) {
                           return std::string(std::get<0>(instance.param)->target) + "_" +
                                  std::to_string(instance.index);
                         });

TEST(SparseBackwardThreads, ChangeNoBit) {
  constexpr size_t heads = 5;
  std::vector<float> first;
  for (const int threads : {1, 2, 3}) {
    const base::ThreadLimit limit(threads);
    // Two calls a head, which add to the same keys.
    std::vector<Gradients> gradients;
    gradients.reserve(heads);
    for (size_t h = 0; h < heads; ++h)
      gradients.emplace_back(Case{.rows = 3, .keys = 700, .head_dim = 20, .value_dim = 12, .weights = true});
    std::vector<std::vector<AttendBackwardArguments>> calls;
    std::vector<std::span<const AttendBackwardArguments>> spans;
    for (Gradients& g : gradients) {
      best_table().attend(g.forward);
      calls.push_back({g.arguments(), g.arguments()});
    }
    for (const auto& head : calls) spans.emplace_back(head);
    sparse_backward(best_table(), spans);
    std::vector<float> found;
    for (const Gradients& g : gradients)
      found.insert(found.end(), g.grad_key[0].begin(), g.grad_key[0].end());
    if (threads == 1) first = found;
    EXPECT_EQ(std::memcmp(first.data(), found.data(), first.size() * sizeof(float)), 0);
  }
}

}  // namespace
}  // namespace attnlab::kernels
