// p and -log p as floats: what determines what, and conversions that lose nothing.
#include <bit>
#include <cmath>
#include <limits>

#include "tests/unit/mask_test_support.hpp"

namespace attnlab::mask {
namespace {

constexpr uint32_t one_bits = std::bit_cast<uint32_t>(1.0f);

/// A dense row of probabilities spread over all exponents, subnormal ones included.
std::vector<float> probabilities() {
  std::vector<float> values = {1, 0, 0x1p-149f, 0x1p-126f, 1 - 0x1p-24f, 0.1f, 0.3f, 1e-6f};
  for (uint32_t bits = 1; bits < one_bits; bits += 40009) values.push_back(std::bit_cast<float>(bits));
  return values;
}

/// Log weights of p from just below 1 down to far below the smallest float.
std::vector<float> log_weights() {
  std::vector<float> values = {0, 0x1p-24f, 0.1f, 0.5f, 1, 7.2f, 103.2f, 104, 200, 1e30f};
  for (uint32_t bits = std::bit_cast<uint32_t>(0x1p-24f); bits < std::bit_cast<uint32_t>(120.0f);
       bits += 10007) {
    values.push_back(std::bit_cast<float>(bits));
  }
  return values;
}

TEST(MaskConversionTest, CertaintyIsExact) {
  EXPECT_EQ(log_weight_of(1), 0.0f);
  EXPECT_EQ(probability_of(0), 1.0f);
  EXPECT_GT(log_weight_of(1 - 0x1p-24f), 0.0f);
  EXPECT_EQ(probability_of(log_weight_of(1 - 0x1p-24f)), 1 - 0x1p-24f);
  EXPECT_EQ(probability_of(1e30f), std::numeric_limits<float>::denorm_min());
}

TEST(MaskConversionTest, NeitherFloatDeterminesTheOther) {
  // Two probabilities with one float log weight, and two log weights with one float probability: the reason
  // for pairs.
  const float p = 1e-4f, next_p = std::nextafter(p, 1.0f);
  EXPECT_EQ(log_weight_of(p), log_weight_of(next_p));
  const float w = 0.1f, next_w = std::nextafter(w, 1.0f);
  EXPECT_EQ(probability_of(w), probability_of(next_w));
}

TEST(MaskConversionTest, DenseToSparseToDenseIsTheIdentity) {
  const auto values = probabilities();
  const Mask dense = Mask::dense({1, 1, 1, static_cast<int64_t>(values.size())}, {}, values);
  EXPECT_TRUE(dense.log_weight().empty());
  const Mask sparse = dense.to_sparse();
  EXPECT_EQ(sparse.state(), State::sparse);
  EXPECT_FALSE(sparse.probability().empty());
  EXPECT_TRUE(same_storage(sparse.to_dense(), dense));
  EXPECT_TRUE(same_storage(sparse.to_dense().to_sparse(), sparse));
  EXPECT_TRUE(sparse == dense);
  for (size_t k = 0; k < values.size(); ++k) {
    ASSERT_EQ(sparse.probability(0, 0, 0, static_cast<int64_t>(k)), values[k]);
  }
}

TEST(MaskConversionTest, SparseToDenseToSparseIsTheIdentity) {
  const auto weights = log_weights();
  const auto count = static_cast<int64_t>(weights.size());
  std::vector<int32_t> column;
  for (int32_t k = 0; k < count; ++k) column.push_back(2 * k);
  const Mask sparse = Mask::sparse({1, 1, 1, 2 * count}, {}, {0, count}, column, weights);
  EXPECT_TRUE(sparse.probability().empty());
  const Mask dense = sparse.to_dense();
  EXPECT_EQ(dense.state(), State::dense);
  EXPECT_FALSE(dense.log_weight().empty());
  EXPECT_TRUE(same_storage(dense.to_sparse(), sparse));
  EXPECT_TRUE(same_storage(dense.to_sparse().to_dense(), dense));
  EXPECT_TRUE(dense == sparse);
  size_t i = 0;
  for (const Entry& entry : dense.row(0, 0, 0)) {
    ASSERT_EQ(entry.log_weight, weights[i]);
    ASSERT_EQ(entry.probability, probability_of(weights[i]));
    ++i;
  }
  EXPECT_EQ(i, weights.size());
}

TEST(MaskConversionTest, SecondArrayIsKeptOnlyWhereNeeded) {
  const Shape shape{1, 1, 1, 4};
  ASSERT_EQ(probability_of(log_weight_of(0.5f)), 0.5f);
  EXPECT_TRUE(Mask::dense(shape, {}, {1, 0, 0.5f, 0}).to_sparse().probability().empty());
  const Mask sparse = Mask::dense(shape, {}, {1, 0, std::nextafter(1e-4f, 1.0f), 1e-4f}).to_sparse();
  EXPECT_EQ(sparse.probability().size(), 3u);
  EXPECT_TRUE(Mask::dense(shape, {}, {1, 0, 1, 0}).to_sparse().log_weight().empty());
  EXPECT_TRUE(Mask::sparse(shape, {}, {0, 2}, {1, 2}).to_dense().log_weight().empty());
}

TEST(MaskConversionTest, FullAndEmptyWriteOut) {
  const Shape shape{2, 2, 2, 3};
  EXPECT_EQ(vector_of(Mask::full(shape).to_dense().probability()), std::vector<float>(6, 1));
  EXPECT_EQ(vector_of(Mask::full(shape).to_sparse().column()), (std::vector<int32_t>{0, 1, 2, 0, 1, 2}));
  EXPECT_EQ(vector_of(Mask::empty(shape).to_sparse().row_ptr()), (std::vector<int64_t>{0, 0, 0}));
  EXPECT_TRUE(Mask::full(shape).to_sparse() == Mask::full(shape));
  EXPECT_TRUE(Mask::empty(shape).to_dense() == Mask::empty(shape));
  EXPECT_EQ(Mask::full(shape).to_dense().to_sparse().normalized().state(), State::full);
}

}  // namespace
}  // namespace attnlab::mask
