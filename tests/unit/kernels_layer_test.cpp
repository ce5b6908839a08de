// A layer's operations other than products: every SIMD target against the double-precision reference, and the
// bits they promise for any number of threads.
#include <gtest/gtest.h>
#include <attnlab/philox.hpp>

#include <algorithm>
#include <atomic>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "core/base/parallel.hpp"
#include "core/kernels/layer/layer.hpp"
#include "core/kernels/layer/reference.hpp"
#include "core/kernels/table.hpp"

namespace attnlab::kernels {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

using Floats = std::vector<float>;
using Doubles = std::vector<double>;

struct Shape {
  int64_t rows, width;
  std::string name() const { return std::to_string(rows) + " x " + std::to_string(width); }
};

/// Below and above the elements that are split over threads, and the rows that are summed at once.
const Shape kShapes[] = {{1, 1},     {64, 3},   {70, 17},   {3, 64}, {131, 65},
                         {131, 128}, {44, 384}, {17, 1000}, {0, 5}};

Floats normal(int64_t count, uint32_t seed, float deviation = 1, float mean = 0) {
  std::mt19937 random(seed);
  std::normal_distribution<float> distribution(mean, deviation);
  Floats values(count);
  for (float& value : values) value = distribution(random);
  return values;
}

/// Rows that are `stride` apart with NaN between them.
struct Rows {
  explicit Rows(const Shape& shape, uint32_t seed, float deviation = 1, float mean = 0)
      : stride(shape.width + 3), values(std::max<int64_t>(0, shape.rows * stride - 3), kNan) {
    const Floats dense = normal(shape.rows * shape.width, seed, deviation, mean);
    for (int64_t r = 0; r < shape.rows; ++r) {
      std::copy_n(dense.begin() + r * shape.width, shape.width, values.begin() + r * stride);
    }
  }

  const float* data() const { return values.data(); }
  float* row(int64_t r) { return values.data() + r * stride; }
  Floats gaps() const { return Floats(values.size(), kNan); }

  int64_t stride;
  Floats values;
};

/// Within absolute + relative |expected|; NaN where NaN is expected, gaps included.
void expect_near(const Floats& found, const Doubles& expected, double absolute, double relative,
                 const std::string& where) {
  ASSERT_EQ(found.size(), expected.size()) << where;
  for (size_t i = 0; i < found.size(); ++i) {
    const double bound = absolute + relative * std::abs(expected[i]);
    const bool near = found[i] == expected[i] || std::abs(found[i] - expected[i]) <= bound ||
                      (std::isnan(found[i]) && std::isnan(expected[i]));
    ASSERT_TRUE(near) << where << " element " << i << ": " << found[i] << ", not " << expected[i] << " +- "
                      << bound;
  }
}

bool same_bits(const Floats& a, const Floats& b) {
  return std::ranges::equal(
      a, b, [](float x, float y) { return std::bit_cast<uint32_t>(x) == std::bit_cast<uint32_t>(y); });
}

/// What `run` returns, all outputs, which must have the same bits with one and with three threads.
template <class Run>
std::vector<Floats> on_threads(const Run& run) {
  std::vector<Floats> results[2];
  for (const int threads : {1, 3}) {
    const base::ThreadLimit limit(threads);
    results[threads / 3] = run();
  }
  for (size_t i = 0; i < results[0].size(); ++i) {
    EXPECT_TRUE(same_bits(results[0][i], results[1][i])) << "output " << i << " depends on threads";
  }
  return results[0];
}

class Layer : public testing::TestWithParam<SimdTarget> {
 protected:
  const LayerKernels& kernels() const { return layer_kernels(GetParam()); }

