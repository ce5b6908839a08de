// Set algebra on row lists against one flag per key, on many random inputs; selections that share lists.
#include "core/attention/row_list.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "core/attention/selection.hpp"

namespace attnlab::attention {
namespace {

constexpr int32_t key_limit = 200;
constexpr int repeats = 3000;

/// The naive model of a list: what each key is.
struct Flags {
  std::vector<int> deterministic = std::vector<int>(key_limit);
  std::vector<float> log_weight = std::vector<float>(key_limit);  // > 0: sampled

  bool operator==(const Flags&) const = default;
};

std::vector<int> flags_of(std::span<const Range> runs) {
  std::vector<int> flags(key_limit);
  for (const Range& run : runs) {
    for (int32_t key = run.begin; key < run.end; ++key) flags[static_cast<size_t>(key)] = 1;
  }
  return flags;
}

Flags flags_of(const RowList& list) {
  Flags flags;
  flags.deterministic = flags_of(list.runs);
  for (int32_t id : list.ids) flags.deterministic[static_cast<size_t>(id)] = 1;
  for (size_t i = 0; i < list.sampled.size(); ++i)
    flags.log_weight[static_cast<size_t>(list.sampled[i])] = list.log_weight[i];
  return flags;
}

bool runs_normal(std::span<const Range> runs) {
  for (size_t i = 0; i < runs.size(); ++i) {
    if (runs[i].begin < 0 || runs[i].begin >= runs[i].end) return false;
    if (i > 0 && runs[i].begin <= runs[i - 1].end) return false;
  }
  return true;
}

/// Normal form as row_list.hpp states it.
bool is_normal(const RowList& list) {
  const auto ascending = [](const std::vector<int32_t>& ids) {
    return std::adjacent_find(ids.begin(), ids.end(), std::greater_equal<>()) == ids.end();
  };
  const std::vector<int> in_runs = flags_of(list.runs);
  const auto outside_runs = [&](int32_t id) { return in_runs[static_cast<size_t>(id)] == 0; };
  return runs_normal(list.runs) && ascending(list.ids) && ascending(list.sampled) &&
         list.sampled.size() == list.log_weight.size() &&
         std::all_of(list.ids.begin(), list.ids.end(), outside_runs) &&
         std::all_of(list.sampled.begin(), list.sampled.end(), [&](int32_t id) {
           return outside_runs(id) && !std::binary_search(list.ids.begin(), list.ids.end(), id);
         });
}

class Generator {
 public:
  explicit Generator(unsigned seed) : random_(seed) {}
  int32_t below(int32_t n) { return static_cast<int32_t>(random_() % static_cast<unsigned>(n)); }

  /// Any runs: unordered, overlapping, empty and backward ones included.
  std::vector<Range> runs() {
    std::vector<Range> runs;
    for (int32_t n = below(8); n > 0; --n) {
      const int32_t begin = below(key_limit);
      runs.push_back({begin, std::min(key_limit, begin + below(40) - 3)});
    }
    return runs;
  }
  std::vector<Range> normal_runs() {
    std::vector<Range> normal = runs();
    normalise_runs(normal);
    return normal;
  }
  /// A list in normal form.
  RowList list(bool with_sampled) {
    RowList list;
    list.runs = normal_runs();
    const std::vector<int> in_runs = flags_of(list.runs);
    const int32_t one_in = 1 + below(20);
    for (int32_t key = 0; key < key_limit; ++key) {
      if (in_runs[static_cast<size_t>(key)] != 0 || below(one_in) != 0) continue;
      if (with_sampled && below(2) == 0) {
        list.sampled.push_back(key);
        list.log_weight.push_back(0.5f + static_cast<float>(below(100)));
      } else {
        list.ids.push_back(key);
      }
    }
    return list;
  }
  /// Bits of hidden keys; null one time in three.
  HiddenBits hidden(std::vector<uint64_t>& words) {
    words.assign((key_limit + 63) / 64, 0);
    const int32_t kind = below(3);
    if (kind == 0) return nullptr;
    for (uint64_t& word : words) {
      word = kind == 1 ? uint64_t{random_()} << 32 | random_() : uint64_t{1} << (random_() % 64);
    }
    return words.data();
  }

