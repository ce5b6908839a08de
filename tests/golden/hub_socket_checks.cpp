// SOCKET with the dumped planes.
#include <algorithm>

#include "tests/golden/hub_checks.hpp"
#include "tests/golden/hub_compare.hpp"
#include "tests/golden/hub_injected.hpp"

namespace attnlab::golden {
namespace {

/// Gives the session of the case the dumped planes and all keys, and compares buckets and scores.
void hash(const HubCase& golden, Injected& ours) {
  const HubShape& s = golden.shape();
  // Dumped as [L, K, D], ours are [D, L, K].
  const auto planes = dumped_floats(golden, "planes.npy");
  const auto count = static_cast<int64_t>(planes.size()) / s.head_dim;
  for (int64_t kv_head = 0; kv_head < s.kv_heads; ++kv_head) {
    const auto column = ours.column<float>(kv_head, "planes");
    EXPECT_EQ(column.size(), planes.size());
    for (int64_t plane = 0; plane < count; ++plane) {
      for (int64_t d = 0; d < s.head_dim; ++d) {
        column[static_cast<size_t>(d * count + plane)] = planes[static_cast<size_t>(plane * s.head_dim + d)];
      }
    }
  }
  ours.session().append(s.keys);

  const auto tables = golden.parameter("socket", "L").get<int64_t>();
  const auto dumped = dumped_integers(golden, "key_buckets.npy");  // [1, Hq, L, Sk]
  for (int64_t head = 0; head < s.query_heads; ++head) {
    const auto buckets = ours.column<uint8_t>(head / (s.query_heads / s.kv_heads), "buckets");
    for (int64_t l = 0; l < tables; ++l) {
      for (int64_t key = 0; key < s.keys; ++key) {
        EXPECT_EQ(buckets[static_cast<size_t>(key * tables + l)],
                  dumped[static_cast<size_t>((head * tables + l) * s.keys + key)])
            << "head " << head << ", table " << l << ", key " << key;
      }
    }
  }
  const Plane expected = Plane::read(golden.path("scores.npy")), scores = ours.scores();
  for (int64_t row = 0; row < expected.rows(); ++row) {
    const auto largest = double{std::ranges::max(expected.row(row))};
    for (int64_t key = 0; key < golden.visible_end(row); ++key) {
      const auto j = static_cast<size_t>(key);
      EXPECT_NEAR(double{scores.row(row)[j]}, double{expected.row(row)[j]}, 1e-5 * largest)
          << "row " << row << ", key " << key;
    }
  }
}

}  // namespace

void hashed_by_given_planes(const TableRow& row) {
  const HubCase golden(row.name);
  Injected injected(golden, golden.stages());
  hash(golden, injected);
  const Outcome ours = injected.attend();
  EXPECT_TRUE(same_mask(golden, golden.mask(), ours.mask));
  EXPECT_TRUE(lawful(golden, ours));
  EXPECT_TRUE(close(golden.output(), ours.output));
}

void hashed_beyond_active_keys(const TableRow& row) {
  const HubCase golden(row.name);
  const int64_t keys = golden.shape().keys;
  const auto sink = golden.parameter("sink", "sink_size").get<int64_t>();
  const auto window = golden.parameter("local", "window_size").get<int64_t>();
  const auto budget = static_cast<int64_t>(golden.parameter("socket", "heavy_size").get<double>() *
                                           static_cast<double>(keys));
  const Plane scores = Plane::read(golden.path("scores.npy"));
  const auto active = [&](int64_t key) { return key < sink || key >= keys - window; };
  const auto chosen_from = [&](bool all) {
    return mask_of(golden, [&](int64_t r) {
      std::vector<double> ranked(scores.row(r).begin(), scores.row(r).end());
      for (int64_t key = 0; key < keys && !all; ++key) {
        if (active(key)) ranked[static_cast<size_t>(key)] = -1;
      }
      std::vector<int64_t> chosen = largest(ranked, keys, budget);
      for (int64_t key = 0; key < keys; ++key) {
        if (active(key)) chosen.push_back(key);
      }
      return chosen;
    });
  };
  EXPECT_TRUE(same_mask(golden, chosen_from(true), golden.mask()));
  EXPECT_FALSE(same_mask(golden, chosen_from(false), golden.mask()));
  Injected injected(golden, golden.stages());
  hash(golden, injected);
  const Outcome ours = injected.attend();
  EXPECT_TRUE(same_mask(golden, chosen_from(false), ours.mask));
  EXPECT_TRUE(lawful(golden, ours));
}

}  // namespace attnlab::golden
