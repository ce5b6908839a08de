// Attention in bfloat16 on tiles against double precision: on emulated tiles everywhere, on AMX where the CPU
// has it.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "core/base/parallel.hpp"
#include "core/kernels/amx/block-inl.hpp"
#include "core/kernels/attention/dense_amx.hpp"
#include "core/kernels/attention/reference.hpp"
#include "core/mask/seen_keys.hpp"

namespace attnlab::kernels {
namespace {

float widened(uint16_t x) {
  return std::bit_cast<float>(uint32_t{x} << 16);
}

/// Eight tiles in memory, with the arithmetic of TDPBF16PS: products of even and of odd positions are summed
/// apart, in order, by float32 multiply-adds, and subnormal numbers are 0.
class EmulatedTiles {
 public:
  EmulatedTiles() { std::memset(tile, 0xff, sizeof tile); }  // NaN in either type

  template <int kTile>
  static void zero() {
    std::memset(tile[kTile], 0, sizeof tile[kTile]);
  }
  template <int kTile>
  static void load(const void* from, int64_t stride) {
    for (int64_t row = 0; row < 16; ++row)
      std::memcpy(tile[kTile][row], static_cast<const char*>(from) + row * stride, 64);
  }
  template <int kTile>
  static void store(void* to, int64_t stride) {
    for (int64_t row = 0; row < 16; ++row)
      std::memcpy(static_cast<char*>(to) + row * stride, tile[kTile][row], 64);
  }
  template <int kSum, int kA, int kB>
  static void multiply() {
    uint16_t a[16][32], b[16][32];
    float sum[16][16];
    std::memcpy(a, tile[kA], sizeof a);
    std::memcpy(b, tile[kB], sizeof b);
    std::memcpy(sum, tile[kSum], sizeof sum);
    for (int m = 0; m < 16; ++m) {
      float apart[32] = {};
      for (int k = 0; k < 16; ++k) {
        for (int n = 0; n < 32; ++n) {
          // The product of two bfloat16 has at most 16 significant bits: the multiply-add rounds once.
          apart[n] = flushed(apart[n] + flushed(widened(a[m][2 * k + n % 2])) * flushed(widened(b[k][n])));
        }
      }
      for (int n = 0; n < 16; ++n)
        sum[m][n] = flushed(flushed(sum[m][n]) + flushed(apart[2 * n] + apart[2 * n + 1]));
    }
    std::memcpy(tile[kSum], sum, sizeof sum);
  }

 private:
  static float flushed(float x) { return std::abs(x) < std::numeric_limits<float>::min() ? 0.0F : x; }

  static thread_local unsigned char tile[8][16][64];
};

thread_local unsigned char EmulatedTiles::tile[8][16][64];

constexpr AmxKernels kEmulated{amx_attend<EmulatedTiles>, amx_round};

struct Shape {
  int64_t batches = 1, query_heads = 1, kv_heads = 1, queries = 1, keys = 1, head_dim = 8, value_dim = 8;
  bool causal = false;
  bool sink = false;
  std::vector<int64_t> valid = {};

  friend std::ostream& operator<<(std::ostream& out, const Shape& s) {
    return out << s.batches << " x " << s.query_heads << "/" << s.kv_heads << " heads, " << s.queries << " x "
               << s.keys << ", dims " << s.head_dim << " " << s.value_dim << ", causal " << s.causal
               << ", sink " << s.sink;
  }
};

std::vector<Shape> shapes() {
  return {{},
          {1, 2, 1, 37, 37, 17, 40, true, true},
          {1, 1, 1, 131, 300, 64, 33, true, false},
          {2, 2, 2, 5, 290, 80, 8, false, false, {270, 0}},
          {2, 1, 1, 70, 60, 8, 256, true, true, {50, 33}},
          {1, 1, 1, 33, 31, 256, 1, false, true}};
}

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// Normal values that bfloat16 holds exactly, scaled so that the largest logits are about 10.
struct Problem {
  explicit Problem(const Shape& s)
      : shape(s), valid(s.valid.empty() ? std::vector(s.batches, s.keys) : s.valid) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    const auto fill = [&](std::vector<float>& values, int64_t count) {
      for (int64_t i = 0; i < count; ++i)
        values.push_back(std::bit_cast<float>(std::bit_cast<uint32_t>(2 * normal(random)) & 0xffff0000));
    };
    fill(query, s.batches * s.query_heads * s.queries * s.head_dim);
    fill(key, s.batches * s.kv_heads * s.keys * s.head_dim);
    fill(value, s.batches * s.kv_heads * s.keys * s.value_dim);
    fill(sink, s.query_heads);
    for (int64_t b = 0; b < s.batches; ++b) {  // what lies beyond `valid` is never read
      for (int64_t h = b * s.kv_heads; h < (b + 1) * s.kv_heads; ++h) {
        for (int64_t j = valid[b]; j < s.keys; ++j) {
          std::fill_n(key.data() + (h * s.keys + j) * s.head_dim, s.head_dim, kNan);
          std::fill_n(value.data() + (h * s.keys + j) * s.value_dim, s.value_dim, kNan);
        }
      }
    }
    for (const float x : key) narrow_key.push_back(to_bfloat16(x));
    for (const float x : value) narrow_value.push_back(to_bfloat16(x));
    out.assign(s.batches * s.query_heads * s.queries * s.value_dim, kNan);
    lse.assign(s.batches * s.query_heads * s.queries, kNan);
  }

