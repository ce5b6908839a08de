// Key-side state: whatever the chunks, truncations and forks, it is what a fresh state would hold.
#include "core/attention/columns.hpp"

#include <gtest/gtest.h>

#include <random>

#include "tests/unit/attention_test_support.hpp"

namespace attnlab::attention {
namespace {

constexpr int64_t head_dim = 3;

/// Columns per token, per page of two sizes and per sequence.
struct Recorder : attnlab::Scorer {
  static void describe(attnlab::Description<Recorder>& d) {
    d.id("recorder").summary("Sums keys by token, page and sequence.").selector("top_k");
  }
  void columns(attnlab::Columns& c, const attnlab::Geometry& g) const {
    c.per_token<float>("first", 2);
    c.per_page<double>("sum", 4, g.head_dim);
    c.per_page<int32_t>("last", 6, 1);
    c.per_sequence<float>("centre", g.head_dim);
  }
  void encode(const attnlab::KeyBlock& keys, attnlab::ColumnsView& c) const {
    auto first = c.column<float>("first");
    for (int64_t j = keys.begin(); j < keys.end(); ++j) {
      first[j][0] = keys.key(j)[0];
      first[j][1] = keys.value(j)[0];
    }
    // Only keys of the block are read: `begin` lies on a boundary of every page size.
    auto sum = c.column<double>("sum");
    for (int64_t j = keys.begin(); j < keys.end(); ++j) {
      auto page = sum[j / 4];
      if (j == keys.begin() || j % 4 == 0) std::fill(page.begin(), page.end(), 0.0);
      for (size_t d = 0; d < head_dim; ++d) page[d] += keys.key(j)[d];
    }
    auto last = c.column<int32_t>("last");
    for (int64_t j = keys.begin(); j < keys.end(); ++j) last[j / 6][0] = static_cast<int32_t>(j);
  }
  void end_prompt(const attnlab::Prompt& prompt, attnlab::ColumnsView& c) const {
    auto centre = c.column<float>("centre")[0];
    for (int64_t j = 0; j < prompt.keys().end(); ++j) {
      for (size_t d = 0; d < head_dim; ++d) centre[d] += prompt.keys().key(j)[d];
    }
  }
  void score(const attnlab::Tile&, attnlab::Scores&) const {}
};

/// Writes as if its records were zero, which is what the host gives to a fresh state.
struct Accumulator : attnlab::Scorer {
  static void describe(attnlab::Description<Accumulator>& d) {
    d.id("accumulator").summary("Adds keys up in place.").selector("top_k");
  }
  void columns(attnlab::Columns& c, const attnlab::Geometry&) const { c.per_page<double>("sum", 4, 1); }
  void encode(const attnlab::KeyBlock& keys, attnlab::ColumnsView& c) const {
    auto sum = c.column<double>("sum");
    for (int64_t j = keys.begin(); j < keys.end(); ++j) sum[j / 4][0] += keys.key(j)[0];
  }
  void score(const attnlab::Tile&, attnlab::Scores&) const {}
};

/// Opaque state: all keys so far behind a random salt.
struct Opaque : attnlab::Masker {
  struct State {
    State(const Opaque&, const attnlab::Geometry& g, attnlab::Philox random)
        : salt(random.next_u64()), kv_heads(g.kv_heads) {
      ++live;
    }
    State(const State& other) : salt(other.salt), kv_heads(other.kv_heads), keys(other.keys) { ++live; }
    State& operator=(const State&) = delete;
    ~State() { --live; }
    void append(const Opaque&, const attnlab::KeyBlock& block, const attnlab::ColumnsView&) {
      if (block.begin() != static_cast<int64_t>(keys.size())) throw std::runtime_error("a gap");
      for (int64_t j = block.begin(); j < block.end(); ++j) keys.push_back(block.key(j)[0]);
    }
    void truncate(int64_t count) { keys.resize(static_cast<size_t>(count)); }
    uint64_t bytes() const { return keys.size() * sizeof(float); }

