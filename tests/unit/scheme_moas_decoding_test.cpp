// Mixture of Attention Schemes: decoding, causality, threads, and what is stored.
#include <cstring>

#include "core/base/parallel.hpp"
#include "tests/unit/scheme_moas_test_support.hpp"

namespace attnlab::test {
namespace {

using namespace moas_layer;

const Json kEveryMode[] = {
    moas("static"),
    moas("routed"),
    moas("top1"),
    moas("key_routed"),
    moas("routed", {{"drop_branch", "gqa"}}),
    moas("top1", {{"force_branch", "mha"}}),
    moas("key_routed", {{"drop_branch", "mha"}}),
    moas("routed", {{"branches", {"gqa:4", "gqa", "mqa"}}}),
    moas("key_routed", {{"branches", {"mqa", "gqa:2", "gqa:4", "mha"}}, {"bias", false}}),
};

TEST(MoasDecoding, EqualsTheForwardInChunks) {
  const Array x = random_array({2, 23, kChannels}, 3);
  TestLayer routed = layer_of(moas("routed"));
  const std::vector<size_t> choice = choices(forward(routed, x).reports.at("gates"));
  for (size_t e = 0; e < 3; ++e) ASSERT_GT(std::count(choice.begin(), choice.end(), e), 3) << "in use";
  for (const Element precision : {Element::f64, Element::f32}) {
    for (const Json& attention : kEveryMode) {
      TestLayer layer = layer_of(attention, precision);
      const Doubles whole = forward(layer, x).y;
      for (const std::vector<int64_t>& chunks :
           {std::vector<int64_t>{1}, std::vector<int64_t>{7}, std::vector<int64_t>{9, 1, 1, 4}}) {
        model::LayerState state;
        const double error = largest_difference(decode(layer, x, chunks, state), whole);
        EXPECT_LT(error, precision == Element::f64 ? 1e-10 : 1e-4) << attention << " by " << chunks[0];
        EXPECT_EQ(state.length(), 23);
      }
    }
  }
}

TEST(MoasDecoding, GoesOnFromACutOrForkedState) {
  const Array one = random_array({2, 20, kChannels}, 4), other = random_array({2, 20, kChannels}, 5);
  for (const Json& attention : kEveryMode) {
    TestLayer layer = layer_of(attention);
    model::LayerState state;
    decode(layer, one, {6}, state);
    ASSERT_TRUE(state.truncate(9));
    decode(layer, other.sliced(1, 0, 8).packed(), {3}, state);  // 17 positions, of which 8 will go again
    ASSERT_TRUE(state.truncate(9));
    model::LayerState fork = state.fork();
    decode(layer, one.sliced(1, 0, 4).packed(), {2}, fork);
    const Array rest = other.sliced(1, 9, 20).packed();
    const Doubles found = decode(layer, rest, {5, 1}, state);

    Array spliced(Element::f64, one.shape());
    Array head = spliced.sliced(1, 0, 9), tail = spliced.sliced(1, 9, 20);
    graph::copy_elements(one.sliced(1, 0, 9), head);
    graph::copy_elements(rest, tail);
    const Doubles whole = forward(layer, spliced).y;
    for (size_t b = 0; b < 2; ++b) {
      const auto row = [&](const Doubles& all, size_t tokens, size_t t) {
        return all.begin() + static_cast<ptrdiff_t>((b * tokens + t) * kChannels);
      };
      const Doubles end(row(whole, 20, 9), row(whole, 20, 20));
      EXPECT_LT(largest_difference(Doubles(row(found, 11, 0), row(found, 11, 11)), end), 1e-10) << attention;
    }
  }
}

TEST(Moas, TheFutureLeavesThePastBitEqual) {
  // More tokens than the least number of queries of a chosen branch, and fewer.
  for (const int64_t tokens : {int64_t{90}, int64_t{40}, int64_t{9}}) {
    const int64_t past = tokens / 2;
    for (const Element precision : {Element::f32, Element::f64}) {
      for (const Json& attention : kEveryMode) {
        for (const bool training : {false, true}) {
          TestLayer layer = layer_of(attention, precision);
          const Array x = random_array({1, tokens, kChannels}, 6);
          const Doubles before = forward(layer, x, training).y;
          for (uint64_t key = 50; key < 54; ++key) {
            Array changed(Element::f64, x.shape());
            graph::copy_elements(x, changed);
            Array future = changed.sliced(1, past, tokens);
            graph::copy_elements(random_array({1, tokens - past, kChannels}, key, 3), future);
            const Doubles after = forward(layer, changed, training).y;
            const auto count = static_cast<size_t>(past * kChannels);
            ASSERT_EQ(std::memcmp(before.data(), after.data(), count * sizeof(double)), 0)
                << attention << " tokens " << tokens;
            EXPECT_NE(before.back(), after.back());
          }
        }
      }
    }
  }
}

/// Kernels may choose their way, and so their rounding, by the number of rows: few against many later tokens
/// that choose the branch of an earlier one. Streamed and packed rows differ beyond 4096 keys.
TEST(MoasTop1, TheNumberOfLaterQueriesLeavesThePastBitEqual) {
  const int64_t tokens = 4140, past = 4110;
  TestLayer layer = layer_of(moas("top1"), Element::f32);
  // Channel 0 alone decides: mha where it is positive, else mqa.
  for (const char* name : {"router.0.weight", "router.0.bias", "router.2.weight", "router.2.bias"}) {
    Array& values = tensor_of(layer, name).value;
    std::fill_n(values.mutable_data<float>(), values.size(), 0.0F);
  }
  tensor_of(layer, "router.0.weight").value.mutable_data<float>()[0] = 5;
  tensor_of(layer, "router.2.weight").value.mutable_data<float>()[0] = 10;
  tensor_of(layer, "router.2.bias").value.mutable_data<float>()[0] = -5;
  tensor_of(layer, "router.2.bias").value.mutable_data<float>()[1] = -50;
  Array x = random_array({1, tokens, kChannels}, 8);
  auto choose = [&](int64_t token, bool mha) { x.mutable_data<double>()[token * kChannels] = mha ? 2 : -2; };
  for (int64_t t = 0; t < past; ++t) choose(t, t == 4100 || t == 4105);

  std::vector<Doubles> pasts;
  for (const bool mha : {false, true}) {
    for (int64_t t = past; t < tokens; ++t) choose(t, mha);
    Outcome outcome = forward(layer, x);
    EXPECT_NEAR(outcome.reports.at("chosen_mha")[0], (mha ? 32.0 : 2.0) / static_cast<double>(tokens), 1e-6);
    outcome.y.resize(static_cast<size_t>(past * kChannels));
    pasts.push_back(std::move(outcome.y));
  }
  EXPECT_EQ(largest_difference(pasts[0], pasts[1]), 0);
}

TEST(Moas, TheBitsDoNotDependOnTheThreads) {
  const Array x = random_array({3, 70, kChannels}, 7);
  for (const Json& attention : kEveryMode) {
    TestLayer layer = layer_of(attention, Element::f32);
    const Doubles all = forward(layer, x).y;
    const base::ThreadLimit one(1);
    EXPECT_EQ(forward(layer, x).y, all) << attention;
  }
}

TEST(MoasStorage, CountsWhatEachModeKeeps) {
  const int64_t batch = 2, tokens = 23;
  const Array x = random_array({batch, tokens, kChannels}, 3);
  struct {
    Json attention;
    int64_t kv_heads;  ///< kept of a token
  } const dense[] = {
      {moas("static"), 4 + 2 + 1},
      {moas("routed"), 4 + 2 + 1},
      {moas("top1"), 4 + 2 + 1},
      {moas("routed", {{"branches", {"mha", "gqa:4", "gqa:1"}}}), 4 + 4 + 1},
      {moas("top1", {{"drop_branch", "mha"}}), 2 + 1},
      {moas("routed", {{"force_branch", "mqa"}}), 1},
  };
  for (const Element precision : {Element::f32, Element::f64}) {
    const auto size = static_cast<uint64_t>(graph::size_of(precision));
    for (const auto& c : dense) {
      TestLayer layer = layer_of(c.attention, precision);
      model::LayerState state;
      decode(layer, x, {5}, state);
      const auto elements = static_cast<uint64_t>(2 * kWidth * c.kv_heads);
      EXPECT_EQ(state.bytes(), size * elements * static_cast<uint64_t>(batch * tokens)) << c.attention;
      EXPECT_EQ(forward(layer, x).reports.at("cache_elements_per_token")[0], static_cast<double>(elements));
    }
  }
}

TEST(MoasStorage, OfKeyRoutedIsThatOfTheChosenFormats) {
  const int64_t batch = 2, tokens = 23;
  const Array x = random_array({batch, tokens, kChannels}, 3);
  TestLayer layer = layer_of(moas("key_routed"));
  const Outcome outcome = forward(layer, x);
  uint64_t elements = 0;
  std::vector<int> count(3, 0);
  for (size_t branch : choices(outcome.reports.at("gates"))) {
    elements += static_cast<uint64_t>(2 * kWidth * kKvHeads[branch] + 1);  // and where it is stored
    ++count[branch];
  }
  EXPECT_TRUE(count[0] > 0 && count[1] > 0 && count[2] > 0) << "every format is in use";
  model::LayerState state;
  decode(layer, x, {5}, state);
  EXPECT_EQ(state.bytes(), sizeof(double) * elements);
  EXPECT_NEAR(outcome.reports.at("cache_elements_per_token")[0],
              static_cast<double>(elements) / static_cast<double>(batch * tokens), 1e-12);
  EXPECT_LT(state.bytes(), sizeof(double) * static_cast<uint64_t>(2 * kWidth * kHeads * batch * tokens))
      << "less than multi-head attention alone";
  EXPECT_GE(state.allocated_bytes(), state.bytes());

  // The least there is: every token as multi-query attention stores it.
  TestLayer least = layer_of(moas("key_routed", {{"force_branch", "mqa"}}));
  model::LayerState small;
  decode(least, x, {5}, small);
  EXPECT_EQ(small.bytes(), sizeof(double) * static_cast<uint64_t>((2 * kWidth + 1) * batch * tokens));
}

}  // namespace
}  // namespace attnlab::test
