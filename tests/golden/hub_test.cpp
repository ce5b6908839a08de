// Every golden case of sparse-attention-hub, accounted for: compared exactly, compared in a weaker way with
// the rule of spec/maskers.md that parts us from the reference, covered by another test, or waiting for its
// masker.
#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <memory>
#include <set>

#include "tests/golden/hub_checks.hpp"
#include "tests/golden/hub_compare.hpp"

namespace attnlab::golden {
namespace {

constexpr auto full_window = "the reference returns Full when Sk <= w + Sq";
constexpr auto never_nan = "floor gives at least 1; never NaN";
constexpr auto empty_is_dense = "an empty selection is written as all zeros but computed as dense";
constexpr auto stay_candidates = "sampled keys stay candidates";
constexpr auto theory = "random: compare with theory, not with the biased reference";
constexpr auto adaptive_theory =
    "adaptive: compare with theory; given the dumped draws, sets can be compared";
constexpr auto unique_rows = "compare rows listed in topk_unique_rows";
constexpr auto given_centres = "random centres: exact given the dumped ones, masks on topk_unique_rows";
constexpr auto given_planes = "random planes: exact given the dumped ones";
constexpr auto integer_scores =
    "integer scores: the reference's bias (jitter) orders ties, ours go to the lower index";
constexpr auto per_head_norm =
    "batch-wide norm: compare with mips_transform and min_tables 1 where one head holds the maximum, else "
    "collision "
    "probabilities only";
constexpr auto channels = "exactly, with the channel lists in our file format";
constexpr auto pages = "no minimum of three pages; no leak of later keys into page bounds";

const std::vector<TableRow>& table() {
  static const std::vector<TableRow> rows = {
      {"sink4_decode", exactly},
      {"sink4_prefill_causal", exactly},
      {"sink_float_decode", exactly},
      {"sink_full_decode", exactly},
      {"sink_then_local_prefill", exactly},
      {"sink_then_local_clears_future", exactly},
      {"local8_decode", exactly},
      {"local8_prefill_causal", exactly},
      {"local8_prefill_nocausal", exactly},
      {"local_boundary_minus1", exactly},
      {"local_then_sink_prefill", exactly},
      {"attention_mask_longer_than_keys", exactly},
      {"oracle_topk_int_decode", exactly},
      {"oracle_topk_float_decode", exactly},
      {"oracle_topk_full", exactly},
      {"oracle_topk_more_than_remaining", exactly},
      {"oracle_topk_prefill_causal", exactly},
      {"oracle_topk_prefill_nocausal", exactly},
      {"sink_local_oracle_topk_decode", exactly},
      {"sink_local_oracle_topk_prefill", exactly},
      {"oracle_topp_0.5_decode", exactly},
      {"oracle_topp_0.9_decode", exactly},
      {"oracle_topp_0.99_decode", exactly},
      {"oracle_topp_1.0_full", exactly},

      {"empty_pipeline_decode", dense, empty_is_dense},
      {"empty_pipeline_prefill_causal", dense, empty_is_dense},
      {"causal_masker_noop", dense, empty_is_dense},
      {"local3_square_full", window_where_reference_is_full, full_window},
      {"local_full_boundary", window_where_reference_is_full, full_window},
      {"local_then_sink_keeps_future", host_causality, "mask agrees, output not: host causality"},
      {"oracle_topk_additive_bias", ranks_scaled_logits, "the reference ranks without the scale"},
      {"oracle_topk_zero_nan", at_least_one_key, never_nan},
      {"sink_float_rounds_to_zero_nan", at_least_one_key, never_nan},
      {"stabiliser_underflow", maximum_over_active_keys, "maximum over active keys"},
      {"oracle_topp_0.0_decode", refused, "top_p = 0 is not a legal value here"},

      {"random_sampling_decode", sample, theory},
      {"random_sampling_half_prefill", sample, theory},
      {"sink_local_random", sample, theory},
      {"random_then_local", sampled_keys_stay_candidates, theory},
      {"random_then_oracle_topk", sampled_keys_stay_candidates, stay_candidates},
      {"random_then_topp", sampled_keys_stay_candidates, stay_candidates},
      {"stats_random_0.2", unbiased_denominator,
       "drawn with replacement, its mean denominator ratio is 0.904"},
      {"stats_random_0.5", unbiased_denominator,
       "drawn with replacement, its mean denominator ratio is 0.796"},

      {"mask_ops", elsewhere, "tests/unit/mask_golden_test.cpp compares mask algebra"},

      {"adaptive_after_sink_local_topk", pilot_and_sample, adaptive_theory},
      {"adaptive_base0_noop", refused, "base_rate_sampling 0 is not a legal value here"},
      {"adaptive_empty_prev", pilot_and_sample, adaptive_theory},
      {"adaptive_int_base_float_offsets", pilot_and_sample, adaptive_theory},
      {"adaptive_prefill_causal", pilot_and_sample, adaptive_theory},
      {"adaptive_small_range_full", residual_where_reference_is_full,
       "the reference returns Full when fewer than two keys may be sampled"},
      {"adaptive_tight_eps_saturates", pilot_and_sample, adaptive_theory},
      {"stats_adaptive_0.25", unbiased_and_covered, adaptive_theory},
      {"vattention_hash_like_b2", pilot_and_sample, adaptive_theory},
      {"double_sparsity_bits4", exactly_with_channels, channels},
      {"double_sparsity_decode", exactly_with_channels, channels},
      {"sink_local_double_sparsity", exactly_with_channels, channels},
      {"hashattention_decode_jitter", highest_hash_scores, integer_scores},
      {"hashattention_decode_ties", highest_hash_scores, integer_scores},
      {"hashattention_relu_2layer_prefill", highest_hash_scores, integer_scores},
      {"hashattention_tanh_1layer", highest_hash_scores, integer_scores},
      {"magicpig_decode", same_collisions, per_head_norm},
      {"magicpig_float32_packing", same_collisions, per_head_norm},
      {"magicpig_nocenter", same_collisions, per_head_norm},
      {"magicpig_prefill_causal", same_collisions, per_head_norm},
      {"stats_magicpig_16_4", collides_as_in_theory, theory},
      {"stats_magicpig_64_8", collides_as_in_theory, theory},
      {"stats_magicpig_nocenter_16_4", collides_as_in_theory, theory},
      {"pqcache_euclid_decode", quantised_by_given_centres, given_centres},
      {"pqcache_two_step_euclid", quantised_by_given_centres, given_centres},
      {"pqcache_two_step_ip", appended_keys_are_keys, "appended keys assigned consistently"},
      {"sink_local_pqcache", codes_of_final_centres, "codes belong to the final centres"},
      {"quest_decode", exactly},
      {"quest_label_bits4", exactly},
      {"quest_min3pages", pages_within_budget, pages},
      {"quest_prefill_causal", pages_within_budget, pages},
      {"socket_decode", hashed_by_given_planes, given_planes},
      {"socket_prefill_causal", hashed_by_given_planes, given_planes},
      {"sink_local_socket", hashed_beyond_active_keys, "top-k chooses among keys that are not active yet"},
  };
  return rows;
}

#define SKIP_WITHOUT_CASES()                                      \
  if (!std::filesystem::exists(hub_folder())) {                   \
    GTEST_SKIP() << "golden cases are missing: " << hub_folder()  \
                 << " (set ATTNLAB_SHARED to the shared folder)"; \
  }

class HubCases : public ::testing::TestWithParam<TableRow> {};

TEST_P(HubCases, Hold) {
  SKIP_WITHOUT_CASES();
  SCOPED_TRACE(GetParam().name + ": " + GetParam().rule);
  GetParam().check(GetParam());
}

INSTANTIATE_TEST_SUITE_P(Hub, HubCases, ::testing::ValuesIn(table()), [](const auto& test) {
  std::string name = test.param.name;
  std::replace(name.begin(), name.end(), '.', '_');
  return name;
});

std::multiset<std::string> names(const std::vector<TableRow>& rows) {
  std::multiset<std::string> names;
  for (const auto& row : rows) names.insert(row.name);
  return names;
}

TEST(HubTable, AccountsForEveryFolderOnce) {
  SKIP_WITHOUT_CASES();
  std::multiset<std::string> folders;
  for (const auto& entry : std::filesystem::directory_iterator(hub_folder())) {
    if (entry.is_directory() && entry.path().filename() != "_inputs") folders.insert(entry.path().filename());
  }
  EXPECT_EQ(names(table()), folders);
}

TEST(HubTable, NamesTheRuleOfEveryCaseThatIsNotExact) {
  for (const auto& row : table()) {
    EXPECT_EQ(row.check == exactly, row.rule.empty()) << row.name;
    EXPECT_EQ(row.check == not_built, !row.missing_masker.empty()) << row.name;
  }
}

/// The comparisons must be able to fail: each test here changes one number.
class HubComparison : public ::testing::Test {
 protected:
  void SetUp() override {
    SKIP_WITHOUT_CASES();
    golden_ = std::make_unique<HubCase>("sink_local_oracle_topk_prefill");
    ours_ = run_case(*golden_);
    ASSERT_TRUE(same_mask(*golden_, golden_->mask(), ours_.mask));
    ASSERT_TRUE(lawful(*golden_, ours_));
  }
  std::unique_ptr<HubCase> golden_;
  Outcome ours_;
};

TEST_F(HubComparison, NoticesOneEntryOfAMask) {
  const int64_t row = ours_.mask.rows() - 1;
  float& entry = ours_.mask.row(row)[static_cast<size_t>(golden_->visible_end(row) - 1)];
  ASSERT_EQ(entry, 1);
  for (float wrong : {0.0f, std::nextafter(1.0f, 0.0f)}) {
    entry = wrong;
    EXPECT_FALSE(same_mask(*golden_, golden_->mask(), ours_.mask)) << wrong;
  }
  entry = 0;
  EXPECT_FALSE(lawful(*golden_, ours_)) << "the output no longer follows from the mask";
}

TEST_F(HubComparison, NoticesAnInvisibleKey) {
  ours_.mask.row(0).back() = 1;
  EXPECT_TRUE(same_mask(*golden_, golden_->mask(), ours_.mask)) << "the position is not visible";
  EXPECT_FALSE(lawful(*golden_, ours_));
}

TEST_F(HubComparison, NoticesOneElementOfAnOutput) {
  const Plane reference = golden_->output();
  ASSERT_TRUE(close(reference, ours_.output));
  auto row = ours_.output.row(5);
  const auto largest = std::ranges::max_element(row, {}, [](float value) { return std::abs(value); });
  const float right = *largest;
  *largest = right * 1.00002f;
  EXPECT_FALSE(close(reference, ours_.output));
  *largest = std::numeric_limits<float>::quiet_NaN();
  EXPECT_FALSE(close(reference, ours_.output));
}

TEST_F(HubComparison, NoticesAMaskerThatHasBeenBuilt) {
  EXPECT_NONFATAL_FAILURE(not_built({"sink4_decode", not_built, "the rule", "sink"}), "masker sink exists");
}

}  // namespace
}  // namespace attnlab::golden
