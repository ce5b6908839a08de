// Levels of a few bits against double precision.
#include <gtest/gtest.h>
#include <attnlab/quantise.hpp>

#include <random>
#include <vector>

namespace attnlab {
namespace {

/// The definition in double precision.
std::vector<double> rounded(const std::vector<float>& values, int64_t bits) {
  const auto [least, greatest] = std::minmax_element(values.begin(), values.end());
  const double lowest = *least, range = double{*greatest} - double{*least};
  const double scale = (std::exp2(static_cast<double>(bits)) - 1) / (range > 0 ? range : 1);
  std::vector<double> result;
  for (float value : values) {
    result.push_back(std::nearbyint((double{value} - lowest) * scale) / scale + lowest);
  }
  return result;
}

TEST(Quantiser, AgreesWithTheDefinitionAtEveryWidth) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  for (int64_t bits = 1; bits <= 15; ++bits) {
    for (size_t width : {1, 2, 3, 8, 33}) {
      std::vector<float> values(width);
      for (float& value : values) value = normal(random);
      const Quantiser quantiser(bits);
      // One byte more, to see that nothing is written beyond the end.
      std::vector<uint8_t> packed(
          static_cast<size_t>(Quantiser::bytes(static_cast<int64_t>(width), bits)) + 1, 0xab);
      std::vector<float> grid(Quantiser::grid_width), back(width), in_place = values;
      quantiser.pack(values, std::span(packed).first(packed.size() - 1), grid);
      quantiser.unpack(packed, grid, back);
      quantiser.round(in_place);
      EXPECT_EQ(packed.back(), 0xab);
      EXPECT_EQ(back, in_place) << bits << " bits, " << width << " elements";
      const auto expected = rounded(values, bits);
      for (size_t i = 0; i < width; ++i) EXPECT_NEAR(double{back[i]}, expected[i], 1e-6) << bits << " bits";
    }
  }
}

TEST(Quantiser, RoundsHalfToEvenAndKeepsTheEnds) {
  // Levels 0 to 3 with step 2: 1 and 5 lie half way.
  std::vector<float> values = {0, 1, 5, 6};
  Quantiser(2).round(values);
  EXPECT_EQ(values, (std::vector<float>{0, 0, 4, 6}));
}

TEST(Quantiser, KeepsEqualElements) {
  std::vector<float> values(5, -3.25f);
  Quantiser(1).round(values);
  EXPECT_EQ(values, std::vector<float>(5, -3.25f));
}

TEST(Quantiser, StaysFiniteAtTheEndsOfFloat32) {
  const float huge = std::numeric_limits<float>::max(), tiny = std::numeric_limits<float>::denorm_min();
  for (std::vector<float> values :
       {std::vector<float>{-huge, 0, huge}, std::vector<float>{0, tiny, 2 * tiny}}) {
    Quantiser(4).round(values);
    for (float value : values) EXPECT_TRUE(std::isfinite(value));
  }
}

TEST(Quantiser, TakesTheBitsItSays) {
  EXPECT_EQ(Quantiser::bytes(8, 4), 4);
  EXPECT_EQ(Quantiser::bytes(3, 4), 2);
  EXPECT_EQ(Quantiser::bytes(5, 3), 2);
  EXPECT_EQ(Quantiser::bytes(1, 15), 2);
}

}  // namespace
}  // namespace attnlab
