// The mask algebra of sparse-attention-hub (golden case hub/mask_ops) against ours. Not followed, on purpose:
//  - duplicates inside one operand, which its sparse merge sums, its dense merge collapses and its density
//  counts
//    twice: a row of ours holds a key once;
//  - weights 1 / (p + 1e-6): ours are 1 / p, as -log p;
//  - dense masks of ones or zeros, which it recognises by flag only: ours are full and empty by content;
//  - its empty mask, which stands for dense attention and yet says density 0: ours is Full with density 1 for
//  dense
//    attention, and Empty, with density 0, lets nothing through.
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/io/npy.hpp"
#include "core/mask/density.hpp"
#include "core/mask/merge.hpp"
#include "tests/unit/mask_test_support.hpp"

namespace attnlab::mask {
namespace {

std::filesystem::path shared_folder() {
  if (const char* folder = std::getenv("ATTNLAB_SHARED")) return folder;
#ifdef ATTNLAB_SHARED_DIR
  return ATTNLAB_SHARED_DIR;
#else
  return "shared";
#endif
}

class MaskGoldenTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = shared_folder() / "golden/hub/mask_ops";
    if (!std::filesystem::exists(folder_ / "manifest.json")) {
      GTEST_SKIP() << "golden case is missing: " << folder_ << " (set ATTNLAB_SHARED to the shared folder)";
    }
    std::ifstream(folder_ / "manifest.json") >> manifest_;
    ASSERT_EQ(manifest_["shape"], (std::vector<int64_t>{1, 2, 3, 10}));
  }

  std::vector<float> floats(const std::string& name) const {
    return vector_of(io::read_npy(folder_ / (name + ".npy")).values<float>());
  }
  std::vector<int64_t> integers(const std::string& name) const {
    return vector_of(io::read_npy(folder_ / (name + ".npy")).values<int64_t>());
  }
  Mask dense(const std::string& name) const { return Mask::dense(shape_, extents_, floats(name)); }
  /// The reference's index form holds global flat positions.
  Mask sparse(const std::string& name) const {
    return Mask::sparse(shape_, extents_, integers(name + "_ptr"), columns(name), {}, floats(name + "_data"));
  }
  std::vector<int32_t> columns(const std::string& name) const {
    std::vector<int32_t> column;
    for (int64_t position : integers(name + "_indices"))
      column.push_back(static_cast<int32_t>(position % shape_.keys));
    return column;
  }
  /// Rows of three ids each; -1 is padding.
  std::vector<std::vector<int32_t>> rows(const std::string& name) const {
    std::vector<std::vector<int32_t>> result(6);
    const auto ids = integers(name);
    for (size_t i = 0; i < ids.size(); ++i) {
      if (ids[i] >= 0) result[i / 3].push_back(static_cast<int32_t>(ids[i]));
    }
    return result;
  }

  const Shape shape_{1, 2, 3, 10};
  const Extents extents_{1, 2};
  const Visibility everything_{shape_, false};
  std::filesystem::path folder_;
  nlohmann::json manifest_;
};

TEST_F(MaskGoldenTest, ConversionsAgree) {
  const Mask a = dense("a");
  EXPECT_TRUE(same_storage(a.to_sparse(), sparse("a")));
  EXPECT_TRUE(same_storage(sparse("a").to_dense(), a));
  EXPECT_EQ(vector_of(a.to_sparse().row_ptr()), integers("a_ptr"));
  EXPECT_FLOAT_EQ(static_cast<float>(density(a, everything_)), manifest_["density_a"].get<float>());
}

TEST_F(MaskGoldenTest, ReferenceSumAgreesBitForBit) {
  const Mask merged_dense = merge(dense("a"), dense("b"), MergeRule::reference_sum);
  const Mask merged_sparse = merge(dense("a").to_sparse(), dense("b").to_sparse(), MergeRule::reference_sum);
  EXPECT_EQ(plane(merged_dense), floats("merge_dense"));
  EXPECT_EQ(plane(merged_sparse), floats("merge_sparse"));
  EXPECT_EQ(merged_sparse.state(), State::sparse);
  EXPECT_TRUE(same_storage(merged_sparse, sparse("merge")));
  EXPECT_FLOAT_EQ(static_cast<float>(density(merged_sparse, everything_)),
                  manifest_["density_merge"].get<float>());
  EXPECT_FALSE(refusal([&] { merge(dense("a"), dense("b"), MergeRule::strict); }).empty());
}