    static inline int live = 0;
    uint64_t salt;
    int64_t kv_heads;
    std::vector<float> keys;
  };
  static void describe(attnlab::Description<Opaque>& d) { d.id("opaque").summary("Keeps all keys."); }
  void select(const attnlab::Tile&, attnlab::RowWriter&) const {}
};

/// Four page sizes whose least common multiple needs 80 bits.
struct Coprime : attnlab::Scorer {
  static void describe(attnlab::Description<Coprime>& d) {
    d.id("coprime").summary("Pages without a common boundary.").selector("top_k");
  }
  void columns(attnlab::Columns& c, const attnlab::Geometry&) const {
    for (int64_t page : {1048576, 1048575, 1048573, 1048571})
      c.per_page<float>(std::to_string(page), page, 1);
  }
  void encode(const attnlab::KeyBlock&, attnlab::ColumnsView&) const {}
  void score(const attnlab::Tile&, attnlab::Scores&) const {}
};

ATTNLAB_STATIC_PLUGIN(methods, Recorder, Accumulator, Opaque, Coprime);

class AttentionKeyState : public ::testing::Test {
 protected:
  KeyState fresh(const plugin::Masker& masker, uint64_t rng_key = 7) {
    attnlab_geometry g{sizeof(attnlab_geometry), 0, 1, 2, 1, 2, head_dim, 2};
    return KeyState(masker, g, rng_key);
  }
  attnlab_key_block block() {
    attnlab_key_block b{};
    b.struct_size = sizeof b;
    b.head_dim = head_dim;
    b.value_dim = 2;
    b.key = problem_.layer.key.row(0, 0, 0);
    b.key_stride = problem_.layer.key.token_stride;
    b.value = problem_.layer.value.row(0, 0, 0);
    b.value_stride = problem_.layer.value.token_stride;
    return b;
  }
  KeyState grown(const plugin::Masker& masker, int64_t keys) {
    KeyState state = fresh(masker);
    state.append(block(), keys);
    return state;
  }
  attnlab_prompt prompt(int64_t keys) {
    attnlab_prompt p{};
    p.struct_size = sizeof p;
    p.keys = block();
    p.keys.end = keys;
    return p;
  }

