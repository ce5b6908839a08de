// Functions of each element, dropout, AdamW and sums of squares on every SIMD target.
#include <attnlab/philox.hpp>

#include "tests/unit/kernels_layer_test_support.hpp"

namespace attnlab::kernels {
namespace {

using namespace layer_test;

class LayerElements : public OnTarget {};

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

TEST_P(LayerElements, UnaryFunctionsKeepTheirBounds) {
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

TEST_P(LayerElements, UnaryArraysOfAnyLength) {
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

TEST_P(LayerElements, BinaryFunctionsRoundTheExactResult) {
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

TEST_P(LayerElements, ScaleAddReadsWhatItNeeds) {
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

TEST_P(LayerElements, DropoutFollowsPhiloxOnEveryTarget) {
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

TEST_P(LayerElements, AdamWEqualsReference) {
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

TEST_P(LayerElements, SumOfSquaresIsExactToDouble) {
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

INSTANTIATE_TEST_SUITE_P(Targets, LayerElements, testing::ValuesIn(targets()), target_name);

}  // namespace
}  // namespace attnlab::kernels
