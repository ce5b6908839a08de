// Rows with lists of their own, attended to over the union of the lists, against the double-precision
// reference of each list, on every SIMD target.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "core/kernels/attention/list_union.hpp"
#include "core/kernels/attention/reference.hpp"

namespace attnlab::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int64_t head_dim = 20, value_dim = 17;

/// A list that owns its keys.
struct OwnList {
  int64_t rows = 1;
  std::vector<Range> runs;
  std::vector<int32_t> ids, sampled;
  std::vector<float> log_weight;

  KeyList view() const {
    return {.rows = rows, .runs = runs, .ids = ids, .sampled = sampled, .log_weight = log_weight.data()};
  }
};

struct Draw {
  double common = 0.9;  ///< share of each list's ids that all lists have
  bool sampled = false;
  bool own_runs = false;
};

/// Lists of so many rows each: a run of 40 keys, `count` ids, and as many sampled ones where asked for.
std::vector<OwnList> draw_lists(const std::vector<int64_t>& rows, int64_t keys, int64_t count, Draw draw) {
  std::mt19937 random(7);
  std::uniform_int_distribution<int32_t> any(50, static_cast<int32_t>(keys) - 1);
  std::uniform_real_distribution<float> weight(0.1F, 3);
  std::bernoulli_distribution is_sampled(0.5);
  std::set<int32_t> common;
  while (static_cast<double>(common.size()) < draw.common * static_cast<double>(count))
    common.insert(any(random));
  std::vector<OwnList> lists;
  for (size_t l = 0; l < rows.size(); ++l) {
    const int32_t shift = draw.own_runs ? static_cast<int32_t>(l) : 0;
    OwnList list{.rows = rows[l], .runs = {{shift, 40 + shift}}, .ids = {}, .sampled = {}, .log_weight = {}};
    std::set<int32_t> ids = common;
    while (static_cast<int64_t>(ids.size()) < count) ids.insert(any(random));
    for (const int32_t id : ids) {
      if (draw.sampled && is_sampled(random)) {
        list.sampled.push_back(id);
        list.log_weight.push_back(weight(random));
      } else {
        list.ids.push_back(id);
      }
    }
    lists.push_back(list);
  }
  return lists;
}

struct Memory {
  Memory(int64_t rows, int64_t keys)
      : query(static_cast<size_t>(rows * head_dim)),
        key(static_cast<size_t>(keys * head_dim)),
        value(static_cast<size_t>(keys * value_dim)),
        out(static_cast<size_t>(rows * value_dim)),
        lse(static_cast<size_t>(rows)) {
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    for (auto* numbers : {&query, &key, &value}) {
      for (float& x : *numbers) x = normal(random);
    }
    arguments.query = query.data();
    arguments.query_stride = arguments.head_dim = head_dim;
    arguments.rows = rows;
    arguments.value_dim = arguments.out_stride = value_dim;
    arguments.scale = 0.3F;
    arguments.out = out.data();
    arguments.lse = lse.data();
    segment.key = key.data();
    segment.key_stride = head_dim;
    segment.value = value.data();
    segment.value_stride = value_dim;
  }

  std::vector<float> query, key, value, out, lse;
  AttendArguments arguments;
  Segment segment;
};

std::vector<KeyList> views(const std::vector<OwnList>& lists) {
  std::vector<KeyList> result;
  for (const OwnList& list : lists) result.push_back(list.view());
  return result;
}

class ListUnionTest : public testing::TestWithParam<const KernelTable*> {
 protected:
  static const KernelTable& table() { return *GetParam(); }

  static void expect_reference(const Memory& m, const std::vector<OwnList>& lists) {
    int64_t row = 0;
    for (const OwnList& list : lists) {
      Segment parts[2] = {m.segment, m.segment};
      parts[0].runs = list.runs.data();
      parts[0].run_count = static_cast<int64_t>(list.runs.size());
      parts[0].ids = list.ids.data();
      parts[0].id_count = static_cast<int64_t>(list.ids.size());
      parts[1].ids = list.sampled.data();
      parts[1].id_count = static_cast<int64_t>(list.sampled.size());
      parts[1].log_weight = list.log_weight.data();
      AttendArguments a = m.arguments;
      a.rows = list.rows;
      a.query += row * head_dim;
      if (a.bias != nullptr) a.bias += row;
      if (a.sink_logit != nullptr) a.sink_logit += row;
      a.segments = parts;
      a.segment_count = 2;
      std::vector<double> out(static_cast<size_t>(list.rows * value_dim)),
          lse(static_cast<size_t>(list.rows));
      reference::attend(a, out.data(), lse.data());
      for (int64_t r = 0; r < list.rows; ++r) {
        EXPECT_NEAR(m.lse[row + r], lse[r], 1e-5) << "row " << row + r;
        for (int64_t c = 0; c < value_dim; ++c)
          EXPECT_NEAR(m.out[(row + r) * value_dim + c], out[r * value_dim + c], 2e-5) << "row " << row + r;
      }
      row += list.rows;
    }
  }
};

