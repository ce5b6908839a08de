// Linear attention of every SIMD target against the double-precision reference, and that one against
// differences.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <optional>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "core/base/parallel.hpp"
#include "core/kernels/linear/linear_attention.hpp"
#include "core/kernels/linear/reference.hpp"
#include "core/kernels/table.hpp"

namespace attnlab::kernels {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

struct Case {
  int64_t tokens, head_dim, value_dim;
  FeatureMap map = FeatureMap::elu_plus_one;
  bool causal = true;
  bool normalise = true;
  bool state = false;  ///< initial state given, final state and its gradient taken
  bool lengths = false;
  int64_t heads = 1;

  friend std::ostream& operator<<(std::ostream& out, const Case& c) {
    return out << "tokens " << c.tokens << ", head_dim " << c.head_dim << ", value_dim " << c.value_dim
               << ", map " << static_cast<int>(c.map) << ", causal " << c.causal << ", normalise "
               << c.normalise << ", state " << c.state << ", lengths " << c.lengths;
  }
};

std::vector<Case> all_cases() {
  using enum FeatureMap;
  return {{0, 4, 3},
          {1, 1, 1},
          {1, 17, 33, exponential, true, true, true},
          {2, 5, 130, relu, true, true, true},
          {63, 16, 17, identity, true, false, false, false, 2},
          {64, 7, 64, elu_plus_one, false, true, true},
          {65, 33, 5, elu_plus_one, true, true, true, true, 2},
          {65, 64, 65, exponential, false, false, true},
          {130, 20, 31, relu, true, true, false, true, 3},
          {200, 65, 8, elu_plus_one, true, false, true},
          {129, 128, 70, elu_plus_one, true, true, true},
          {70, 256, 1, identity, false, false, true, true, 2},
          {300, 3, 3, exponential, true, true}};
}

/// Tensors of a case; gaps between rows are NaN, and so are tokens beyond the length of their batch entry.
struct Problem {
  explicit Problem(const Case& c) : shape(c), random(1) {
    batch = c.lengths ? 3 : 1;
    lengths = {c.tokens, 0, c.tokens * 2 / 3};
    query = rows(c.head_dim);
    key = rows(c.head_dim);
    value = rows(c.value_dim);
    d_out = rows(c.value_dim);
    initial_state = values(batch * c.heads * c.head_dim * c.value_dim, 0);
    d_final_state = values(std::ssize(initial_state), 0);
    initial_key_sum = values(batch * c.heads * c.head_dim, 3);  // denominators stay away from 0
    d_final_key_sum = values(std::ssize(initial_key_sum), 0);
    for (auto* rows_of : {&out, &d_value}) rows_of->assign(value.size(), kNan);
    for (auto* rows_of : {&d_query, &d_key}) rows_of->assign(query.size(), kNan);
    denominator.assign(batch * c.heads * c.tokens, kNan);
    final_state.assign(initial_state.size(), kNan);
    final_key_sum.assign(initial_key_sum.size(), kNan);
    d_initial_state = final_state;
    d_initial_key_sum = final_key_sum;
  }

  template <class Float>
  HeadRows<Float> view(Float* data, int64_t dim) const {
    const int64_t stride = dim + 3;
    return {data, shape.heads * shape.tokens * stride, shape.tokens * stride, stride};
  }

  LinearAttentionArguments forward() {
    return {.batch = batch,
            .heads = shape.heads,
            .tokens = shape.tokens,
            .head_dim = shape.head_dim,
            .value_dim = shape.value_dim,
            .feature_map = shape.map,
            .causal = shape.causal,
            .normalise = shape.normalise,
            .scale = 0.5F,
            .lengths = shape.lengths ? lengths.data() : nullptr,
            .query = view<const float>(query.data(), shape.head_dim),
            .key = view<const float>(key.data(), shape.head_dim),
            .value = view<const float>(value.data(), shape.value_dim),
            .out = view(out.data(), shape.value_dim),
            .denominator = denominator.data(),
            .initial_state = shape.state ? initial_state.data() : nullptr,
            .initial_key_sum = shape.state ? initial_key_sum.data() : nullptr,
            .final_state = shape.state ? final_state.data() : nullptr,
            .final_key_sum = shape.state ? final_key_sum.data() : nullptr};
  }

  LinearGradientArguments backward() {
    return {.forward = forward(),
            .d_out = view<const float>(d_out.data(), shape.value_dim),
            .d_final_state = shape.state ? d_final_state.data() : nullptr,
            .d_final_key_sum = shape.state ? d_final_key_sum.data() : nullptr,
            .d_query = view(d_query.data(), shape.head_dim),
            .d_key = view(d_key.data(), shape.head_dim),
            .d_value = view(d_value.data(), shape.value_dim),
            .d_initial_state = d_initial_state.data(),
            .d_initial_key_sum = d_initial_key_sum.data()};
  }

