#include <gtest/gtest.h>
#include <attnlab/masker.hpp>

#include <random>
#include <vector>

namespace {

using attnlab::Query;
using attnlab::Range;
using attnlab::Tile;

/// A tile that knows visibility alone, of one row.
struct OneRow {
  int64_t end, count;
  std::vector<uint64_t> bits;
  const uint64_t* hidden_row;
  attnlab_tile table{};

  OneRow(int64_t visible_end, const std::vector<int64_t>& hidden)
      : end(visible_end), count(visible_end), bits(4) {
    for (int64_t key : hidden) {
      bits[static_cast<size_t>(key / 64)] |= uint64_t{1} << (key % 64);
      --count;
    }
    hidden_row = bits.data();
    table.struct_size = sizeof table;
    table.count_read = [](void*, uint64_t) {};
    table.group = 1;
    table.row_count = 1;
    table.key_count = end;
    table.visible_end = &end;
    table.visible_count = &count;
    table.hidden = hidden.empty() ? nullptr : &hidden_row;
  }
};

constexpr Query row{0, 1};

void expect_range(Range found, int32_t begin, int32_t end) {
  EXPECT_EQ(found.begin, begin);
  EXPECT_EQ(found.end, end);
}

TEST(SdkTile, FirstAndLastWithoutHiddenKeys) {
  OneRow data(100, {});
  Tile tile(&data.table);
  expect_range(tile.first(row, 16), 0, 16);
  expect_range(tile.last(row, 16), 84, 100);
  expect_range(tile.first(row, 0), 0, 0);
  expect_range(tile.last(row, 0), 100, 100);
  expect_range(tile.first(row, 100), 0, 100);
  expect_range(tile.last(row, 1000), 0, 100);
}

TEST(SdkTile, FirstAndLastCountVisibleKeysOnly) {
  OneRow data(100, {0, 1, 5, 98, 64});
  Tile tile(&data.table);
  expect_range(tile.first(row, 4), 0, 7);    // 2 3 4 6
  expect_range(tile.last(row, 3), 96, 100);  // 96 97 99
  expect_range(tile.first(row, 95), 0, 100);
  expect_range(tile.last(row, 94), 3, 100);  // all but the first visible key, 2
}

TEST(SdkTile, FirstAndLastHoldTheAskedNumberOfVisibleKeys) {
  std::mt19937 random(1);
  for (int trial = 0; trial < 200; ++trial) {
    const auto end = static_cast<int64_t>(random() % 200 + 1);
    std::vector<int64_t> hidden;
    for (int64_t key = 0; key < end; ++key) {
      if (random() % 3 == 0) hidden.push_back(key);
    }
    OneRow data(end, hidden);
    Tile tile(&data.table);
    const auto wanted = static_cast<int64_t>(random() % static_cast<uint64_t>(end + 1));
    auto visible_in = [&](Range range) {
      int64_t found = 0;
      for (int64_t key = range.begin; key < range.end; ++key) found += tile.is_visible(row, key) ? 1 : 0;
      return found;
    };
    const Range first = tile.first(row, wanted), last = tile.last(row, wanted);
    EXPECT_EQ(visible_in(first), std::min(wanted, data.count));
    EXPECT_EQ(visible_in(last), std::min(wanted, data.count));
    if (wanted > 0 && wanted < data.count) {
      EXPECT_TRUE(tile.is_visible(row, first.end - 1)) << "the range is the shortest";
      EXPECT_TRUE(tile.is_visible(row, last.begin)) << "the range is the shortest";
    }
  }
}

TEST(SdkTile, VisibilityOfKeysAndRanges) {
  OneRow data(100, {70});
  Tile tile(&data.table);
  EXPECT_TRUE(tile.is_visible(row, 69));
  EXPECT_FALSE(tile.is_visible(row, 70));
  EXPECT_FALSE(tile.is_visible(row, -1));
  EXPECT_FALSE(tile.is_visible(row, 100));
  EXPECT_TRUE(tile.all_visible(row, {64, 70}));
  EXPECT_FALSE(tile.all_visible(row, {64, 80}));
  EXPECT_FALSE(tile.all_visible(row, {96, 112})) << "a page that ends after the row's last key";
  EXPECT_TRUE(tile.all_visible(row, {96, 100}));
  EXPECT_FALSE(tile.all_visible(row, {-1, 2}));
}

TEST(SdkTile, QueriesSpanTheGroupOnlyWhenItsRowsSeeTheSameKeys) {
  attnlab_tile table{};
  table.count_read = [](void*, uint64_t) {};
  table.group = 4;
  table.row_count = 12;
  auto spans = [&] {
    std::vector<std::pair<int64_t, int64_t>> found;
    for (Query query : Tile(&table).queries()) found.emplace_back(query.row, query.rows);
    return found;
  };
  table.shared_visibility = 1;
  EXPECT_EQ(spans(), (std::vector<std::pair<int64_t, int64_t>>{{0, 4}, {4, 4}, {8, 4}}));
  table.shared_visibility = 0;
  EXPECT_EQ(spans().size(), 12u);
  EXPECT_EQ(spans()[5], (std::pair<int64_t, int64_t>{5, 1}));
}

TEST(SdkTile, UndeclaredColumnsAreNamed) {
  attnlab_tile table{};
  table.count_read = [](void*, uint64_t) {};
  try {
    Tile(&table).column<float>("lowest");
    FAIL();
  } catch (const std::logic_error& error) {
    EXPECT_NE(std::string(error.what()).find("\"lowest\""), std::string::npos);
  }
}

TEST(SdkPrior, KeysAreRunsThenIds) {
  const Range runs[] = {{2, 5}, {9, 10}};
  const int32_t ids[] = {6, 20};
  attnlab::RowPrior prior{false, runs, ids, {}, {}};
  EXPECT_EQ(prior.count(), 6);
  std::vector<int32_t> memory(30);
  auto keys = prior.keys(memory);
  EXPECT_EQ(std::vector<int32_t>(keys.begin(), keys.end()), (std::vector<int32_t>{2, 3, 4, 9, 6, 20}));
}

}  // namespace
