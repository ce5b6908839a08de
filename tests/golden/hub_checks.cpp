#include "tests/golden/hub_checks.hpp"

#include <algorithm>
#include <cmath>

#include "core/base/error.hpp"
#include "core/io/atomic_file.hpp"
#include "tests/golden/hub_compare.hpp"
#include "tests/support/catalog.hpp"

namespace attnlab::golden {
namespace {

bool has_nan(const Plane& plane) {
  return std::any_of(plane.values.begin(), plane.values.end(), [](float value) { return std::isnan(value); });
}

/// Every visible key of every row.
Plane everything(const HubCase& golden) {
  Plane mask(golden.shape().rows(), golden.shape().keys, 0);
  for (int64_t row = 0; row < mask.rows(); ++row) {
    std::fill_n(mask.row(row).begin(), golden.visible_end(row), 1.0f);
  }
  return mask;
}

void expect_ours(const HubCase& golden, const Plane& expected_mask, const Outcome& ours) {
  EXPECT_TRUE(same_mask(golden, expected_mask, ours.mask));
  EXPECT_TRUE(lawful(golden, ours));
}

}  // namespace

void PrintTo(const TableRow& row, std::ostream* out) {
  *out << row.name;
}

void exactly(const TableRow& row) {
  const HubCase golden(row.name);
  const Outcome ours = run_case(golden);
  expect_ours(golden, golden.mask(), ours);
  EXPECT_TRUE(close(golden.output(), ours.output));
  EXPECT_TRUE(close(golden.weights(), ours.weights));
}

void dense(const TableRow& row) {
  const HubCase golden(row.name);
  const Outcome ours = run_case(golden);
  EXPECT_TRUE(same_mask(golden, Plane(golden.shape().rows(), golden.shape().keys, 0), golden.mask()));
  expect_ours(golden, everything(golden), ours);
  EXPECT_TRUE(close(golden.output(), ours.output));
  EXPECT_TRUE(close(golden.weights(), ours.weights));
}

void window_where_reference_is_full(const TableRow& row) {
  const HubCase golden(row.name);
  const auto window = golden.parameter("local", "window_size").get<int64_t>();
  const Plane expected = mask_of(golden, [&](int64_t r) {
    std::vector<int64_t> keys;
    const int64_t end = golden.visible_end(r);
    for (int64_t key = std::max<int64_t>(0, end - window); key < end; ++key) keys.push_back(key);
    return keys;
  });
  EXPECT_TRUE(same_mask(golden, everything(golden), golden.mask()));
  EXPECT_TRUE(close(attend(golden, everything(golden)), golden.output()));
  expect_ours(golden, expected, run_case(golden));
}

void host_causality(const TableRow& row) {
  const HubCase golden(row.name);
  const Outcome ours = run_case(golden);
  expect_ours(golden, golden.mask(), ours);
  EXPECT_FALSE(close(golden.output(), ours.output)) << "the reference no longer attends to later keys";
}

void ranks_scaled_logits(const TableRow& row) {
  const HubCase golden(row.name);
  const auto count = golden.parameter("oracle_top_k", "heavy_size").get<int64_t>();
  auto ranked_by = [&](double scale) {
    return mask_of(golden,
                   [&](int64_t r) { return largest(golden.logits(r, scale), golden.visible_end(r), count); });
  };
  EXPECT_TRUE(same_mask(golden, ranked_by(1), golden.mask()));
  EXPECT_FALSE(same_mask(golden, ranked_by(golden.scale()), golden.mask()));
  expect_ours(golden, ranked_by(golden.scale()), run_case(golden));
}

void at_least_one_key(const TableRow& row) {
  const HubCase golden(row.name);
  const bool ranked = golden.masker_ids().front() == "oracle_top_k";
  const Plane expected = mask_of(golden, [&](int64_t r) {
    return ranked ? largest(golden.logits(r), golden.visible_end(r), 1) : std::vector<int64_t>{0};
  });
  EXPECT_TRUE(has_nan(golden.output()));
  expect_ours(golden, expected, run_case(golden));
}

void maximum_over_active_keys(const TableRow& row) {
  const HubCase golden(row.name);
  EXPECT_TRUE(has_nan(golden.output()));
  expect_ours(golden, golden.mask(), run_case(golden));
}

void refused(const TableRow& row) {
  const HubCase golden(row.name);
  const std::string text = io::refusal([&] { run_case(golden); });
  EXPECT_NE(text.find("/pipelines/case/"), std::string::npos) << text;
  EXPECT_NE(text.find("allowed"), std::string::npos) << text;
}

void not_built(const TableRow& row) {
  const HubCase golden(row.name);
  bool needed = false;
  for (const auto& id : golden.masker_ids()) {
    const bool built = test::catalog().find(id) != nullptr;
    if (id != row.missing_masker) {
      EXPECT_TRUE(built) << "the case also needs " << id;
      continue;
    }
    needed = true;
    EXPECT_FALSE(built) << "masker " << id << " exists: compare this case now. " << row.rule;
  }
  EXPECT_TRUE(needed) << "the case does not use " << row.missing_masker;
}

void elsewhere(const TableRow& row) {
  const std::string file = row.rule.substr(0, row.rule.find(' '));
  const std::string text = io::read_text(std::string(ATTNLAB_SOURCE_DIR) + "/" + file, size_t{1} << 20);
  EXPECT_NE(text.find("golden/hub/" + row.name), std::string::npos) << file << " does not read the case";
}

}  // namespace attnlab::golden
