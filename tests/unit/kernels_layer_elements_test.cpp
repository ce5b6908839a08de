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
  double relative, absolute;
};

const UnaryBound kUnaryBounds[] = {
    {UnaryFunction::exp, 3e-7, 1.2e-38}, {UnaryFunction::sigmoid, 3e-7, 1.2e-38},
    {UnaryFunction::tanh, 3e-7, 0},      {UnaryFunction::relu, 0, 0},
    {UnaryFunction::silu, 0, 3e-7},      {UnaryFunction::gelu_erf, 0, 3e-7},
    {UnaryFunction::gelu_tanh, 0, 3e-7}};

TEST_P(LayerElements, UnaryFunctionsKeepTheirBounds) {
  Floats x;
  for (int i = -2000; i <= 2000; ++i) x.push_back(static_cast<float>(i) * 0.006F);
  for (const float size : {1e-30F, 1e-6F, 0.62F, 0.63F, 63.9F, 64.1F, 86.9F, 87.2F, 88.72F, 90.0F, 1e30F}) {
    x.insert(x.end(), {size, -size});
  }
  for (const UnaryBound& bound : kUnaryBounds) {
    Floats value(x.size());
    unary(kernels(), {bound.function, std::ssize(x), x.data(), value.data()});
    for (size_t i = 0; i < x.size(); ++i) {
      const double scale = std::max(1.0, std::abs(double{x[i]}));
      const auto near = [&](float found, double expected, double relative, double absolute) {
        const bool is_near = std::abs(found - expected) <= relative * std::abs(expected) + absolute * scale;
        EXPECT_TRUE(expected > std::numeric_limits<float>::max() ? found == kInfinity : is_near)
            << static_cast<int>(bound.function) << " at " << x[i] << ": " << found << ", not " << expected;
      };
      near(value[i], reference::unary_value(bound.function, x[i]), bound.relative, bound.absolute);
    }
    float out = 0;
    unary(kernels(), {bound.function, 1, &kNan, &out});
    EXPECT_TRUE(std::isnan(out));
  }
}

TEST_P(LayerElements, UnaryArraysOfAnyLength) {
  for (const int64_t count : {0, 1, 3, 17, 64, 65, 1000, 17001}) {
    const Floats x = normal(count, 1);
    for (const UnaryBound& bound : kUnaryBounds) {
      UnaryArguments forward{bound.function, count, x.data()};
      const auto found = on_threads([&] {
        Floats out(count + 1, kNan);
        forward.out = out.data();
        unary(kernels(), forward);
        return std::vector<Floats>{out};
      });
      Doubles out(count + 1, kNan);
      reference::unary(forward, out.data());
      expect_near(found[0], out, 2e-6, 3e-7, "value");
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