  plugin::Catalog catalog_ = plugin::catalog_of(methods);
  plugin::Masker recorder_ = plugin::instance_of(catalog_, "recorder");
  plugin::Masker opaque_ = plugin::instance_of(catalog_, "opaque");
  SmallProblem problem_ = random_problem({1, 2, 1, 4, 9001, head_dim, 2}, 3);
};

template <class T>
void append_column(const KeyState& state, const char* name, std::vector<double>& out) {
  const auto column = attnlab::detail::find_column<const T>(&state.columns(), name);
  out.push_back(static_cast<double>(column.size()));
  for (int64_t r = 0; r < column.size(); ++r) {
    for (T value : column[r]) out.push_back(static_cast<double>(value));
  }
}

/// All that Recorder's columns hold.
std::vector<double> content(const KeyState& state) {
  std::vector<double> all;
  append_column<float>(state, "first", all);
  append_column<double>(state, "sum", all);
  append_column<int32_t>(state, "last", all);
  append_column<float>(state, "centre", all);
  return all;
}

TEST_F(AttentionKeyState, HoldsOneRecordForEachTokenPageAndSequence) {
  const KeyState state = grown(recorder_, 10);
  EXPECT_EQ(state.key_count(), 10);
  const auto& columns = state.columns();
  ASSERT_EQ(columns.count, 4u);
  EXPECT_EQ(columns.columns[0].record_count, 10);
  EXPECT_EQ(columns.columns[1].record_count, 3);
  EXPECT_EQ(columns.columns[2].record_count, 2);
  EXPECT_EQ(columns.columns[3].record_count, 1);
  EXPECT_EQ(state.bytes().total(), 10 * 8u + 3 * 3 * 8u + 2 * 4u + 3 * 4u);
  const auto last = attnlab::detail::find_column<const int32_t>(&columns, "last");
  EXPECT_EQ(last[0][0], 5);
  EXPECT_EQ(last[1][0], 9);
  EXPECT_EQ(content(fresh(recorder_)), (std::vector<double>{0, 0, 0, 1, 0, 0, 0}));
}

TEST_F(AttentionKeyState, ChunksDoNotMatter) {
  for (unsigned seed = 0; seed < 30; ++seed) {
    std::mt19937 random(seed);
    KeyState state = fresh(recorder_);
    for (int64_t end = 0; end < 60;) {
      end = std::min<int64_t>(60, end + random() % 17);  // empty chunks too
      state.append(block(), end);
      ASSERT_EQ(content(state), content(grown(recorder_, end))) << seed << " at " << end;
    }
  }
}

TEST_F(AttentionKeyState, LongBlocksThatAreSplitOverThreadsGiveTheSame) {
  KeyState state = fresh(recorder_);
  for (int64_t end = 500; end <= 9000; end += 500) state.append(block(), end);
  state.append(block(), 9001);
  EXPECT_EQ(content(state), content(grown(recorder_, 9001)));
}

TEST_F(AttentionKeyState, TruncatedAndForkedStatesEqualFreshOnes) {
  for (unsigned seed = 0; seed < 30; ++seed) {
    std::mt19937 random(seed);
    KeyState state = fresh(recorder_);
    for (int step = 0; step < 12; ++step) {
      const int64_t target = random() % 50;
      if (target > state.key_count()) {
        state.append(block(), target);
      } else {
        state.truncate(block(), target);
      }
      ASSERT_EQ(state.key_count(), target);
      ASSERT_EQ(content(state), content(grown(recorder_, target))) << seed << " at step " << step;
      KeyState copy = state.fork();
      ASSERT_EQ(content(copy), content(state));
      const auto before = content(state);
      copy.append(block(), target + 3);
      ASSERT_EQ(content(state), before) << "a fork is independent";
      if (random() % 2 == 0) {
        copy.truncate(block(), target);
        state = std::move(copy);
      }
    }
  }
}

TEST_F(AttentionKeyState, RecordsStartAtZeroWhateverTheChunks) {
  const plugin::Masker masker = plugin::instance_of(catalog_, "accumulator");
  const auto sums = [](const KeyState& state) {
    std::vector<double> all;
    append_column<double>(state, "sum", all);
    return all;
  };
  KeyState state = fresh(masker);
  state.append(block(), 6);
  state.append(block(), 7);
  EXPECT_EQ(sums(state), sums(grown(masker, 7))) << "a page that grows is encoded again from zeros";
  state.truncate(block(), 5);
  EXPECT_EQ(sums(state), sums(grown(masker, 5)));
}

TEST_F(AttentionKeyState, TheEndOfThePromptFillsSequenceRecordsThatStay) {
  KeyState state = grown(recorder_, 10);
  state.end_prompt(prompt(10));
  const auto centre = [](const KeyState& s) {
    const auto record = attnlab::detail::find_column<const float>(&s.columns(), "centre")[0];
    return std::vector<float>(record.begin(), record.end());
  };
  std::vector<float> expected(head_dim);
  for (int64_t j = 0; j < 10; ++j) {
    for (size_t d = 0; d < head_dim; ++d) expected[d] += problem_.layer.key.row(0, 0, j)[d];
  }
  EXPECT_EQ(centre(state), expected);
  state.append(block(), 20);
  EXPECT_EQ(centre(state), expected);
  EXPECT_EQ(centre(state.fork()), expected);
}

const Opaque::State& opaque_of(const KeyState& state) {
  return *static_cast<const Opaque::State*>(state.opaque());
}

TEST_F(AttentionKeyState, OpaqueStateIsAppendedTruncatedAndForked) {
  const int live = Opaque::State::live;
  {
    KeyState state = fresh(opaque_);
    EXPECT_EQ(opaque_of(state).kv_heads, 1);
    EXPECT_EQ(opaque_of(state).salt, attnlab::Philox(7, 0).next_u64()) << "seeded with the state's key";
    EXPECT_NE(opaque_of(fresh(opaque_, 8)).salt, opaque_of(state).salt);
    for (int64_t end : {3, 3, 10, 11}) state.append(block(), end);
    EXPECT_EQ(opaque_of(state).keys, opaque_of(grown(opaque_, 11)).keys);
    EXPECT_EQ(state.bytes().total(), 11 * sizeof(float));
    KeyState copy = state.fork();
    copy.truncate(block(), 5);
    EXPECT_EQ(opaque_of(copy).keys, opaque_of(grown(opaque_, 5)).keys);
    EXPECT_EQ(opaque_of(copy).salt, opaque_of(state).salt);
    EXPECT_EQ(opaque_of(state).keys.size(), 11u);
    copy.append(block(), 20);
    EXPECT_EQ(opaque_of(copy).keys, opaque_of(grown(opaque_, 20)).keys);
    state = std::move(copy);
    EXPECT_EQ(opaque_of(state).keys.size(), 20u);
  }
  EXPECT_EQ(Opaque::State::live, live) << "every state is destroyed by the side that made it";
}

/// The common page boundary would overflow 64 bits: such columns must be refused, not divided by a wrapped
/// number.
TEST_F(AttentionKeyState, PageSizesWithoutAUsefulCommonMultipleAreRefused) {
  const plugin::Masker masker = plugin::instance_of(catalog_, "coprime");
  EXPECT_THROW(fresh(masker), base::UserError);
}

}  // namespace
}  // namespace attnlab::attention