  /// x may be off by `rounding`, of the mean, before it is scaled by inverse and weight.
  void check_norm(NormArguments a, const std::string& where, double bound, double rounding = 0) const {
    const auto size = static_cast<size_t>(std::max<int64_t>(0, (a.rows - 1) * a.out_stride + a.width));
    const auto found = on_threads([&] {
      std::vector<Floats> outputs = {Floats(size, kNan), Floats(a.rows, kNan), Floats(a.rows, kNan)};
      a.out = outputs[0].data();
      a.mean = outputs[1].data();
      a.inverse = outputs[2].data();
      norm(kernels(), a);
      return outputs;
    });
    Doubles out(size, kNan), mean(a.rows, kNan), inverse(a.rows, kNan);
    reference::norm(a, out.data(), mean.data(), inverse.data());
    for (const double scale : inverse) bound = std::max(bound, 2e-5 + 4 * scale * rounding);
    expect_near(found[0], out, bound, 0, where);
    expect_near(found[1], mean, 1e-6, 6e-8, where + " mean");
    expect_near(found[2], inverse, 0, 1e-6, where + " inverse");
  }

  void check_norm_gradient(NormGradientArguments a, size_t size, const std::string& where) const {
    const auto width = static_cast<size_t>(a.width);
    const auto found = on_threads([&] {
      std::vector<Floats> outputs = {Floats(size, kNan), Floats(width, kNan), Floats(width, kNan)};
      a.d_x = outputs[0].data();
      a.d_weight = outputs[1].data();
      a.d_bias = outputs[2].data();
      norm_gradient(kernels(), a);
      return outputs;
    });
    Doubles d_x(size, kNan), d_weight(width), d_bias(width);
    reference::norm_gradient(a, d_x.data(), d_weight.data(), d_bias.data());
    const double scale = a.rows == 0 ? 1 : std::max(1.0F, *std::max_element(a.inverse, a.inverse + a.rows));
    expect_near(found[0], d_x, 1e-5 * scale, 0, where + " d_x");
    expect_near(found[1], d_weight, 1e-4, 0, where + " d_weight");
    expect_near(found[2], d_bias, 1e-4, 0, where + " d_bias");
    Floats in_order(width, 0);
    for (int64_t first = 0; first < a.rows; first += 64) {
      Floats block(width);
      NormGradientArguments part{a.kind, std::min<int64_t>(64, a.rows - first), a.width};
      part.x = a.x + first * a.x_stride;
      part.x_stride = a.x_stride;
      part.mean = a.mean == nullptr ? nullptr : a.mean + first;
      part.inverse = a.inverse + first;
      part.d_out = a.d_out + first * a.d_out_stride;
      part.d_out_stride = a.d_out_stride;
      part.d_weight = block.data();
      kernels().norm_gradient(part);
      std::ranges::transform(in_order, block, in_order.begin(), std::plus());
    }
    EXPECT_EQ(in_order, found[1]) << where << " order of rows";
    for (const int wanted : {1, 2, 4, 3, 6}) {  // what is not asked for changes nothing else
      std::vector<Floats> outputs = {Floats(size, kNan), Floats(width, kNan), Floats(width, kNan)};
      a.d_x = (wanted & 1) != 0 ? outputs[0].data() : nullptr;
      a.d_weight = (wanted & 2) != 0 ? outputs[1].data() : nullptr;
      a.d_bias = (wanted & 4) != 0 ? outputs[2].data() : nullptr;
      norm_gradient(kernels(), a);
      for (int i = 0; i < 3; ++i) {
        EXPECT_TRUE((wanted >> i & 1) == 0 || same_bits(outputs[i], found[i])) << where << " alone " << i;
      }
    }
  }

