// The backward of attention: the reference against differences of the loss, every SIMD target against the
// reference.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <ostream>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "core/base/parallel.hpp"
#include "core/kernels/attention/backward_reference.hpp"
#include "core/kernels/table.hpp"

namespace attnlab::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

struct Shape {
  int64_t batches = 1;
  int64_t query_heads = 1;
  int64_t kv_heads = 1;
  int64_t queries = 1;
  int64_t keys = 1;
  int64_t head_dim = 1;
  int64_t value_dim = 1;
  bool causal = false;
  bool bias = false;  ///< with some -inf
  bool sink = false;
  bool grad_lse = false;
  std::vector<int64_t> valid;  ///< empty: all keys

  friend std::ostream& operator<<(std::ostream& out, const Shape& s) {
    return out << s.batches << " x " << s.query_heads << "/" << s.kv_heads << " heads, " << s.queries << " x "
               << s.keys << ", dims " << s.head_dim << " " << s.value_dim << ", causal " << s.causal
               << ", bias " << s.bias << ", sink " << s.sink << ", grad_lse " << s.grad_lse;
  }
};

/// Rows of [batches, heads, rows, size] that lie `padding` apart beyond their size; gaps and untouched values
/// are NaN.
struct Rows {
  Rows() = default;
  Rows(int64_t batches, int64_t head_count, int64_t row_count, int64_t row_size, int64_t padding)
      : heads(head_count),
        rows(row_count),
        size(row_size),
        stride(row_size + padding),
        values(batches * heads * rows * stride, kNan) {}

  void fill(std::mt19937& random) {
    std::normal_distribution<float> normal;
    for (size_t i = 0; i < values.size(); ++i) {
      if (static_cast<int64_t>(i) % stride < size) values[i] = normal(random);
    }
  }
  HeadRows<float> view() { return {values.data(), heads * rows * stride, rows * stride, stride}; }
  HeadRows<const float> view() const { return {values.data(), heads * rows * stride, rows * stride, stride}; }

  int64_t heads = 0, rows = 0, size = 0, stride = 0;
  std::vector<float> values;
};

