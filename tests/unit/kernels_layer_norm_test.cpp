// Norms and their gradients on every SIMD target.
#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

#include "tests/unit/kernels_layer_test_support.hpp"

namespace attnlab::kernels {
namespace {

using namespace layer_test;

class LayerNorms : public OnTarget {
 protected:
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
};

TEST_P(LayerNorms, NormEqualsReference) {
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

TEST_P(LayerNorms, NormInPlaceAndWithNan) {
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

TEST_P(LayerNorms, NormGradientsEqualReference) {
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

INSTANTIATE_TEST_SUITE_P(Targets, LayerNorms, testing::ValuesIn(targets()), target_name);

}  // namespace
}  // namespace attnlab::kernels
