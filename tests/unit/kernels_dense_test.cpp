// Dense attention of whole problems: against the double-precision reference, over storage types and threads.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "core/base/parallel.hpp"
#include "core/kernels/attention/dense.hpp"
#include "core/kernels/attention/reference.hpp"
#include "core/kernels/table.hpp"
#include "tests/unit/kernels_test_support.hpp"

namespace attnlab::kernels {
namespace {

using test::kInfinity;
using test::kNan;

struct Shape {
  const char* name;
  int64_t batch, query_heads, kv_heads, queries, keys, head_dim, value_dim;
  bool causal = true, bias = false, sink = false, valid = false, token_major = false;
};

const Shape kShapes[] = {{"one_key", 1, 1, 1, 1, 1, 1, 1},
                         {"no_keys", 1, 2, 1, 3, 0, 8, 8, false},
                         {"decode", 1, 8, 2, 1, 700, 64, 64},
                         {"decode_odd", 2, 3, 3, 1, 130, 17, 33, true, true, true, true},
                         {"decode_long", 1, 4, 1, 2, 9000, 16, 24, true, false, true},
                         {"decode_wide_group", 1, 12, 1, 1, 300, 40, 80, true, true},
                         {"prefill", 1, 4, 2, 150, 150, 128, 128},
                         {"prefill_odd", 2, 6, 2, 131, 141, 37, 70, true, true, true, true},
                         {"prefill_token_major", 2, 2, 1, 100, 100, 64, 64, true, false, false, true, true},
                         {"prefill_wide", 1, 2, 2, 65, 257, 256, 200, false, false, true},
                         {"more_queries_than_keys", 1, 2, 1, 300, 200, 24, 16},
                         {"tiny_heads", 1, 3, 1, 40, 129, 1, 3, false, true}};

struct Strides {
  int64_t batch = 0, head = 0, row = 0;
};

template <class Number>
HeadRows<Number> at(Number* data, const Strides& stride) {
  return {data, stride.batch, stride.head, stride.row};
}

/// Inputs of a shape; gaps between rows are NaN.
struct DenseProblem {
  explicit DenseProblem(const Shape& s) : shape(s), random(7) {
    const int64_t padding = s.head_dim % 2 == 1 ? 3 : 0;
    query_stride = strides(s.query_heads, s.queries, s.head_dim + padding);
    key_stride = strides(s.kv_heads, s.keys, s.head_dim + padding);
    value_stride = strides(s.kv_heads, s.keys, s.value_dim);
    out_stride = strides(s.query_heads, s.queries, s.value_dim);
    query = values(s.query_heads * s.queries, s.head_dim, s.head_dim + padding);
    key = values(s.kv_heads * s.keys, s.head_dim, s.head_dim + padding);
    value = values(s.kv_heads * s.keys, s.value_dim, s.value_dim);
    std::normal_distribution<float> normal;
    // Shared by the heads.
    for (int64_t i = 0; i < s.batch * s.queries * s.keys; ++i)
      bias.push_back(i % 7 == 3 ? -kInfinity : normal(random));
    for (int64_t h = 0; h < s.query_heads; ++h) sink.push_back(h % 2 == 0 ? normal(random) : -kInfinity);
    for (int64_t b = 0; b < s.batch; ++b) valid.push_back(s.keys - 9 * b);
  }

  DenseArguments arguments(std::vector<float>& out, std::vector<float>& lse) const {
    out.assign(static_cast<size_t>(shape.batch * shape.query_heads * shape.queries * shape.value_dim), kNan);
    lse.assign(static_cast<size_t>(shape.batch * shape.query_heads * shape.queries), kNan);
    DenseArguments a;
    a.batch = shape.batch;
    a.query_heads = shape.query_heads;
    a.kv_heads = shape.kv_heads;
    a.queries = shape.queries;
    a.keys = shape.keys;
    a.head_dim = shape.head_dim;
    a.value_dim = shape.value_dim;
    a.scale = 1 / std::sqrt(static_cast<float>(shape.head_dim));
    a.causal = shape.causal;
    a.query = at(query.data(), query_stride);
    a.key = at(key.data(), key_stride);
    a.value = at(value.data(), value_stride);
    a.valid = shape.valid ? valid.data() : nullptr;
    if (shape.bias) a.bias = {bias.data(), shape.queries * shape.keys, 0, shape.keys};
    a.sink_logit = shape.sink ? sink.data() : nullptr;
    a.out = at(out.data(), out_stride);
    a.lse = lse.data();
    return a;
  }

