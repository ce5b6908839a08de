// Softmax and cross-entropy, with gradients, on every SIMD target.
#include "tests/unit/kernels_layer_test_support.hpp"

namespace attnlab::kernels {
namespace {

using namespace layer_test;

class LayerSoftmax : public OnTarget {
 protected:
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

TEST_P(LayerSoftmax, CrossEntropyEqualsReference) {
  for (const Shape& s : kShapes) {
    std::vector<int64_t> targets;
    for (int64_t r = 0; r < s.rows; ++r) targets.push_back(r % 5 == 2 ? -1 - r : r * 7 % s.width);
    check_cross_entropy(Rows(s, 1, 5), s, targets, s.name());
    check_cross_entropy(Rows(s, 2, 1, 1e4F), s, targets, s.name() + " high");
    check_cross_entropy(Rows(s, 3, 1, -1e4F), s, targets, s.name() + " low");
    check_cross_entropy(Rows(s, 4, 1e4F), s, targets, s.name() + " spread");
  }
}

TEST_P(LayerSoftmax, CrossEntropyOfInfinitiesNanAndIgnoredRows) {
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

TEST_P(LayerSoftmax, SoftmaxAndItsGradientEqualReference) {
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

INSTANTIATE_TEST_SUITE_P(Targets, LayerSoftmax, testing::ValuesIn(targets()), target_name);

}  // namespace
}  // namespace attnlab::kernels