 private:
  std::mt19937 random_;
};

bool is_visible(int32_t key, int64_t visible_end, HiddenBits hidden) {
  return key < visible_end && (hidden == nullptr || ((hidden[key / 64] >> (key % 64)) & 1) == 0);
}

TEST(AttentionRowList, NormaliseKeepsTheSet) {
  for (unsigned seed = 0; seed < repeats; ++seed) {
    Generator generate(seed);
    std::vector<Range> runs = generate.runs();
    const std::vector<int> before = flags_of(runs);
    normalise_runs(runs);
    ASSERT_TRUE(runs_normal(runs)) << seed;
    ASSERT_EQ(flags_of(runs), before) << seed;
    ASSERT_EQ(key_count(runs), std::count(before.begin(), before.end(), 1)) << seed;
  }
}

TEST(AttentionRowList, TouchingRunsBecomeOne) {
  std::vector<Range> runs = {{5, 7}, {0, 2}, {2, 5}, {9, 9}, {12, 10}};
  normalise_runs(runs);
  EXPECT_EQ(runs, (std::vector<Range>{{0, 7}}));
}

TEST(AttentionRowList, ClipCutsInvisibleKeysOut) {
  for (unsigned seed = 0; seed < repeats; ++seed) {
    Generator generate(seed);
    std::vector<Range> runs = generate.normal_runs();
    std::vector<uint64_t> words;
    const HiddenBits hidden = generate.hidden(words);
    const int64_t end = generate.below(key_limit + 1);
    std::vector<int> expected = flags_of(runs);
    for (int32_t key = 0; key < key_limit; ++key)
      expected[static_cast<size_t>(key)] &= is_visible(key, end, hidden);
    clip_runs(runs, end, hidden);
    ASSERT_TRUE(runs_normal(runs)) << seed;
    ASSERT_EQ(flags_of(runs), expected) << seed;
  }
}

TEST(AttentionRowList, UniteRunsIsTheUnion) {
  for (unsigned seed = 0; seed < repeats; ++seed) {
    Generator generate(seed);
    const std::vector<Range> a = generate.normal_runs(), b = generate.normal_runs();
    std::vector<Range> out = {{1, 2}};
    unite_runs(a, b, out);
    std::vector<int> expected = flags_of(a);
    const std::vector<int> other = flags_of(b);
    for (size_t key = 0; key < expected.size(); ++key) expected[key] |= other[key];
    ASSERT_TRUE(runs_normal(out)) << seed;
    ASSERT_EQ(flags_of(out), expected) << seed;
  }
}

TEST(AttentionRowList, UniteLetsDeterministicKeysAbsorbSampledOnes) {
  for (unsigned seed = 0; seed < repeats; ++seed) {
    Generator generate(seed);
    const int32_t sampler = generate.below(3);  // which side, if any, holds sampled keys
    const RowList a = generate.list(sampler == 1), b = generate.list(sampler == 2);
    ASSERT_TRUE(is_normal(a) && is_normal(b)) << seed;
    const Flags left = flags_of(a), right = flags_of(b);
    Flags expected;
    for (size_t key = 0; key < key_limit; ++key) {
      expected.deterministic[key] = left.deterministic[key] | right.deterministic[key];
      if (expected.deterministic[key] == 0)
        expected.log_weight[key] = std::max(left.log_weight[key], right.log_weight[key]);
    }
    RowList out = generate.list(true);
    unite(a, b, out);
    ASSERT_TRUE(is_normal(out)) << seed;
    ASSERT_EQ(flags_of(out), expected) << seed;
    ASSERT_EQ(out.size(), std::count_if(expected.deterministic.begin(), expected.deterministic.end(),
                                        [](int f) { return f != 0; }) +
                              std::count_if(expected.log_weight.begin(), expected.log_weight.end(),
                                            [](float w) { return w > 0; }));
  }
}

TEST(AttentionRowListDeathTest, TwoSampledListsHaveNoUnion) {
  RowList a, out;
  a.sampled = {1};
  a.log_weight = {1};
  EXPECT_DEATH(unite(a, a, out), "no known probabilities");
}

TEST(AttentionRowList, CandidatesAreVisibleAndNotDeterministic) {
  for (unsigned seed = 0; seed < repeats; ++seed) {
    Generator generate(seed);
    const RowList active = generate.list(true);
    std::vector<uint64_t> words;
    const HiddenBits hidden = generate.hidden(words);
    const int64_t end = generate.below(key_limit + 1);
    const Flags flags = flags_of(active);
    std::vector<int> expected(key_limit);
    for (int32_t key = 0; key < key_limit; ++key) {
      expected[static_cast<size_t>(key)] =
          is_visible(key, end, hidden) && flags.deterministic[static_cast<size_t>(key)] == 0;
    }
    std::vector<Range> out = {{3, 4}};
    const int64_t count = candidates(active, end, hidden, out);
    ASSERT_EQ(flags_of(out), expected) << seed;
    ASSERT_EQ(count, std::count(expected.begin(), expected.end(), 1)) << seed;
    // Ascending and disjoint; keys on both sides of nothing may still be two runs.
    for (size_t i = 1; i < out.size(); ++i) ASSERT_GE(out[i].begin, out[i - 1].end) << seed;
  }
}

TEST(AttentionRowList, ClearForgetsEverything) {
  RowList list = Generator(5).list(true);
  list.clear();
  EXPECT_TRUE(list.empty());
  EXPECT_EQ(list.size(), 0);
  EXPECT_TRUE(list.log_weight.empty());
}

TEST(AttentionSelection, RowsShareListsUntilTheyAreAssigned) {
  Selection selection;
  selection.reset(5);
  EXPECT_EQ(selection.rows(), 5);
  EXPECT_TRUE(selection.list(4).empty());
  EXPECT_EQ(selection.span_end(0), 5) << "rows without keys are alike";
  selection.assign(1, 2).ids = {7};
  EXPECT_EQ(selection.span_end(0), 1);
  EXPECT_EQ(selection.span_end(1), 3);
  EXPECT_EQ(selection.span_end(3), 5);
  selection.share(4, 1, 1);
  EXPECT_EQ(selection.list_id(4), selection.list_id(1));
  EXPECT_EQ(&selection.list(4), &selection.list(2));
  selection.assign(2, 1).ids = {9};
  EXPECT_EQ(selection.list(1).ids, std::vector<int32_t>{7})
      << "another row's new list leaves the old one alone";
  EXPECT_EQ(selection.list(4).ids, std::vector<int32_t>{7});
}

TEST(AttentionSelection, ResetForgetsAndReuses) {
  Selection selection;
  for (int round = 0; round < 3; ++round) {
    selection.reset(3 + round);
    for (int64_t row = 0; row < selection.rows(); ++row) {
      EXPECT_TRUE(selection.list(row).empty());
      RowList& list = selection.assign(row, 1);
      EXPECT_TRUE(list.empty()) << "a list that was used before comes back cleared";
      list.runs = {{0, 3}};
      list.sampled = {5};
      list.log_weight = {1};
    }
  }
}

}  // namespace
}  // namespace attnlab::attention
