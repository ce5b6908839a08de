// Matrix products of every SIMD target against the double-precision reference, and the bits they promise.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "core/base/parallel.hpp"
#include "core/kernels/gemm/gemm.hpp"
#include "core/kernels/gemm/reference.hpp"
#include "core/kernels/table.hpp"

namespace attnlab::kernels {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// A matrix of normal values whose element (i, j) is at i * row_stride + j * column_stride; gaps are NaN.
struct Matrix {
  Matrix(int64_t rows, int64_t columns, bool transposed, uint32_t seed)
      : row_stride(transposed ? 1 : columns + 3),
        column_stride(transposed ? rows + 3 : 1),
        values(rows * columns == 0 ? 0 : (rows - 1) * row_stride + (columns - 1) * column_stride + 1, kNan) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < columns; ++j) values[i * row_stride + j * column_stride] = normal(random);
    }
  }

  int64_t row_stride;
  int64_t column_stride;
  std::vector<float> values;
};

struct Shape {
  int64_t rows, columns, depth;
};

/// Rows around the register tile, columns around panels of all targets, depths around the blocks of k.
const Shape kShapes[] = {{1, 1, 1},    {7, 13, 5},    {6, 64, 0},  {5, 1, 70},    {1, 300, 33}, {2, 140, 257},
                         {13, 65, 40}, {30, 63, 512}, {12, 16, 3}, {50, 31, 300}, {0, 4, 4},    {3, 0, 4}};

struct Problem {
  Problem(const Shape& s, bool a_transposed, bool b_transposed)
      : shape(s),
        a(s.rows, s.depth, a_transposed, 1),
        b(s.depth, s.columns, b_transposed, 2),
        c(s.rows, s.columns, false, 3),
        residual(s.rows, s.columns, false, 4),
        bias(1, s.columns, false, 5),
        pre_activation(c.values.size(), kNan) {}

  GemmArguments arguments(std::vector<float>& out) {
    out = c.values;
    return {.rows = shape.rows,
            .columns = shape.columns,
            .depth = shape.depth,
            .a = a.values.data(),
            .a_row_stride = a.row_stride,
            .a_column_stride = a.column_stride,
            .b = b.values.data(),
            .b_row_stride = b.row_stride,
            .b_column_stride = b.column_stride,
            .c = out.data(),
            .c_stride = c.row_stride};
  }

  GemmEpilogue epilogue(Activation activation) {
    return {bias.values.data(),     activation,         pre_activation.data(), c.row_stride,
            residual.values.data(), residual.row_stride};
  }

  Shape shape;
  Matrix a, b, c, residual, bias;
  std::vector<float> pre_activation;
};

/// Elements within the bound, and untouched gaps.
void expect_near(const std::vector<float>& found, const std::vector<double>& expected, double bound,
                 const std::string& where) {
  for (size_t i = 0; i < found.size(); ++i) {
    if (std::isnan(expected[i])) {
      EXPECT_TRUE(std::isnan(found[i])) << where << " gap " << i;
    } else {
      ASSERT_NEAR(found[i], expected[i], bound) << where << " element " << i;
    }
  }
}

/// A chain of at most 256 roundings, some more between blocks, of sums that 6 sqrt(depth) bounds.
double product_error(int64_t depth) {
  const auto k = static_cast<double>(depth);
  return 0x1p-24 * (std::min(k, 256.0) + k / 256 + 8) * (6 * std::sqrt(k) + 12);
}

class Gemm : public testing::TestWithParam<const KernelTable*> {
 protected:
  const KernelTable& table() const { return *GetParam(); }
};

TEST_P(Gemm, EqualsReferenceForAnyStridesAndEpilogue) {
  const Activation activations[] = {Activation::none, Activation::relu, Activation::gelu_tanh,
                                    Activation::gelu_erf, Activation::silu};
  int64_t number = 0;
  for (const Shape& shape : kShapes) {
    for (const int transposed : {0, 1, 2, 3}) {
      Problem problem(shape, (transposed & 1) != 0, (transposed & 2) != 0);
      std::vector<float> out;
      GemmArguments arguments = problem.arguments(out);
      arguments.alpha = number % 2 == 0 ? 1.0F : -0.5F;
      arguments.accumulate = number % 3 == 1;
      if (number % 4 != 0) arguments.epilogue = problem.epilogue(activations[number % 5]);
      const std::string where = "case " + std::to_string(number);
      ++number;
      std::vector<double> wide(out.size(), kNan), wide_pre(out.size(), kNan);
      const bool with_pre = arguments.epilogue.pre_activation != nullptr;
      reference::gemm(arguments, wide.data(), with_pre ? wide_pre.data() : nullptr);
      if (number % 5 == 2) {
        const PackedMatrix packed(table(), arguments.b, arguments.b_row_stride, arguments.b_column_stride,
                                  shape.depth, shape.columns);
        arguments.b = nullptr;
        arguments.packed_b = &packed;
        gemm(table(), arguments);
      } else {
        gemm(table(), arguments);
      }
      const double bound = product_error(shape.depth) + 3e-6;
      expect_near(out, wide, 1.2 * bound, where);  // slopes are at most 1.13
      expect_near(problem.pre_activation, wide_pre, bound, where + " before activation");
    }
  }
}