  DenseArgumentsOf<BFloat16> arguments() {
    const auto rows = [](auto& values, int64_t heads, int64_t count, int64_t size) {
      return HeadRows<std::remove_pointer_t<decltype(values.data())>>{values.data(), heads * count * size,
                                                                      count * size, size};
    };
    const Shape& s = shape;
    const Problem& inputs = *this;
    DenseArgumentsOf<BFloat16> a;
    a.batch = s.batches;
    a.query_heads = s.query_heads;
    a.kv_heads = s.kv_heads;
    a.queries = s.queries;
    a.keys = s.keys;
    a.head_dim = s.head_dim;
    a.value_dim = s.value_dim;
    a.scale = scale();
    a.causal = s.causal;
    a.query = rows(inputs.query, s.query_heads, s.queries, s.head_dim);
    a.key = rows(inputs.narrow_key, s.kv_heads, s.keys, s.head_dim);
    a.value = rows(inputs.narrow_value, s.kv_heads, s.keys, s.value_dim);
    a.valid = s.valid.empty() ? nullptr : valid.data();
    a.sink_logit = s.sink ? sink.data() : nullptr;
    a.out = rows(out, s.query_heads, s.queries, s.value_dim);
    a.lse = lse.data();
    return a;
  }

  void run(const AmxKernels& kernels) {
    const auto a = arguments();
    ASSERT_TRUE(amx_takes(a));
    ASSERT_TRUE(dense_attention_amx(kernels, a));
  }

  float scale() const { return 0.5F / std::sqrt(static_cast<float>(shape.head_dim)); }

  /// Weights are rounded to bfloat16, relative error 2^-9, and values are below 10; lse has float32's error.
  void expect_reference() const {
    const Shape& s = shape;
    std::vector<double> expected(s.value_dim);
    for (int64_t row = 0; row < std::ssize(lse); ++row) {
      const int64_t batch = row / (s.query_heads * s.queries);
      const int64_t head = row / s.queries % s.query_heads;
      const int64_t kv_head = batch * s.kv_heads + head / (s.query_heads / s.kv_heads);
      const Range run{
          0, static_cast<int32_t>(mask::seen_keys(row % s.queries, s.queries, valid[batch], s.causal))};
      const Segment segment{key.data() + kv_head * s.keys * s.head_dim,
                            s.head_dim,
                            value.data() + kv_head * s.keys * s.value_dim,
                            s.value_dim,
                            &run,
                            1};
      double expected_lse = 0;
      reference::attend({.query = query.data() + row * s.head_dim,
                         .rows = 1,
                         .head_dim = s.head_dim,
                         .value_dim = s.value_dim,
                         .scale = scale(),
                         .segments = &segment,
                         .segment_count = 1,
                         .sink_logit = s.sink ? sink.data() + head : nullptr},
                        expected.data(), &expected_lse);
      if (std::isinf(expected_lse)) {
        EXPECT_EQ(lse[row], expected_lse);
      } else {
        EXPECT_NEAR(lse[row], expected_lse, 2e-5) << s << ", row " << row;
      }
      for (int64_t c = 0; c < s.value_dim; ++c)
        ASSERT_NEAR(out[row * s.value_dim + c], expected[c], 10 * 0x1p-9)
            << s << ", row " << row << ", " << c;
    }
  }