struct Problem {
  explicit Problem(const Shape& s)
      : shape(s),
        query(s.batches, s.query_heads, s.queries, s.head_dim, 3),
        key(s.batches, s.kv_heads, s.keys, s.head_dim, 1),
        value(s.batches, s.kv_heads, s.keys, s.value_dim, 2),
        bias(s.batches, s.query_heads, s.queries, s.keys, 5),
        out(s.batches, s.query_heads, s.queries, s.value_dim, 0),
        grad_out(s.batches, s.query_heads, s.queries, s.value_dim, 4),
        grad_query(query),
        grad_key(key),
        grad_value(value),
        lse(s.batches * s.query_heads * s.queries),
        sink(s.query_heads),
        grad_lse(lse.size()),
        grad_sink(s.query_heads, kNan) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    for (Rows* rows : {&query, &key, &value, &bias, &grad_out}) rows->fill(random);
    for (size_t i = 0; i < bias.values.size(); i += 5) bias.values[i] = -kInfinity;
    for (float& x : sink) x = normal(random);
    for (float& x : grad_lse) x = normal(random);
    for (int64_t b = 0; b < s.batches && !s.valid.empty(); ++b) {  // what lies beyond `valid` is never read
      for (int64_t h = 0; h < s.kv_heads; ++h) {
        for (int64_t j = s.valid[b]; j < s.keys; ++j) {
          std::fill_n(key.view().row(b, h, j), s.head_dim, kNan);
          std::fill_n(value.view().row(b, h, j), s.value_dim, kNan);
        }
      }
    }
    loss();
  }

  DenseBackwardArguments arguments() {
    return {.batches = shape.batches,
            .query_heads = shape.query_heads,
            .kv_heads = shape.kv_heads,
            .queries = shape.queries,
            .keys = shape.keys,
            .head_dim = shape.head_dim,
            .value_dim = shape.value_dim,
            .scale = 1 / std::sqrt(static_cast<float>(shape.head_dim)),
            .causal = shape.causal,
            .valid = shape.valid.empty() ? nullptr : shape.valid.data(),
            .query = std::as_const(query).view(),
            .key = std::as_const(key).view(),
            .value = std::as_const(value).view(),
            .bias = shape.bias ? std::as_const(bias).view() : HeadRows<const float>{},
            .sink_logit = shape.sink ? sink.data() : nullptr,
            .out = std::as_const(out).view(),
            .lse = lse.data(),
            .grad_out = std::as_const(grad_out).view(),
            .grad_lse = shape.grad_lse ? grad_lse.data() : nullptr,
            .grad_query = grad_query.view(),
            .grad_key = grad_key.view(),
            .grad_value = grad_value.view(),
            .grad_sink_logit = shape.sink ? grad_sink.data() : nullptr};
  }

  /// The forward in double; fills out and lse. Its gradients are what is tested.
  double loss() {
    const DenseBackwardArguments a = arguments();
    double sum = 0;
    for (int64_t b = 0; b < a.batches; ++b) {
      for (int64_t h = 0; h < a.query_heads; ++h) {
        for (int64_t i = 0; i < a.queries; ++i) sum += row_loss(a, b, h, i);
      }
    }
    return sum;
  }

  double row_loss(const DenseBackwardArguments& a, int64_t b, int64_t h, int64_t i) {
    const int64_t group = a.query_heads / a.kv_heads;
    const int64_t valid = a.valid == nullptr ? a.keys : a.valid[b];
    const int64_t end = a.causal ? std::clamp<int64_t>(i + valid - a.queries + 1, 0, valid) : valid;
    double denominator = a.sink_logit == nullptr ? 0 : std::exp(double{a.sink_logit[h]});
    std::vector<double> sums(shape.value_dim);
    for (int64_t j = 0; j < end; ++j) {
      double logit = a.bias.data == nullptr ? 0 : a.bias.row(b, h, i)[j];
      for (int64_t c = 0; c < a.head_dim; ++c)
        logit += double{a.scale} * a.query.row(b, h, i)[c] * a.key.row(b, h / group, j)[c];
      denominator += std::exp(logit);
      for (int64_t c = 0; c < a.value_dim; ++c) sums[c] += std::exp(logit) * a.value.row(b, h / group, j)[c];
    }
    const int64_t at = (b * a.query_heads + h) * a.queries + i;
    lse[at] = static_cast<float>(std::log(denominator));
    double loss = a.grad_lse == nullptr || denominator == 0 ? 0 : std::log(denominator) * a.grad_lse[at];
    for (int64_t c = 0; c < a.value_dim; ++c) {
      const double mean = denominator == 0 ? 0 : sums[c] / denominator;
      out.view().row(b, h, i)[c] = static_cast<float>(mean);
      loss += mean * a.grad_out.row(b, h, i)[c];
    }
    return loss;
  }

  Shape shape;
  Rows query, key, value, bias, out, grad_out, grad_query, grad_key, grad_value;
  std::vector<float> lse, sink, grad_lse, grad_sink;
};

/// Central differences of the loss by each value of `inputs`, against the gradient.
void expect_differences(Problem& problem, Rows& inputs, const std::vector<double>& gradient) {
  constexpr float step = 0x1p-9F;
  for (size_t i = 0; i < gradient.size(); ++i) {
    float& x = inputs.values[static_cast<int64_t>(i) / inputs.size * inputs.stride +
                             static_cast<int64_t>(i) % inputs.size];
    const float old = x;
    x = old + step;
    const double high = problem.loss(), high_x = x;
    x = old - step;
    const double low = problem.loss(), low_x = x;
    x = old;
    EXPECT_NEAR(gradient[i], (high - low) / (high_x - low_x), 1e-4) << i;
  }
}

TEST(BackwardReference, EqualsDifferencesOfTheLoss) {
  for (const bool causal : {false, true}) {
    Problem problem({2, 4, 2, 5, 6, 3, 2, causal, true, true, true, {}});
    const reference::DenseGradients gradients = reference::dense_backward(problem.arguments());
    expect_differences(problem, problem.query, gradients.query);
    expect_differences(problem, problem.key, gradients.key);
    expect_differences(problem, problem.value, gradients.value);
    Rows sink(1, 4, 1, 1, 0);
    for (size_t h = 0; h < 4; ++h) {
      const float old = problem.sink[h];
      problem.sink[h] = old + 0x1p-9F;
      const double high = problem.loss(), high_x = problem.sink[h];
      problem.sink[h] = old - 0x1p-9F;
      const double low = problem.loss(), low_x = problem.sink[h];
      problem.sink[h] = old;
      EXPECT_NEAR(gradients.sink_logit[h], (high - low) / (high_x - low_x), 1e-4);
    }
  }
}