  void check_cross_entropy(const Rows& logits, const Shape& s, const std::vector<int64_t>& targets,
                           const std::string& where) const {
    CrossEntropyArguments forward{s.rows, s.width, logits.data(), logits.stride, targets.data()};
    CrossEntropyGradientArguments backward{s.rows,  s.width, logits.data(), logits.stride, targets.data(),
                                           nullptr, 0.25F,   nullptr,       logits.stride};
    const auto found = on_threads([&] {
      std::vector<Floats> outputs = {Floats(s.rows, kNan), Floats(s.rows, kNan), logits.gaps()};
      forward.loss = outputs[0].data();
      forward.lse = outputs[1].data();
      cross_entropy(kernels(), forward);
      backward.lse = forward.lse;
      backward.d_logits = outputs[2].data();
      cross_entropy_gradient(kernels(), backward);
      return outputs;
    });
    Doubles loss(s.rows), lse(s.rows), d_logits(logits.values.size(), kNan);
    reference::cross_entropy(forward, loss.data(), lse.data());
    reference::cross_entropy_gradient(backward, d_logits.data());
    expect_near(found[0], loss, 1e-6, 1e-7, where + " loss");
    expect_near(found[1], lse, 1e-6, 1e-7, where + " lse");
    double largest = 0;
    for (const double value : lse) largest = std::max(largest, std::abs(value));
    expect_near(found[2], d_logits, 0.25 * (1e-6 + largest * 0x1p-24), 0, where + " gradient");
    Floats only_loss(s.rows);
    forward.loss = only_loss.data();
    forward.lse = nullptr;
    cross_entropy(kernels(), forward);
    EXPECT_TRUE(same_bits(only_loss, found[0])) << where;
  }
};

TEST_P(Layer, NormEqualsReference) {
  for (const Shape& s : kShapes) {
    const Rows x(s, 1, 2, 0.5F), far(s, 2, 1, 1000);
    const Floats weight = normal(s.width, 3), bias = normal(s.width, 4);
    for (const NormKind kind : {NormKind::layer, NormKind::rms}) {
      NormArguments a{kind, s.rows, s.width, x.data(), x.stride};
      a.out_stride = s.width + 1;
      check_norm(a, s.name() + " plain", 1e-5);
      a.weight = weight.data();
      a.bias = bias.data();
      check_norm(a, s.name() + " weight and bias", 2e-5);
      a.x = far.data();
      check_norm(a, s.name() + " far", 2e-5, kind == NormKind::layer ? 0x1p-14 : 0);
    }
  }
}

TEST_P(Layer, NormInPlaceAndWithNan) {
  const Shape s{3, 65};
  Rows x(s, 1);
  x.row(1)[40] = kNan;
  for (const NormKind kind : {NormKind::layer, NormKind::rms}) {
    Rows out = x;
    norm(kernels(), {kind, 3, 65, x.data(), x.stride, nullptr, nullptr, 1e-5F, out.row(0), out.stride});
    for (int64_t j = 0; j < 65; ++j) {
      EXPECT_TRUE(std::isnan(out.row(1)[j]));
      EXPECT_FALSE(std::isnan(out.row(0)[j]) || std::isnan(out.row(2)[j]));
    }
    Rows same = x;
    norm(kernels(), {kind, 3, 65, same.data(), x.stride, nullptr, nullptr, 1e-5F, same.row(0), x.stride});
    EXPECT_TRUE(same_bits(same.values, out.values));
  }
}

TEST_P(Layer, NormGradientsEqualReference) {
  for (const Shape& s : kShapes) {
    const Rows x(s, 1, 2, 0.5F), d_out(s, 2);
    const Floats weight = normal(s.width, 3);
    for (const NormKind kind : {NormKind::layer, NormKind::rms}) {
      Floats mean(s.rows, kNan), inverse(s.rows), out(x.values.size());
      norm(kernels(), {kind, s.rows, s.width, x.data(), x.stride, nullptr, nullptr, 1e-5F, out.data(),
                       x.stride, mean.data(), inverse.data()});
      NormGradientArguments a{kind, s.rows, s.width, x.data(), x.stride};
      a.mean = kind == NormKind::layer ? mean.data() : nullptr;
      a.inverse = inverse.data();
      a.d_out = d_out.data();
      a.d_out_stride = a.d_x_stride = x.stride;
      check_norm_gradient(a, x.values.size(), s.name());
      a.weight = weight.data();
      check_norm_gradient(a, x.values.size(), s.name() + " weight");
      Floats separate(x.values.size(), kNan), in_place = d_out.values;
      a.d_x = separate.data();
      norm_gradient(kernels(), a);
      a.d_out = a.d_x = in_place.data();
      norm_gradient(kernels(), a);
      EXPECT_TRUE(same_bits(separate, in_place)) << s.name();
    }
  }
}

TEST_P(Layer, CrossEntropyEqualsReference) {
  for (const Shape& s : kShapes) {
    std::vector<int64_t> targets;
    for (int64_t r = 0; r < s.rows; ++r) targets.push_back(r % 5 == 2 ? -1 - r : r * 7 % s.width);
    check_cross_entropy(Rows(s, 1, 5), s, targets, s.name());
    check_cross_entropy(Rows(s, 2, 1, 1e4F), s, targets, s.name() + " high");
    check_cross_entropy(Rows(s, 3, 1, -1e4F), s, targets, s.name() + " low");
    check_cross_entropy(Rows(s, 4, 1e4F), s, targets, s.name() + " spread");
  }
}

TEST_P(Layer, CrossEntropyOfInfinitiesNanAndIgnoredRows) {
  const Shape s{4, 70};
  Rows logits(s, 1);
  logits.row(0)[3] = -kInfinity;
  logits.row(1)[66] = kNan;
  logits.row(2)[5] = kNan;
  const std::vector<int64_t> targets = {0, 1, -1, 3};
  Floats loss(4), lse(4);
  cross_entropy(kernels(), {4, 70, logits.data(), logits.stride, targets.data(), loss.data(), lse.data()});
  EXPECT_TRUE(std::isfinite(loss[0]) && std::isnan(loss[1]) && loss[2] == 0 && std::isfinite(loss[3]));
  EXPECT_TRUE(std::isnan(lse[1]) && std::isnan(lse[2]));
  Rows expected(s, 1), in_place = logits;
  CrossEntropyGradientArguments a{4,          70, logits.data(),   logits.stride,  targets.data(),
                                  lse.data(), 1,  expected.row(0), expected.stride};
  cross_entropy_gradient(kernels(), a);
  EXPECT_EQ(expected.row(0)[3], 0);
  EXPECT_TRUE(std::isnan(expected.row(1)[0]) && std::isnan(expected.row(1)[69]));
  EXPECT_TRUE(std::all_of(expected.row(2), expected.row(2) + 70, [](float x) { return x == 0; }));
  a.logits = a.d_logits = in_place.row(0);
  cross_entropy_gradient(kernels(), a);
  EXPECT_TRUE(same_bits(in_place.values, expected.values));
}

TEST_P(Layer, SoftmaxAndItsGradientEqualReference) {
  for (const Shape& s : kShapes) {
    for (const float deviation : {1.0F, 1e4F}) {
      const Rows x(s, 1, deviation), d_out(s, 2);
      SoftmaxArguments forward{s.rows, s.width, x.data(), x.stride, nullptr, x.stride};
      SoftmaxGradientArguments backward{s.rows,       s.width,  nullptr, x.stride,
                                        d_out.data(), x.stride, nullptr, x.stride};
      const auto found = on_threads([&] {
        std::vector<Floats> outputs = {x.gaps(), x.gaps()};
        forward.out = outputs[0].data();
        softmax(kernels(), forward);
        backward.out = forward.out;
        backward.d_x = outputs[1].data();
        softmax_gradient(kernels(), backward);
        return outputs;
      });
      Doubles out(x.values.size(), kNan), d_x(x.values.size(), kNan);
      reference::softmax(forward, out.data());
      backward.out = found[0].data();
      reference::softmax_gradient(backward, d_x.data());
      expect_near(found[0], out, 1e-37, 1e-6, s.name());
      expect_near(found[1], d_x, 1e-6, 1e-6, s.name() + " gradient");
      Floats in_place = x.values, d_in_place = d_out.values;
      forward.x = forward.out = in_place.data();
      softmax(kernels(), forward);
      backward.d_out = backward.d_x = d_in_place.data();
      softmax_gradient(kernels(), backward);
      EXPECT_TRUE(same_bits(in_place, found[0]) && same_bits(d_in_place, found[1])) << s.name();
    }
  }
  Rows x({2, 33}, 1);
  x.row(1)[32] = kNan;
  softmax(kernels(), {2, 33, x.data(), x.stride, x.row(0), x.stride});
  EXPECT_TRUE(std::isfinite(x.row(0)[0]) && std::isnan(x.row(1)[0]) && std::isnan(x.row(1)[31]));
}

/// Of errors: relative, and absolute per max(1, |x|).
struct UnaryBound {
  UnaryFunction function;
  double relative, absolute, slope_relative, slope_absolute;
};

const UnaryBound kUnaryBounds[] = {{UnaryFunction::exp, 3e-7, 1.2e-38, 3e-7, 1.2e-38},
                                   {UnaryFunction::sigmoid, 3e-7, 1.2e-38, 6e-7, 1.2e-38},
                                   {UnaryFunction::tanh, 3e-7, 0, 6e-7, 1e-37},
                                   {UnaryFunction::relu, 0, 0, 0, 0},
                                   {UnaryFunction::silu, 0, 3e-7, 0, 6e-7},
                                   {UnaryFunction::gelu_erf, 0, 3e-7, 0, 6e-7},
                                   {UnaryFunction::gelu_tanh, 0, 3e-7, 0, 1.2e-6}};

TEST_P(Layer, UnaryFunctionsKeepTheirBounds) {
  Floats x;
  for (int i = -2000; i <= 2000; ++i) x.push_back(static_cast<float>(i) * 0.006F);
  for (const float size : {1e-30F, 1e-6F, 0.62F, 0.63F, 63.9F, 64.1F, 86.9F, 87.2F, 88.72F, 90.0F, 1e30F}) {
    x.insert(x.end(), {size, -size});
  }
  const Floats ones(x.size(), 1);
  for (const UnaryBound& bound : kUnaryBounds) {
    Floats value(x.size()), slope(x.size());
    unary(kernels(), {bound.function, std::ssize(x), x.data(), value.data()});
    unary_gradient(kernels(), {bound.function, std::ssize(x), x.data(), ones.data(), slope.data()});
    for (size_t i = 0; i < x.size(); ++i) {
      const double scale = std::max(1.0, std::abs(double{x[i]}));
      const auto near = [&](float found, double expected, double relative, double absolute) {
        const bool is_near = std::abs(found - expected) <= relative * std::abs(expected) + absolute * scale;
        EXPECT_TRUE(expected > std::numeric_limits<float>::max() ? found == kInfinity : is_near)
            << static_cast<int>(bound.function) << " at " << x[i] << ": " << found << ", not " << expected;
      };
      near(value[i], reference::unary_value(bound.function, x[i]), bound.relative, bound.absolute);
      near(slope[i], reference::unary_slope(bound.function, x[i]), bound.slope_relative,
           bound.slope_absolute);
    }
    float out = 0;
    unary(kernels(), {bound.function, 1, &kNan, &out});
    EXPECT_TRUE(std::isnan(out));
  }
}

TEST_P(Layer, UnaryArraysOfAnyLength) {
  for (const int64_t count : {0, 1, 3, 17, 64, 65, 1000, 17001}) {
    const Floats x = normal(count, 1), d_out = normal(count, 2);
    for (const UnaryBound& bound : kUnaryBounds) {
      UnaryArguments forward{bound.function, count, x.data()};
      UnaryGradientArguments backward{bound.function, count, x.data(), d_out.data()};
      const auto found = on_threads([&] {
        std::vector<Floats> outputs = {Floats(count + 1, kNan), Floats(count + 1, kNan)};
        forward.out = outputs[0].data();
        unary(kernels(), forward);
        backward.d_x = outputs[1].data();
        unary_gradient(kernels(), backward);
        return outputs;
      });
      Doubles out(count + 1, kNan), d_x(count + 1, kNan);
      reference::unary(forward, out.data());
      reference::unary_gradient(backward, d_x.data());
      expect_near(found[0], out, 2e-6, 3e-7, "value");
      expect_near(found[1], d_x, 5e-6, 1e-6, "gradient");
    }
  }
}

TEST_P(Layer, BinaryFunctionsRoundTheExactResult) {
  for (const Shape& s : {Shape{1, 1}, Shape{5, 3}, Shape{70, 17}, Shape{44, 384}, Shape{1, 17001},
                         Shape{2, 16400}, Shape{0, 4}}) {
    const Rows a(s, 1), b(s, 2);
    for (int form = 0; form < 16; ++form) {
      const auto function = static_cast<BinaryFunction>(form % 4);
      BinaryArguments arguments{function, s.rows, s.width, a.data(), a.stride, b.data(), b.stride};
      arguments.out_stride = s.width + 2;
      if (form / 4 == 1) arguments.b_stride = 0;
      if (form / 4 == 2) arguments.a_stride = 0;
      if (form / 4 == 3 && s.rows != 0) {  // all contiguous, whatever the gaps then are
        arguments.a_stride = arguments.b_stride = arguments.out_stride = s.width;
      }
      const auto size = static_cast<size_t>(s.rows * (s.width + 2));
      const auto found = on_threads([&] {
        Floats out(size, kNan);
        arguments.out = out.data();
        binary(kernels(), arguments);
        return std::vector<Floats>{out};
      });
      Doubles exact(size, kNan);
      reference::binary(arguments, exact.data());
      for (double& value : exact) value = static_cast<float>(value);
      expect_near(found[0], exact, 0, 0, s.name() + " form " + std::to_string(form));
    }
  }
}

TEST_P(Layer, ScaleAddReadsWhatItNeeds) {
  for (const int64_t count : {0, 1, 17, 1000, 17001}) {
    for (const float b : {0.75F, 0.0F}) {
      const Floats x = normal(count, 1), before = b == 0 ? Floats(count, kNan) : normal(count, 2);
      Floats y = before;
      ScaleAddArguments a{count, -1.5F, x.data(), b, y.data()};
      Doubles expected(count);
      reference::scale_add(a, expected.data());
      const auto found = on_threads([&] {
        Floats out = before;
        a.y = out.data();
        scale_add(kernels(), a);
        return std::vector<Floats>{out};
      });
      expect_near(found[0], expected, 1e-6, 0, "scale_add");
    }
  }
}

TEST_P(Layer, DropoutFollowsPhiloxOnEveryTarget) {
  const int64_t boundary = (int64_t{1} << 34) - 40;  // where the draw's number outgrows 32 bits
  for (const int64_t count : {0, 1, 3, 17, 64, 65, 128, 1000, 50003}) {
    const Floats x = normal(count, 1, 1, 5);
    for (const float p : {0.0F, 0.1F, 0.5F, 1e-3F, 1.0F}) {
      DropoutArguments a{count, x.data(), p, mix_key(7, count), count % 2 == 0 ? 0 : boundary};
      const auto found = on_threads([&] {
        Floats out(count + 1, kNan);
        a.out = out.data();
        dropout(kernels(), a);
        return std::vector<Floats>{out};
      });
      Doubles expected(count + 1, kNan);
      reference::dropout(a, expected.data());
      expect_near(found[0], expected, 0, p == 0 ? 0 : 2e-7, "p " + std::to_string(p));
      const auto size = static_cast<double>(count);
      const auto dropped = static_cast<double>(std::ranges::count(found[0], 0.0F));
      EXPECT_NEAR(dropped, p * size, 5 * std::sqrt(p * (1 - p) * size) + 1) << p;
    }
  }
}

TEST_P(Layer, AdamWEqualsReference) {
  for (const int64_t count : {0, 1, 3, 17, 64, 65, 1000, 17001}) {
    const Floats gradient = normal(count, 1, 0.1F);
    Floats parameter = normal(count, 2), first = normal(count, 3, 0.1F), second = normal(count, 4, 0.1F);
    for (float& v : second) v *= v;
    const double correction1 = 1 - std::pow(0.9, 3), correction2 = 1 - std::pow(0.999, 3);
    AdamWArguments a{count, nullptr, nullptr, nullptr,     gradient.data(), 3e-2, 0.9,
                     0.999, 1e-8,    0.1,     correction1, correction2,     0.7F};
    const auto found = on_threads([&] {
      std::vector<Floats> outputs = {parameter, first, second};
      a.parameter = outputs[0].data();
      a.first_moment = outputs[1].data();
      a.second_moment = outputs[2].data();
      adamw(kernels(), a);
      return outputs;
    });
    a.parameter = parameter.data();
    a.first_moment = first.data();
    a.second_moment = second.data();
    Doubles p(count), m(count), v(count);
    reference::adamw(a, p.data(), m.data(), v.data());
    for (int64_t i = 0; i < count; ++i) {  // the update may cancel most of the parameter
      EXPECT_NEAR(found[0][i], p[i], 5e-7 * (std::abs(parameter[i]) + std::abs(p[i]))) << i;
    }
    expect_near(found[1], m, 1e-8, 5e-7, "first moment");
    expect_near(found[2], v, 0, 5e-7, "second moment");
  }
}

TEST_P(Layer, SumOfSquaresIsExactToDouble) {
  for (const int64_t count : {0, 1, 3, 17, 64, 65, 1000, 16384, 16385, 100003}) {
    for (const float deviation : {1.0F, 1e25F, 1e-25F}) {
      Floats x = normal(count, 1, deviation);
      double sums[2];
      for (const int threads : {1, 3}) {
        const base::ThreadLimit limit(threads);
        sums[threads / 3] = sum_of_squares(kernels(), {count, x.data()});
      }
      EXPECT_EQ(std::bit_cast<uint64_t>(sums[0]), std::bit_cast<uint64_t>(sums[1]));
      const double expected = reference::sum_of_squares({count, x.data()});
      EXPECT_NEAR(sums[0], expected, 1e-12 * expected) << count;
      if (x.empty()) continue;
      x.back() = kNan;
      EXPECT_TRUE(std::isnan(sum_of_squares(kernels(), {count, x.data()}))) << count;
    }
  }
}

std::atomic<int> calls, calls_elsewhere;
std::thread::id test_thread;

/// Takes so long that an idle thread would take part.
void note_thread() {
  ++calls;
  if (std::this_thread::get_id() != test_thread) ++calls_elsewhere;
  std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

TEST(LayerDrivers, FewElementsStayOnTheirThread) {
  test_thread = std::this_thread::get_id();
  LayerKernels kernels;
  kernels.unary = [](const UnaryArguments&) { note_thread(); };
  kernels.norm_gradient = [](const NormGradientArguments&) { note_thread(); };
  const base::ThreadLimit limit(3);
  Floats x(16384);
  unary(kernels, {UnaryFunction::exp, 16384, x.data(), x.data()});
  EXPECT_EQ(calls, 1);
  NormGradientArguments a{NormKind::rms, 1024, 16, x.data(), 16};
  a.d_weight = x.data();
  norm_gradient(kernels, a);
  EXPECT_EQ(calls, 1 + 1024 / 64);
  EXPECT_EQ(calls_elsewhere, 0);
}

/// Those of the tables: builds with sanitizers compile fewer into the library than this file knows.
std::vector<SimdTarget> targets() {
  std::vector<SimdTarget> all;
  for (SimdTarget left = hwy::SupportedTargets(); left != 0; left &= left - 1) {
    const std::string name = hwy::TargetName(left & -left);
    if (std::ranges::find(all_tables(), name, &KernelTable::target) != all_tables().end()) {
      all.push_back(left & -left);
    }
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Targets, Layer, testing::ValuesIn(targets()),
                         [](const auto& instance) { return std::string(hwy::TargetName(instance.param)); });

}  // namespace
}  // namespace attnlab::kernels