TEST_P(Gemm, SameBitsForAnyThreadsSplitStridesAndPacking) {
  for (const Shape& shape : {Shape{301, 150, 300}, Shape{9, 1100, 600}, Shape{200, 64, 3}}) {
    Problem problem(shape, false, false);
    std::vector<float> expected, out;
    {
      const base::ThreadLimit limit(1);
      gemm(table(), problem.arguments(expected));
    }
    for (const int threads : {2, 3}) {
      const base::ThreadLimit limit(threads);
      gemm(table(), problem.arguments(out));
      expect_near(out, {expected.begin(), expected.end()}, 0, "threads");
    }
    const PackedMatrix packed(table(), problem.b.values.data(), problem.b.row_stride, 1, shape.depth,
                              shape.columns);
    std::vector<GemmArguments> rows;
    const GemmArguments whole = problem.arguments(out);
    for (int64_t r = 0; r < shape.rows;) {  // 1, 2, 3 ... rows a product, every other one packed
      GemmArguments part = whole;
      part.rows = std::min<int64_t>(std::ssize(rows) + 1, shape.rows - r);
      part.a += r * part.a_row_stride;
      part.c += r * part.c_stride;
      if (rows.size() % 2 == 1) part.packed_b = &packed;
      rows.push_back(part);
      r += part.rows;
    }
    gemm(table(), rows);
    expect_near(out, {expected.begin(), expected.end()}, 0, "rows");
    Problem transposed(shape, true, true);
    for (int64_t k = 0; k < shape.depth; ++k) {
      for (int64_t i = 0; i < shape.rows; ++i)
        transposed.a.values[i + k * transposed.a.column_stride] =
            problem.a.values[i * problem.a.row_stride + k];
      for (int64_t j = 0; j < shape.columns; ++j)
        transposed.b.values[k + j * transposed.b.column_stride] =
            problem.b.values[k * problem.b.row_stride + j];
    }
    gemm(table(), transposed.arguments(out));
    expect_near(out, {expected.begin(), expected.end()}, 0, "transposed");
  }
}

TEST_P(Gemm, ActivationsKeepTheirBounds) {
  struct Bound {
    Activation activation;
    double value, slope;  ///< of the error, per max(1, |x|)
  };
  const Bound bounds[] = {{Activation::none, 0, 0},
                          {Activation::relu, 0, 0},
                          {Activation::gelu_tanh, 3e-7, 1.2e-6},
                          {Activation::gelu_erf, 3e-7, 6e-7},
                          {Activation::silu, 3e-7, 6e-7}};
  std::vector<float> x;
  for (int i = -3000; i <= 3000; ++i) x.push_back(static_cast<float>(i) * 0.004F);
  for (const float extreme : {-1e30F, -100.0F, -88.0F, 88.0F, 1e30F}) x.push_back(extreme);
  const int64_t count = std::ssize(x);
  const std::vector<float> ones(x.size(), 1);
  for (const Bound& bound : bounds) {
    std::vector<float> value(x.size()), slope(x.size());
    gemm(table(), GemmArguments{.rows = 1,
                                .columns = count,
                                .c = value.data(),
                                .epilogue = {.bias = x.data(), .activation = bound.activation}});
    activation_gradient(table(), {.rows = 1,
                                  .columns = count,
                                  .activation = bound.activation,
                                  .pre_activation = x.data(),
                                  .d_out = ones.data(),
                                  .d_in = slope.data()});
    for (size_t i = 0; i < x.size(); ++i) {
      const double scale = std::max(1.0, std::abs(double{x[i]}));
      EXPECT_NEAR(value[i], reference::activate(bound.activation, x[i]), bound.value * scale) << x[i];
      EXPECT_NEAR(slope[i], reference::activation_slope(bound.activation, x[i]), bound.slope) << x[i];
    }
    const std::vector<float> nan = {kNan};
    float out = 0;
    gemm(table(), GemmArguments{.rows = 1,
                                .columns = 1,
                                .c = &out,
                                .epilogue = {.bias = nan.data(), .activation = bound.activation}});
    EXPECT_TRUE(std::isnan(out));
  }
}

TEST_P(Gemm, GradientsOfBiasAndActivation) {
  for (const Shape& shape :
       {Shape{1, 1, 0}, Shape{0, 3, 0}, Shape{700, 70, 0}, Shape{65, 200, 0}, Shape{64, 17, 0}}) {
    const Matrix d_out(shape.rows, shape.columns, false, 1), pre(shape.rows, shape.columns, false, 2);
    for (const bool accumulate : {false, true}) {
      std::vector<float> sums(shape.columns, 2), again;
      const ColumnSumArguments arguments{shape.rows,       shape.columns, d_out.values.data(),
                                         d_out.row_stride, sums.data(),   accumulate};
      std::vector<double> wide(sums.size());
      reference::column_sums(arguments, wide.data());
      again = sums;
      column_sums(table(), arguments);
      expect_near(sums, wide, 1e-4, "sums");
      const base::ThreadLimit limit(3);
      ColumnSumArguments other = arguments;
      other.sums = again.data();
      column_sums(table(), other);
      expect_near(again, {sums.begin(), sums.end()}, 0, "threads");
    }
    std::vector<float> d_in(d_out.values.size(), kNan);
    std::vector<double> wide(d_in.size(), kNan);
    const ActivationGradientArguments arguments{shape.rows,        shape.columns,  Activation::silu,
                                                pre.values.data(), pre.row_stride, d_out.values.data(),
                                                d_out.row_stride,  d_in.data(),    d_out.row_stride};
    reference::activation_gradient(arguments, wide.data());
    activation_gradient(table(), arguments);
    expect_near(d_in, wide, 5e-6, "activation");
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, Gemm, testing::ValuesIn(all_tables()),
                         [](const auto& instance) { return std::string(instance.param->target); });

}  // namespace
}  // namespace attnlab::kernels