class Backward : public testing::TestWithParam<std::tuple<const KernelTable*, Shape>> {
 protected:
  const KernelTable& table() const { return *std::get<0>(GetParam()); }
  Problem problem{std::get<1>(GetParam())};

  /// The error of p is relative, about that of a logit plus lse's rounding; each gradient sums p times
  /// differences of dot products of `value_dim` normal values. `largest` is the largest gradient of the
  /// tensor.
  static void expect_near(const Rows& found, const std::vector<double>& expected, const std::string& name) {
    double largest = 1;
    for (const double x : expected) largest = std::max(largest, std::abs(x));
    for (size_t i = 0; i < expected.size(); ++i) {
      const auto row = static_cast<int64_t>(i) / found.size;
      ASSERT_NEAR(found.values[row * found.stride + static_cast<int64_t>(i) % found.size], expected[i],
                  2e-5 * largest)
          << name << " row " << row;
    }
    for (size_t i = 0; i < found.values.size(); ++i) {
      if (static_cast<int64_t>(i) % found.stride >= found.size) {
        ASSERT_TRUE(std::isnan(found.values[i])) << name;
      }
    }
  }
};

TEST_P(Backward, EqualsReference) {
  for (Rows* rows : {&problem.grad_query, &problem.grad_key, &problem.grad_value})
    std::fill(rows->values.begin(), rows->values.end(), kNan);
  const DenseBackwardArguments arguments = problem.arguments();
  const reference::DenseGradients expected = reference::dense_backward(arguments);
  const base::ThreadLimit limit(2);
  dense_backward(table(), arguments);
  expect_near(problem.grad_query, expected.query, "query");
  expect_near(problem.grad_key, expected.key, "key");
  expect_near(problem.grad_value, expected.value, "value");
  for (int64_t h = 0; problem.shape.sink && h < problem.shape.query_heads; ++h)
    EXPECT_NEAR(problem.grad_sink[h], expected.sink_logit[h], 1e-4) << h;
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, Backward,
    testing::Combine(testing::ValuesIn(all_tables()),
                     testing::Values(Shape{}, Shape{1, 1, 1, 7, 1, 3, 5, false, false, false, false, {}},  //
                                     Shape{1, 2, 1, 97, 193, 17, 33, true, true, true, true, {}},          //
                                     Shape{2, 2, 2, 100, 70, 64, 8, true, false, false, false, {}},        //
                                     Shape{2, 3, 1, 9, 200, 80, 80, false, true, false, true, {130, 0}},
                                     Shape{2, 1, 1, 120, 400, 8, 16, true, false, true, false, {390, 60}},
                                     Shape{1, 1, 1, 13, 20, 256, 130, false, false, false, false, {}})),
    [](const auto& instance) {
      return std::string(std::get<0>(instance.param)->target) + "_" + std::to_string(instance.index);
    });

TEST(BackwardThreads, ChangeNoBit) {
  Problem problem({1, 2, 1, 300, 800, 16, 16, true, false, true, true, {}});
  std::vector<std::vector<float>> first;
  for (const int threads : {1, 2, 3, 4}) {
    const base::ThreadLimit limit(threads);
    for (size_t at = 0; at < all_tables().size(); ++at) {
      const KernelTable* table = all_tables()[at];
      dense_backward(*table, problem.arguments());
      if (threads == 1) {
        first.push_back(problem.grad_query.values);
        first.push_back(problem.grad_key.values);
        first.push_back(problem.grad_sink);
      }
      const auto equal = [](const std::vector<float>& a, const std::vector<float>& b) {
        return std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
      };
      EXPECT_TRUE(equal(first[3 * at], problem.grad_query.values)) << table->target;
      EXPECT_TRUE(equal(first[3 * at + 1], problem.grad_key.values)) << table->target;
      EXPECT_TRUE(equal(first[3 * at + 2], problem.grad_sink)) << table->target;
    }
  }
}

}  // namespace
}  // namespace attnlab::kernels