  Shape shape;
  std::mt19937 random;
  Strides query_stride, key_stride, value_stride, out_stride;
  std::vector<float> query, key, value, bias, sink;
  std::vector<int64_t> valid;

 private:
  Strides strides(int64_t heads, int64_t rows, int64_t row) const {
    return shape.token_major ? Strides{heads * rows * row, row, heads * row}
                             : Strides{heads * rows * row, rows * row, row};
  }
  std::vector<float> values(int64_t rows, int64_t dim, int64_t stride) {
    std::vector<float> result(static_cast<size_t>(shape.batch * rows * stride), kNan);
    std::normal_distribution<float> normal;
    for (int64_t r = 0; r < shape.batch * rows; ++r) {
      for (int64_t c = 0; c < dim; ++c) result[static_cast<size_t>(r * stride + c)] = normal(random);
    }
    return result;
  }
};

class Dense : public testing::TestWithParam<std::tuple<const KernelTable*, Shape>> {
 protected:
  const KernelTable& table() const { return *std::get<0>(GetParam()); }
  DenseProblem problem{std::get<1>(GetParam())};
};

std::string name_of_instance(const testing::TestParamInfo<Dense::ParamType>& info) {
  return std::string(std::get<0>(info.param)->target) + "_" + std::get<1>(info.param).name;
}

TEST_P(Dense, EqualsReference) {
  std::vector<float> out, lse;
  const DenseArguments arguments = problem.arguments(out, lse);
  std::vector<double> wide(out.size(), kNan), wide_lse(lse.size(), kNan);
  reference::dense_attention(arguments, wide.data(), wide_lse.data());
  dense_attention(table(), arguments);
  for (size_t i = 0; i < lse.size(); ++i) {
    if (std::isinf(wide_lse[i])) {
      EXPECT_EQ(lse[i], wide_lse[i]) << i;
    } else {
      EXPECT_NEAR(lse[i], wide_lse[i], 1e-5) << i;
    }
  }
  for (size_t i = 0; i < out.size(); ++i) ASSERT_NEAR(out[i], wide[i], 2e-5) << i;
}

TEST_P(Dense, AnyThreadsGiveTheSameBits) {
  std::vector<float> expected, expected_lse;
  {
    const base::ThreadLimit one(1);
    dense_attention(table(), problem.arguments(expected, expected_lse));
  }
  for (const int threads : {2, 3}) {
    const base::ThreadLimit limit(threads);
    std::vector<float> out, lse;
    dense_attention(table(), problem.arguments(out, lse));
    EXPECT_EQ(std::memcmp(out.data(), expected.data(), out.size() * sizeof(float)), 0)
        << threads << " threads";
    EXPECT_EQ(std::memcmp(lse.data(), expected_lse.data(), lse.size() * sizeof(float)), 0)
        << threads << " threads";
  }
}

/// Storage in 16 bits changes no bit of what its values give in float.
template <class Element, class Round>
void expect_same_bits_as_float(const KernelTable& table, DenseProblem& problem, Round round) {
  std::vector<Element> key, value;
  for (auto* pair : {&problem.key, &problem.value}) {
    auto& stored = pair == &problem.key ? key : value;
    for (float& x : *pair) {
      stored.push_back(round(x));
      x = to_float(stored.back());
    }
  }
  std::vector<float> expected, expected_lse, out, lse;
  dense_attention(table, problem.arguments(expected, expected_lse));
  const DenseArguments a = problem.arguments(out, lse);
  DenseArgumentsOf<Element> b;
  b.batch = a.batch;
  b.query_heads = a.query_heads;
  b.kv_heads = a.kv_heads;
  b.queries = a.queries;
  b.keys = a.keys;
  b.head_dim = a.head_dim;
  b.value_dim = a.value_dim;
  b.scale = a.scale;
  b.causal = a.causal;
  b.query = a.query;
  b.key = {key.data(), a.key.batch_stride, a.key.head_stride, a.key.row_stride};
  b.value = {value.data(), a.value.batch_stride, a.value.head_stride, a.value.row_stride};
  b.valid = a.valid;
  b.bias = a.bias;
  b.sink_logit = a.sink_logit;
  b.out = a.out;
  b.lse = a.lse;
  dense_attention(table, b);
  EXPECT_EQ(std::memcmp(out.data(), expected.data(), out.size() * sizeof(float)), 0);
  EXPECT_EQ(std::memcmp(lse.data(), expected_lse.data(), lse.size() * sizeof(float)), 0);
}

TEST_P(Dense, BFloat16KeysAndValues) {
  expect_same_bits_as_float<BFloat16>(table(), problem, to_bfloat16);
}

TEST_P(Dense, Float16KeysAndValues) {
  // Sixteenths up to 4 are float16 numbers.
  expect_same_bits_as_float<Float16>(table(), problem, [](float x) {
    if (x != x) return Float16{0x7E00};
    const float rounded = std::round(std::min(std::abs(x), 3.9F) * 16) / 16;
    int exponent = 0;
    const float fraction = std::frexp(rounded, &exponent);  // in [0.5, 1)
    const auto bits = rounded == 0 ? 0
                                   : static_cast<int>((exponent + 14) << 10) +
                                         static_cast<int>(std::lround((fraction * 2 - 1) * 1024));
    return Float16{static_cast<uint16_t>(bits | (std::signbit(x) ? 0x8000 : 0))};
  });
}

INSTANTIATE_TEST_SUITE_P(Targets, Dense,
                         testing::Combine(testing::ValuesIn(all_tables()), testing::ValuesIn(kShapes)),
                         name_of_instance);

// Values that are not finite stay with the rows that see them.
TEST(DensePrefill, LaterValuesThatAreNotFiniteChangeNothing) {
  const Shape shape{"", 1, 1, 1, 200, 200, 16, 16};
  DenseProblem problem(shape);
  std::vector<float> expected, lse, out;
  dense_attention(best_table(), problem.arguments(expected, lse));
  problem.value[150 * 16 + 3] = kNan;
  dense_attention(best_table(), problem.arguments(out, lse));
  EXPECT_EQ(std::memcmp(out.data(), expected.data(), 150 * 16 * sizeof(float)), 0);
  for (int64_t i = 150; i < 200; ++i) EXPECT_TRUE(std::isnan(out[static_cast<size_t>(i * 16 + 3)])) << i;
}

// 9000 keys are three parts: a merge of what they give alone.
TEST(SplitAttend, AgreesWithOnePassAndMerges) {
  std::mt19937 random(3);
  const int64_t keys = 9000, dim = 32;
  const auto key = test::normal_rows(random, keys, dim, dim),
             value = test::normal_rows(random, keys, dim, dim);
  const auto query = test::normal_rows(random, 2, dim, dim);
  const Range runs[] = {{0, 3000}, {3500, 8000}};
  std::vector<int32_t> ids;
  std::vector<float> log_weight;
  for (int32_t j = 8000; j < keys; j += 2) {
    ids.push_back(j);
    log_weight.push_back(0.5F);
  }
  const Segment segments[] = {
      {key.data(), dim, value.data(), dim, runs, 2},
      {key.data(), dim, value.data(), dim, nullptr, 0, ids.data(), std::ssize(ids), log_weight.data()}};
  const float sink[] = {0.5F, -1};
  std::vector<float> out(2 * dim), lse(2), parts(2 * dim), parts_lse(2);
  AttendArguments a;
  a.query = query.data();
  a.query_stride = dim;
  a.rows = 2;
  a.head_dim = a.value_dim = dim;
  a.segments = segments;
  a.segment_count = 2;
  a.sink_logit = sink;
  a.out = out.data();
  a.out_stride = dim;
  a.lse = lse.data();
  best_table().attend(a);
  a.out = parts.data();
  a.lse = parts_lse.data();
  split_attend(best_table(), a);
  for (int64_t i = 0; i < 2; ++i) EXPECT_NEAR(parts_lse[i], lse[i], 2e-6);
  for (int64_t i = 0; i < 2 * dim; ++i) EXPECT_NEAR(parts[i], out[i], 2e-6);
}

/// A row of nothing but NaN must not look like one that sees nothing.
TEST(SplitAttend, NanStaysNan) {
  for (const int64_t keys : {kSplitEntries, kSplitEntries + 1, 3 * kSplitEntries}) {
    const std::vector<float> query(4, kNan), key(static_cast<size_t>(4 * keys), 1), value(key);
    const Range all{0, static_cast<int32_t>(keys)};
    const Segment segment{key.data(), 4, value.data(), 4, &all, 1};
    std::vector<float> out(4), lse(1);
    AttendArguments a;
    a.query = query.data();
    a.rows = 1;
    a.head_dim = a.value_dim = a.query_stride = a.out_stride = 4;
    a.segments = &segment;
    a.segment_count = 1;
    a.out = out.data();
    a.lse = lse.data();
    split_attend(best_table(), a);
    EXPECT_TRUE(std::isnan(lse[0])) << keys;
    EXPECT_TRUE(std::isnan(out[0])) << keys;
  }
}

}  // namespace
}  // namespace attnlab::kernels