TEST_P(ListUnionTest, EqualsTheReferenceOfEachList) {
  const int64_t keys = 12000;
  for (const std::vector<int64_t>& rows :
       {std::vector<int64_t>{1, 1}, {1, 1, 1, 1}, {2, 1, 3}, {1, 1, 1, 1, 1, 1, 1, 1}}) {
    int64_t row_count = 0;
    for (const int64_t count : rows) row_count += count;
    // One block, some blocks, and more than split_attend takes in one part.
    for (const int64_t count :
         row_count == 4 ? std::vector<int64_t>{30, 700, 5000} : std::vector<int64_t>{700}) {
      for (const Draw draw :
           {Draw{}, Draw{.sampled = true}, Draw{.own_runs = true}, Draw{.sampled = true, .own_runs = true}}) {
        SCOPED_TRACE(std::to_string(rows.size()) + " lists of " + std::to_string(count) + " keys, sampled " +
                     std::to_string(draw.sampled) + ", own runs " + std::to_string(draw.own_runs));
        const auto lists = draw_lists(rows, keys, count, draw);
        Memory m(row_count, keys);
        ListUnion united;
        united.attend(table(), m.arguments, m.segment, views(lists));
        EXPECT_TRUE(united.united());
        expect_reference(m, lists);
      }
    }
  }
}

TEST_P(ListUnionTest, TakesBiasAndSinkLogits) {
  const int64_t keys = 2000;
  const auto lists = draw_lists({1, 1, 1, 1}, keys, 300, {.sampled = true});
  Memory m(4, keys);
  std::vector<std::vector<float>> bias(4, std::vector<float>(keys));
  const float* bias_rows[4] = {};
  const float sinks[4] = {1, -2, 0.5F, 3};
  std::mt19937 random(11);
  for (size_t r = 0; r < 3; ++r) {  // the last row has none
    for (float& x : bias[r]) x = static_cast<float>(random() % 100) / 50 - 1;
    bias_rows[r] = bias[r].data();
  }
  m.arguments.bias = bias_rows;
  m.arguments.sink_logit = sinks;
  ListUnion united;
  united.attend(table(), m.arguments, m.segment, views(lists));
  EXPECT_TRUE(united.united());
  expect_reference(m, lists);
}

TEST_P(ListUnionTest, KeysOfOneRowTouchNoOther) {
  const int64_t keys = 2000;
  const auto lists = draw_lists({1, 1, 1, 1}, keys, 300, {});
  Memory m(4, keys);
  const auto alone = [&](int32_t id) {
    return std::ranges::all_of(lists.begin() + 1, lists.end(), [&](const OwnList& list) {
      return !std::ranges::binary_search(list.ids, id);
    });
  };
  const int32_t own = *std::ranges::find_if(lists[0].ids, alone);
  ListUnion united;
  united.attend(table(), m.arguments, m.segment, views(lists));
  for (const float bad : {kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN()}) {
    Memory other(4, keys);
    other.key[static_cast<size_t>(own * head_dim)] = bad;
    united.attend(table(), other.arguments, other.segment, views(lists));
    // Not bit by bit: where row 0 becomes NaN itself, the rows go list by list.
    for (size_t at = value_dim; at < m.out.size(); ++at) EXPECT_NEAR(other.out[at], m.out[at], 1e-5) << bad;
    // A value is multiplied by 0, which cannot hide it.
    Memory third(4, keys);
    third.value[static_cast<size_t>(own * value_dim)] = bad;
    united.attend(table(), third.arguments, third.segment, views(lists));
    EXPECT_FALSE(united.united()) << bad;
    for (int64_t at = 0; at < 4 * value_dim; ++at) {
      EXPECT_EQ(std::isfinite(third.out[static_cast<size_t>(at)]), at != 0) << bad;
      if (at != 0) {
        EXPECT_NEAR(third.out[static_cast<size_t>(at)], m.out[static_cast<size_t>(at)], 1e-5);
      }
    }
  }
}

TEST_P(ListUnionTest, GoesListByListWhereLittleIsShared) {
  const auto unites = [&](const std::vector<OwnList>& lists) {
    int64_t rows = 0;
    for (const OwnList& list : lists) rows += list.rows;
    Memory m(rows, 12000);
    ListUnion united;
    united.attend(table(), m.arguments, m.segment, views(lists));
    expect_reference(m, lists);
    return united.united();
  };
  EXPECT_FALSE(unites(draw_lists({1, 1, 1, 1}, 12000, 700, {.common = 0})));
  EXPECT_TRUE(unites(draw_lists({1, 1, 1, 1}, 12000, 700, {.common = 0.7})));
  EXPECT_FALSE(unites(draw_lists({4}, 12000, 700, {.sampled = true})));
  // One long list beside short ones: whatever they share, the short rows would pay for it.
  auto uneven = draw_lists({1, 1, 2, 1}, 12000, 100, {.common = 1, .sampled = true});
  uneven[0].runs = {{0, 12000}};
  uneven[0].ids = uneven[0].sampled = {};
  EXPECT_FALSE(unites(uneven));
  // More lists than there are member bits.
  EXPECT_FALSE(unites(draw_lists(std::vector<int64_t>(33, 1), 12000, 100, {})));
  EXPECT_FALSE(unites(draw_lists(std::vector<int64_t>(17, 1), 12000, 100, {.sampled = true})));
}

TEST_P(ListUnionTest, RowsWithoutKeysSeeNothing) {
  auto lists = draw_lists({1, 1, 1, 1}, 2000, 300, {.common = 1});
  lists[2] = {};
  Memory m(4, 2000);
  ListUnion united;
  united.attend(table(), m.arguments, m.segment, views(lists));
  EXPECT_TRUE(united.united());
  EXPECT_EQ(m.lse[2], -kInfinity);
  for (int64_t c = 0; c < value_dim; ++c) EXPECT_EQ(m.out[2 * value_dim + c], 0);
}

INSTANTIATE_TEST_SUITE_P(Targets, ListUnionTest, testing::ValuesIn(all_tables()),
                         [](const auto& target) { return std::string(target.param->target); });

}  // namespace
}  // namespace attnlab::kernels