TEST_F(MaskGoldenTest, FullAbsorbsAndEmptyStaysEmpty) {
  ASSERT_TRUE(manifest_["full_merge_a_is_full"]);
  ASSERT_TRUE(manifest_["empty_merge_empty_is_empty"]);
  EXPECT_TRUE(merge(Mask::full(shape_), dense("a"), MergeRule::reference_sum).is_full());
  EXPECT_TRUE(merge(Mask::empty(shape_), Mask::empty(shape_), MergeRule::reference_sum).is_empty());
  EXPECT_EQ(density(Mask::full(shape_), everything_), manifest_["density_full"].get<double>());
}

TEST_F(MaskGoldenTest, PaddedRowsAgreeOnceSorted) {
  const Mask ids = Mask::from_indices(shape_, extents_, rows("pad_row_idx"));
  EXPECT_EQ(vector_of(ids.row_ptr()), integers("pad_ptr"));
  const Mask mask = Mask::sparse(shape_, extents_, vector_of(ids.row_ptr()), vector_of(ids.column()), {},
                                 std::vector<float>(ids.column().size(), 0.3f));
  EXPECT_EQ(plane(mask), floats("pad_dense"));
}

TEST_F(MaskGoldenTest, DeviationDuplicatesInsideAnOperand) {
  EXPECT_REFUSAL(Mask::from_indices(shape_, extents_, rows("dup_row_idx")), "names a key twice");
  const Mask once = dense("dup_dense");
  const Mask merged_dense = merge(once, dense("b"), MergeRule::reference_sum);
  const Mask merged_sparse = merge(once.to_sparse(), dense("b").to_sparse(), MergeRule::reference_sum);
  EXPECT_EQ(plane(merged_dense), floats("dup_merge_dense_with_b"));
  EXPECT_TRUE(merged_sparse == merged_dense);
  EXPECT_NE(plane(merged_sparse), floats("dup_merge_sparse_with_b"));
  const auto ours = static_cast<float>(density(once.to_sparse(), everything_));
  EXPECT_FLOAT_EQ(ours, manifest_["density_dup_true"].get<float>());
  EXPECT_NE(ours, manifest_["density_dup_index"].get<float>());
}

TEST_F(MaskGoldenTest, DeviationWeightsHaveNoEpsilon) {
  const Mask a = dense("a").to_sparse();
  const auto x = floats("x"), weighted = floats("apply_inv_sparse"), applied = floats("apply"), p = plane(a);
  for (int64_t row = 0; row < 6; ++row) {
    for (int64_t key = 0; key < shape_.keys; ++key) {
      const auto i = static_cast<size_t>(row * shape_.keys + key);
      EXPECT_EQ(applied[i], x[i] * p[i]);
      if (p[i] == 0) {
        EXPECT_EQ(weighted[i], 0);
        continue;
      }
      const Entry entry = a.row(0, row / 3, row % 3).at(static_cast<int32_t>(key));
      const double ours = double{x[i]} * std::exp(double{entry.log_weight});
      const double exact = double{x[i]} / double{p[i]};
      EXPECT_NEAR(ours, exact, 1e-6 * std::abs(exact));
      EXPECT_NEAR(weighted[i], exact * p[i] / (double{p[i]} + 1e-6), 1e-6 * std::abs(exact));
    }
  }
  // The largest weight, p = 0.024: 4e-5 low with the epsilon.
  EXPECT_LT(std::abs(weighted[4] / x[4]) * p[4], 1 - 3e-5);
}

TEST_F(MaskGoldenTest, DeviationFullAndEmptyByContent) {
  ASSERT_FALSE(manifest_["dense_ones_is_full"]);
  ASSERT_FALSE(manifest_["dense_zeros_is_empty"]);
  EXPECT_TRUE(Mask::dense(shape_, {}, std::vector<float>(30, 1)).is_full());
  EXPECT_TRUE(Mask::dense(shape_, {}, std::vector<float>(30, 0)).is_empty());
}

TEST_F(MaskGoldenTest, DeviationEmptyLetsNothingThrough) {
  ASSERT_TRUE(manifest_["empty_apply_is_identity"]);
  ASSERT_EQ(manifest_["density_empty"], 0.0);
  EXPECT_EQ(density(Mask::full(shape_), everything_), 1);
  EXPECT_EQ(density(Mask::empty(shape_), everything_), 0);
  EXPECT_EQ(plane(Mask::empty(shape_)), std::vector<float>(60, 0));
  ASSERT_TRUE(manifest_["zeros_apply_is_zero"]);
}

}  // namespace
}  // namespace attnlab::mask