  Shape shape;
  std::vector<int64_t> valid;
  std::vector<float> query, key, value, sink, out, lse;
  std::vector<BFloat16> narrow_key, narrow_value;
};

TEST(DenseAmx, OnEmulatedTilesEqualsReference) {
  for (const Shape& shape : shapes()) {
    Problem problem(shape);
    problem.run(kEmulated);
    problem.expect_reference();
  }
}

TEST(DenseAmx, OnAmxEqualsReference) {
  if (amx_kernels() == nullptr) GTEST_SKIP() << "this CPU has no AMX";
  for (const Shape& shape : shapes()) {
    Problem problem(shape);
    problem.run(*amx_kernels());
    problem.expect_reference();
  }
}

TEST(DenseAmx, HasTheSameBitsOnAnyThreads) {
  std::vector<float> first;
  for (const int threads : {1, 2, 3}) {
    const base::ThreadLimit limit(threads);
    Problem problem({1, 2, 1, 140, 50, 8, 8, true});
    problem.run(kEmulated);
    if (threads == 1) first = problem.out;
    EXPECT_EQ(first, problem.out);
  }
}

/// dense_attention with these kernels, as bits.
std::vector<float> dense(const AmxKernels* kernels, Problem& problem, const DenseArgumentsOf<BFloat16>& a) {
  KernelTable table = best_table();
  table.amx = kernels;
  dense_attention(table, a);
  return problem.out;
}

TEST(DenseAmx, IsWhatDenseAttentionTakesForManyRows) {
  Problem problem({1, 2, 1, 70, 60, 24, 40, true, true});
  const auto without = dense(nullptr, problem, problem.arguments());
  const auto with = dense(&kEmulated, problem, problem.arguments());
  EXPECT_NE(with, without);
  problem.expect_reference();
  problem.run(kEmulated);
  EXPECT_EQ(with, problem.out);
}

TEST(DenseAmx, IsNotTakenForFewRowsNorWithABias) {
  Problem few({1, 2, 1, 7, 60, 24, 40, true, true});
  const auto of_few = dense(nullptr, few, few.arguments());
  EXPECT_EQ(dense(&kEmulated, few, few.arguments()), of_few);
  Problem biased({1, 2, 1, 70, 60, 24, 40, true, true});
  const std::vector<float> bias(60, 0.5F);
  auto a = biased.arguments();
  a.bias = {bias.data(), 0, 0, 0};
  const auto expected = dense(nullptr, biased, a);
  EXPECT_EQ(dense(&kEmulated, biased, a), expected);
}

TEST(DenseAmx, LeavesNumbersThatAreNotFiniteToOthers) {
  for (const int place : {0, 1, 2}) {
    Problem problem({1, 2, 1, 70, 60, 24, 40, true, true});
    // Of the last key, which only the last rows see.
    if (place == 0) problem.query.back() = 3.4e38F;  // would round to infinity
    if (place == 1) problem.narrow_key.back() = to_bfloat16(kNan);
    if (place == 2) problem.narrow_value.back() = to_bfloat16(INFINITY);
    const auto expected = dense(nullptr, problem, problem.arguments());
    const auto found = dense(&kEmulated, problem, problem.arguments());
    EXPECT_EQ(std::memcmp(found.data(), expected.data(), found.size() * sizeof(float)), 0) << place;
    EXPECT_FALSE(dense_attention_amx(kEmulated, problem.arguments())) << place;
  }
}

TEST(AmxRound, IsToNearestEven) {
  const auto value = [](uint32_t bits) { return std::bit_cast<float>(bits); };
  std::vector<float> from = {
      value(0x3f808000), value(0x3f818000), value(0x3f808001), value(0xc0ff7fff), -0.0F, value(0x7f7fffff)};
  from.resize(19, 1.0F);
  std::vector<uint16_t> to(from.size());
  amx_round(from.data(), std::ssize(from), to.data());
  std::vector<uint16_t> expected = {0x3f80, 0x3f82, 0x3f81, 0xc0ff, 0x8000, 0x7f80};
  expected.resize(19, 0x3f80);
  EXPECT_EQ(to, expected);
}

TEST(AmxExp2, IsNearExp2) {
  for (float x = -130; x <= 0; x += 0.0137F) {
    const float expected = std::exp2(x < -125 ? -125.0F : x);
    EXPECT_NEAR(amx_exp2(amx_all(x))[5], expected, 3.2e-6F * expected) << x;
  }
}

}  // namespace
}  // namespace attnlab::kernels
