// The probes do the work that they claim, at every SIMD target, and tables are found by name.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/kernels/table.hpp"

namespace attnlab::kernels {
namespace {

TEST(KernelsProbe, MultiplyAddsReachTheFixedPointOfEverySum) {
  for (const KernelTable* table : all_tables()) {
    SCOPED_TRACE(table->target);
    float seed = 3;
    const double flops = table->multiply_adds(1000, seed);
    EXPECT_EQ(table->multiply_adds(2000, seed), 2 * flops);
    // x -> x / 2 + 1 / 2 ends at 1 in every lane: the result counts the lanes that took part.
    seed = 3;
    EXPECT_EQ(table->multiply_adds(1000, seed), flops);
    EXPECT_NEAR(seed, flops / (2 * 1000), 1e-3 * seed);
  }
}

TEST(KernelsProbe, ReadsEveryValueOnce) {
  for (const KernelTable* table : all_tables()) {
    SCOPED_TRACE(table->target);
    for (const int64_t count : {0, 1, 7, 16, 127, 128, 129, 1000}) {
      // Whole numbers: their sum is exact in any order. What lies beyond would show.
      std::vector<float> values(static_cast<size_t>(count) + 1, 1e9F);
      float sum = 0;
      for (int64_t i = 0; i < count; ++i)
        sum += values[static_cast<size_t>(i)] = static_cast<float>(i % 13 + 1);
      EXPECT_EQ(table->read(values.data(), count), sum) << count;
    }
  }
}

TEST(KernelsTable, IsFoundByItsNameInLowerCase) {
  ASSERT_EQ(table_names().size(), all_tables().size());
  for (size_t i = 0; i < all_tables().size(); ++i) EXPECT_EQ(find_table(table_names()[i]), all_tables()[i]);
  EXPECT_EQ(find_table("mmx"), nullptr);
  EXPECT_EQ(find_table(all_tables().front()->target), nullptr) << "upper case";
}

}  // namespace
}  // namespace attnlab::kernels
