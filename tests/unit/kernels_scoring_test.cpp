// Scoring kernels of every SIMD target against the reference, over odd shapes; what lies between rows is NaN.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <string>

#include "core/kernels/scoring/reference.hpp"
#include "core/kernels/table.hpp"

namespace attnlab::kernels {
namespace {

const float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr int64_t kGap = 3;  ///< elements between rows

struct Shape {
  int64_t rows, keys, width;
  int64_t gap = 0;  ///< between the records of the index
};

std::string text(const Shape& shape, const char* target) {
  return std::string(target) + ", rows " + std::to_string(shape.rows) + ", keys " +
         std::to_string(shape.keys) + ", width " + std::to_string(shape.width) + ", gap " +
         std::to_string(shape.gap);
}

/// Scores of a kernel, whose arguments are completed here. Rows `stride` apart; checks that nothing else was
/// written.
template <class Arguments, class Kernel>
std::vector<float> scores_of(Arguments arguments, int64_t keys, const Kernel& kernel) {
  const int64_t stride = keys + kGap;
  std::vector<float> scores(static_cast<size_t>(arguments.rows * stride), kNan);
  arguments.scores = scores.data();
  arguments.scores_stride = stride;
  kernel(arguments);
  for (int64_t r = 0; r < arguments.rows; ++r) {
    for (int64_t j = keys; j < stride; ++j)
      EXPECT_TRUE(std::isnan(scores[static_cast<size_t>(r * stride + j)]));
  }
  return scores;
}

void expect_close(const std::vector<float>& found, const std::vector<double>& expected, double bound) {
  for (size_t i = 0; i < found.size(); ++i) {
    if (!std::isnan(expected[i])) {
      ASSERT_NEAR(double{found[i]}, expected[i], bound) << "at " << i;
    }
  }
}

template <class Arguments, class Reference>
std::vector<double> reference_of(Arguments arguments, int64_t keys, const Reference& reference) {
  std::vector<double> scores(static_cast<size_t>(arguments.rows * (keys + kGap)), std::nan(""));
  arguments.scores_stride = keys + kGap;
  reference(arguments, scores.data());
  return scores;
}

/// The scores of the rows and keys from the middle on, computed alone, have the bits that they have in the
/// whole.
template <class Arguments, class Kernel, class Move>
void expect_same_bits_in_parts(const Arguments& whole, int64_t keys, const Kernel& kernel, const Move& move) {
  const std::vector<float> all = scores_of(whole, keys, kernel);
  const int64_t first_row = whole.rows / 2, first_key = keys / 2, part_keys = keys - first_key;
  const std::vector<float> part = scores_of(move(whole, first_row, first_key), part_keys, kernel);
  for (int64_t r = first_row; r < whole.rows; ++r) {
    for (int64_t j = first_key; j < keys; ++j) {
      ASSERT_EQ(all[static_cast<size_t>(r * (keys + kGap) + j)],
                part[static_cast<size_t>((r - first_row) * (part_keys + kGap) + j - first_key)]);
    }
  }
}

TEST(ScoringKernels, HammingIsExact) {
  const Shape shapes[] = {{1, 1, 1},      {4, 200, 1},    {3, 129, 2},    {4, 64, 2}, {8, 63, 2, 2},
                          {5, 100, 3, 1}, {4, 130, 4},    {2, 65, 5},     {7, 77, 8}, {2, 70, 31},
                          {1, 33, 32},    {3, 66, 64, 1}, {2, 192, 1, 3}, {0, 5, 2},  {3, 0, 2}};
  std::mt19937_64 random(3);
  for (const Shape& shape : shapes) {
    const int64_t stride = shape.width + shape.gap;
    std::vector<uint64_t> query(static_cast<size_t>(shape.rows * (shape.width + 1))),
        code(static_cast<size_t>(shape.keys * stride));
    for (uint64_t& word : query) word = random();
    for (uint64_t& word : code) word = random();
    // All bits differ, in the first key: the largest counts.
    if (shape.rows > 0 && shape.keys > 0) {
      for (int64_t w = 0; w < shape.width; ++w) code[static_cast<size_t>(w)] = ~query[static_cast<size_t>(w)];
    }
    const HammingArguments arguments{.query = query.data(),
                                     .query_stride = shape.width + 1,
                                     .rows = shape.rows,
                                     .words = shape.width,
                                     .bits = 64 * shape.width - 5,
                                     .code = code.data(),
                                     .code_stride = stride,
                                     .keys = shape.keys};
    const auto expected =
        reference_of(arguments, shape.keys, [](const auto& a, double* out) { reference::hamming(a, out); });
    for (const KernelTable* table : all_tables()) {
      SCOPED_TRACE(text(shape, table->target));
      expect_close(scores_of(arguments, shape.keys, table->hamming), expected, 0);
    }
  }
}

TEST(ScoringKernels, IntervalIsADotProductOfTheBounds) {
  const Shape shapes[] = {{1, 1, 1},   {4, 33, 64}, {3, 17, 7}, {8, 65, 128, 2}, {13, 20, 80},
                          {1, 9, 256}, {0, 5, 8},   {3, 0, 8},  {40, 3, 200},    {2, 3, 5000}};
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  for (const Shape& shape : shapes) {
    const int64_t query_stride = shape.width + 2, stride = 2 * shape.width + shape.gap;
    std::vector<float> query(static_cast<size_t>(shape.rows * query_stride), kNan),
        extremes(static_cast<size_t>(shape.keys * stride), kNan);
    for (int64_t r = 0; r < shape.rows; ++r) {
      for (int64_t c = 0; c < shape.width; ++c)
        query[static_cast<size_t>(r * query_stride + c)] = normal(random);
    }
    for (int64_t p = 0; p < shape.keys; ++p) {
      for (int64_t c = 0; c < shape.width; ++c) {
        const float a = normal(random), b = normal(random);
        extremes[static_cast<size_t>(p * stride + c)] = std::min(a, b);
        extremes[static_cast<size_t>(p * stride + shape.width + c)] = std::max(a, b);
      }
    }
    const IntervalArguments arguments{.query = query.data(),
                                      .query_stride = query_stride,
                                      .rows = shape.rows,
                                      .head_dim = shape.width,
                                      .scale = -0.3F,
                                      .extremes = extremes.data(),
                                      .extremes_stride = stride,
                                      .pages = shape.keys};
    const auto expected =
        reference_of(arguments, shape.keys, [](const auto& a, double* out) { reference::interval(a, out); });
    for (const KernelTable* table : all_tables()) {
      SCOPED_TRACE(text(shape, table->target));
      const auto kernel = [&](const IntervalArguments& a) { interval(*table, a); };
      // A term is below 5; float32 sums of 2 width terms of both signs.
      expect_close(scores_of(arguments, shape.keys, kernel), expected,
                   1e-6 * static_cast<double>(shape.width));
      expect_same_bits_in_parts(arguments, shape.keys, kernel,
                                [](IntervalArguments a, int64_t row, int64_t page) {
                                  a.query += row * a.query_stride;
                                  a.rows -= row;
                                  a.extremes += page * a.extremes_stride;
                                  a.pages -= page;
                                  return a;
                                });
    }
  }
}

template <class Code>
void check_lut(const Shape& shape, int64_t entries) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  const int64_t stride = shape.width + shape.gap, table_stride = shape.width * entries + 1;
  std::vector<float> tables(static_cast<size_t>(shape.rows * table_stride));
  for (float& entry : tables) entry = normal(random);
  for (int64_t r = 0; r < shape.rows; ++r) tables[static_cast<size_t>((r + 1) * table_stride - 1)] = kNan;
  std::vector<Code> code(static_cast<size_t>(shape.keys * stride));
  for (Code& c : code) c = static_cast<Code>(random() % static_cast<uint64_t>(entries));
  const LutArguments<Code> arguments{.table = tables.data(),
                                     .table_stride = table_stride,
                                     .rows = shape.rows,
                                     .subspaces = shape.width,
                                     .entries = entries,
                                     .code = code.data(),
                                     .code_stride = stride,
                                     .keys = shape.keys};
  const auto expected =
      reference_of(arguments, shape.keys, [](const auto& a, double* out) { reference::lut(a, out); });
  std::vector<float> first;
  for (const KernelTable* table : all_tables()) {
    SCOPED_TRACE(text(shape, table->target) + ", entries " + std::to_string(entries));
    const auto kernel = [&] {
      if constexpr (sizeof(Code) == 1) {
        return table->lut_u8;
      } else {
        return table->lut_i32;
      }
    }();
    const std::vector<float> found = scores_of(arguments, shape.keys, kernel);
    expect_close(found, expected, 2e-6 * static_cast<double>(shape.width));
    // Every target and every way adds in the same order.
    if (first.empty()) first = found;
    for (size_t i = 0; i < found.size(); ++i) {
      if (!std::isnan(first[i])) {
        ASSERT_EQ(found[i], first[i]) << "at " << i;
      }
    }
    expect_same_bits_in_parts(arguments, shape.keys, kernel,
                              [](LutArguments<Code> a, int64_t row, int64_t key) {
                                a.table += row * a.table_stride;
                                a.rows -= row;
                                a.code += key * a.code_stride;
                                a.keys -= key;
                                return a;
                              });
  }
}

TEST(ScoringKernels, LutSumsInOneOrder) {
  for (const int64_t entries : {1, 2, 7, 8, 9, 16, 17, 31, 32, 33, 48, 50, 64, 65, 255, 256}) {
    check_lut<uint8_t>({4, 71, 2}, entries);
    check_lut<uint8_t>({5, 130, 5, 2}, entries);
  }
  for (const Shape& shape : {Shape{1, 1, 1}, Shape{1, 100, 16}, Shape{2, 65, 3}, Shape{3, 64, 8},
                             Shape{7, 33, 70}, Shape{0, 4, 2}, Shape{4, 0, 2}, Shape{2, 9, 0}}) {
    for (const int64_t entries : {16, 64, 256}) check_lut<uint8_t>(shape, entries);
    for (const int64_t entries : {16, 300}) check_lut<int32_t>(shape, entries);
  }
  // The last has no room in the interleaved tables.
  for (const int64_t entries : {4096, 5000}) check_lut<int32_t>({5, 71, 3, 1}, entries);
}

}  // namespace
}  // namespace attnlab::kernels