  std::vector<float> values(int64_t count, float mean) {
    std::normal_distribution<float> normal(mean, 0.7F);
    std::vector<float> result(count);
    for (float& x : result) x = normal(random);
    return result;
  }

  std::vector<float> rows(int64_t dim) {
    const int64_t stride = dim + 3;
    std::vector<float> result = values(batch * shape.heads * shape.tokens * stride, 0.3F);
    for (int64_t i = 0; i < std::ssize(result); ++i) {
      const int64_t b = i / stride / shape.tokens / shape.heads;
      const bool valid = !shape.lengths || i / stride % shape.tokens < lengths[b];
      if (i % stride >= dim || !valid) result[i] = kNan;
    }
    return result;
  }

  Case shape;
  std::mt19937 random;
  int64_t batch = 1;
  std::vector<int64_t> lengths;
  std::vector<float> query, key, value, d_out, initial_state, d_final_state, initial_key_sum, d_final_key_sum;
  std::vector<float> out, denominator, final_state, final_key_sum;
  std::vector<float> d_query, d_key, d_value, d_initial_state, d_initial_key_sum;
};

/// Rows with gaps against contiguous ones, within `relative` of the largest element (or of 0.1: gradients may
/// cancel); gaps must be untouched.
void expect_rows(const std::vector<float>& found, const std::vector<double>& expected, int64_t dim,
                 double relative, const std::string& what) {
  double largest = 0;
  for (const double x : expected) largest = std::max(largest, std::abs(x));
  const int64_t stride = dim + 3;
  ASSERT_EQ(std::ssize(found) / stride * dim, std::ssize(expected)) << what;
  for (int64_t i = 0; i < std::ssize(found); ++i) {
    if (i % stride >= dim) {
      EXPECT_TRUE(std::isnan(found[i])) << what << " gap " << i;
    } else {
      ASSERT_NEAR(found[i], expected[i / stride * dim + i % stride], relative * (largest + 0.1))
          << what << " " << i;
    }
  }
}

void expect_all(const std::vector<float>& found, const std::vector<double>& expected, double relative,
                const std::string& what) {
  double largest = 0;
  for (const double x : expected) largest = std::max(largest, std::abs(x));
  ASSERT_EQ(found.size(), expected.size()) << what;
  for (size_t i = 0; i < found.size(); ++i)
    ASSERT_NEAR(found[i], expected[i], relative * (largest + 0.1)) << what << " " << i;
}

class Linear : public testing::TestWithParam<const KernelTable*> {
 protected:
  const KernelTable& table() const { return *GetParam(); }
};

/// Error relative to the largest element: chains of at most 256 products and a sum over chunks.
constexpr double kForwardError = 2e-6;
constexpr double kBackwardError = 1e-5;

TEST_P(Linear, ForwardEqualsReference) {
  for (const Case& shape : all_cases()) {
    SCOPED_TRACE(testing::Message() << shape);
    Problem problem(shape);
    const reference::LinearOutputs wide = reference::linear_attention(problem.forward());
    linear_attention(table(), problem.forward());
    expect_rows(problem.out, wide.out, shape.value_dim, kForwardError, "out");
    if (shape.normalise) expect_all(problem.denominator, wide.denominator, kForwardError, "denominator");
    if (shape.state) expect_all(problem.final_state, wide.final_state, kForwardError, "state");
    if (shape.state && shape.normalise)
      expect_all(problem.final_key_sum, wide.final_key_sum, kForwardError, "key sum");
  }
}

TEST_P(Linear, BackwardEqualsReference) {
  for (const Case& shape : all_cases()) {
    SCOPED_TRACE(testing::Message() << shape);
    Problem problem(shape);
    const reference::LinearGradients wide = reference::linear_attention_gradient(problem.backward());
    linear_attention(table(), problem.forward());
    linear_attention_gradient(table(), problem.backward());
    expect_rows(problem.d_query, wide.query, shape.head_dim, kBackwardError, "query");
    expect_rows(problem.d_key, wide.key, shape.head_dim, kBackwardError, "key");
    expect_rows(problem.d_value, wide.value, shape.value_dim, kBackwardError, "value");
    expect_all(problem.d_initial_state, wide.initial_state, kBackwardError, "state");
    if (shape.normalise)
      expect_all(problem.d_initial_key_sum, wide.initial_key_sum, kBackwardError, "key sum");
  }
}

TEST_P(Linear, SameBitsForAnyThreads) {
  const Case shape{130, 20, 70, FeatureMap::elu_plus_one, true, true, true, true, 3};
  std::optional<Problem> expected;
  for (const int threads : {1, 2, 3}) {
    const base::ThreadLimit limit(threads);
    Problem problem(shape);
    linear_attention(table(), problem.forward());
    linear_attention_gradient(table(), problem.backward());
    if (!expected) expected = problem;
    expect_all(problem.final_state, {expected->final_state.begin(), expected->final_state.end()}, 0, "state");
    expect_all(problem.d_initial_state, {expected->d_initial_state.begin(), expected->d_initial_state.end()},
               0, "state gradient");
    for (size_t i = 0; i < problem.out.size(); ++i) {
      ASSERT_TRUE(std::isnan(problem.out[i]) || problem.out[i] == expected->out[i]) << i;
    }
  }
}

TEST_P(Linear, DecodeGoesOnFromAPrefix) {
  for (const bool normalise : {false, true}) {
    const Case shape{150, 24, 40, FeatureMap::elu_plus_one, true, normalise, true};
    Problem whole(shape), parts(shape);
    linear_attention(table(), whole.forward());
    parts.final_state = parts.initial_state;
    parts.final_key_sum = parts.initial_key_sum;
    for (int64_t begin = 0; begin < shape.tokens;) {
      const int64_t tokens = begin == 0 ? 77 : begin < 90 ? 1 : begin == 90 ? 59 : 1;
      LinearAttentionArguments part = parts.forward();
      part.tokens = tokens;
      part.denominator = nullptr;
      part.query.data += begin * part.query.row_stride;
      part.key.data += begin * part.key.row_stride;
      part.value.data += begin * part.value.row_stride;
      part.out.data += begin * part.out.row_stride;
      part.initial_state = part.final_state;
      part.initial_key_sum = part.final_key_sum;
      linear_attention(table(), part);
      begin += tokens;
    }
    std::vector<double> expected;
    for (int64_t i = 0; i < std::ssize(whole.out); ++i) {
      if (i % (shape.value_dim + 3) < shape.value_dim) expected.push_back(whole.out[i]);
    }
    expect_rows(parts.out, expected, shape.value_dim, kForwardError, "out");
    expect_all(parts.final_state, {whole.final_state.begin(), whole.final_state.end()}, kForwardError,
               "state");
  }
}

TEST_P(Linear, ARowWithoutFeaturesIsZero) {
  Problem problem({3, 4, 5, FeatureMap::relu});
  std::fill_n(problem.query.begin() + 7, 4, -1.0F);  // row 1
  linear_attention(table(), problem.forward());
  linear_attention_gradient(table(), problem.backward());
  EXPECT_EQ(problem.denominator[1], 0);
  for (int64_t c = 0; c < 5; ++c) EXPECT_EQ(problem.out[8 + c], 0);
  for (int64_t c = 0; c < 4; ++c) EXPECT_EQ(problem.d_query[7 + c], 0);
  for (int64_t c = 0; c < 4; ++c) EXPECT_TRUE(std::isfinite(problem.d_key[c]));
}

INSTANTIATE_TEST_SUITE_P(Targets, Linear, testing::ValuesIn(all_tables()),
                         [](const auto& instance) { return std::string(instance.param->target); });

TEST(LinearReference, GradientsEqualDifferences) {
  for (const bool causal : {false, true}) {
    for (const bool normalise : {false, true}) {
      for (const FeatureMap map : {FeatureMap::identity, FeatureMap::elu_plus_one, FeatureMap::exponential}) {
        Problem problem({5, 3, 2, map, causal, normalise, true});
        const auto loss = [&] {
          const reference::LinearOutputs outputs = reference::linear_attention(problem.forward());
          double sum = 0;
          for (int64_t i = 0; i < 5 * 2; ++i) sum += outputs.out[i] * problem.d_out[i / 2 * 5 + i % 2];
          const auto add = [&](const std::vector<double>& x, const std::vector<float>& weight) {
            sum = std::inner_product(x.begin(), x.end(), weight.begin(), sum);
          };
          add(outputs.final_state, problem.d_final_state);
          if (normalise) add(outputs.final_key_sum, problem.d_final_key_sum);
          return sum;
        };
        const reference::LinearGradients found = reference::linear_attention_gradient(problem.backward());
        const auto check = [&](std::vector<float>& x, const std::vector<double>& gradient, int64_t dim,
                               int64_t stride) {
          for (int64_t i = 0; i < std::ssize(gradient); ++i) {
            float& element = x[i / dim * stride + i % dim];
            const float before = element;
            element = before + 0x1p-10F;
            const double above = loss(), high = element;
            element = before - 0x1p-10F;
            const double difference = (above - loss()) / (high - element);
            element = before;
            EXPECT_NEAR(gradient[i], difference, 2e-4 * (1 + std::abs(difference)));
          }
        };
        check(problem.query, found.query, 3, 6);
        check(problem.key, found.key, 3, 6);
        check(problem.value, found.value, 2, 5);
        check(problem.initial_state, found.initial_state, 1, 1);
        if (normalise) check(problem.initial_key_sum, found.initial_key_sum, 1, 1);
      }
    }
  }
}

}  // namespace
}  // namespace attnlab::kernels
