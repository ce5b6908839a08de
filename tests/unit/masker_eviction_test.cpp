// h2o, snap_kv and twilight against obvious double-precision versions; retained sets against their
// definition.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "tests/support/catalog.hpp"
#include "tests/support/naive_pipeline.hpp"
#include "tests/support/small_problem.hpp"

namespace attnlab::test {
namespace {

const attention::AttentionOptions options{
    .causal = true, .scale = 0.4f, .on_empty_row = config::EmptyRow::zeros, .seed = 7};
const Shape shape{.query_heads = 4, .kv_heads = 2, .queries = 40, .keys = 60, .head_dim = 8, .value_dim = 4};
constexpr int64_t prompt_queries = 25, offset = 20;  // keys - queries

/// Probabilities [Hq, Sq, Sk] of a pipeline's rows after the prompt.
std::vector<float> decode(const std::string& stages, const SmallProblem& problem) {
  const auto pipelines = bind(document_with(R"({"main": )" + stages + "}"));
  return run_pipelines(pipelines, problem, options, {.one_by_one = true, .prompt_queries = prompt_queries})[0]
      .probability;
}

std::set<int64_t> keys_of(const std::vector<float>& probability, int64_t head, int64_t query) {
  std::set<int64_t> keys;
  for (int64_t j = 0; j < shape.keys; ++j) {
    if (probability[static_cast<size_t>((head * shape.queries + query) * shape.keys + j)] == 1)
      keys.insert(j);
  }
  return keys;
}

/// Softmax weights of a row over `keys`.
std::vector<double> weights(const SmallProblem& problem, int64_t head, int64_t query,
                            const std::set<int64_t>& keys) {
  const NaiveRow row = naive_row(io::Json::array(), problem, options, 0, head, query);
  std::vector<double> weight(static_cast<size_t>(shape.keys));
  double total = 0;
  for (int64_t j : keys)
    total += weight[static_cast<size_t>(j)] = std::exp(row.logits[static_cast<size_t>(j)]);
  for (double& w : weight) w /= total;
  return weight;
}

std::set<int64_t> all_keys(int64_t end) {
  std::set<int64_t> keys;
  for (int64_t j = 0; j < end; ++j) keys.insert(j);
  return keys;
}

TEST(MaskerH2O, KeepsRecentKeysAndThoseThatReceivedMost) {
  const SmallProblem problem = make_problem(shape, 3);
  const auto probability = decode(R"([{"masker": "h2o", "budget": 7, "recent": 5}])", problem);
  for (int64_t kv_head = 0; kv_head < shape.kv_heads; ++kv_head) {
    std::vector<double> mass(static_cast<size_t>(shape.keys));
    std::set<int64_t> cache;
    const auto end_step = [&](int64_t keys, const std::vector<std::pair<int64_t, std::set<int64_t>>>& rows) {
      for (const auto& [query, active] : rows) {
        for (int64_t g = 0; g < 2; ++g) {
          const auto weight = weights(problem, kv_head * 2 + g, query, active);
          for (size_t j = 0; j < mass.size(); ++j) mass[j] += weight[j];
        }
      }
      std::vector<int64_t> older;
      for (int64_t j : cache) {
        if (j < keys - 5) older.push_back(j);
      }
      std::stable_sort(older.begin(), older.end(), [&](int64_t a, int64_t b) {
        return mass[static_cast<size_t>(a)] > mass[static_cast<size_t>(b)];
      });
      for (size_t i = 7; i < older.size(); ++i) cache.erase(older[i]);
    };
    cache = all_keys(offset + prompt_queries);
    std::vector<std::pair<int64_t, std::set<int64_t>>> prompt;
    for (int64_t q = 0; q < prompt_queries; ++q) prompt.emplace_back(q, all_keys(offset + q + 1));
    end_step(offset + prompt_queries, prompt);
    for (int64_t q = prompt_queries; q < shape.queries; ++q) {
      cache.insert(offset + q);
      for (int64_t g = 0; g < 2; ++g)
        ASSERT_EQ(keys_of(probability, kv_head * 2 + g, q), cache) << "query " << q;
      end_step(offset + q + 1, {{q, cache}});
    }
    EXPECT_EQ(cache.size(), 12u);
  }
}

TEST(MaskerSnapKV, KeepsWhatTheLastQueriesAttendTo) {
  const SmallProblem problem = make_problem(shape, 4);
  for (const bool mean : {false, true}) {
    const auto probability = decode(
        std::string(R"([{"masker": "snap_kv", "budget": 6, "window": 5, "kernel_size": 3, "pooling": )") +
            (mean ? R"("mean"}])" : R"("max"}])"),
        problem);
    constexpr int64_t prompt = offset + prompt_queries, older = prompt - 5;
    for (int64_t kv_head = 0; kv_head < shape.kv_heads; ++kv_head) {
      std::vector<double> observed(older);
      for (int64_t q = prompt_queries - 5; q < prompt_queries; ++q) {
        for (int64_t g = 0; g < 2; ++g) {
          const auto weight = weights(problem, kv_head * 2 + g, q, all_keys(offset + q + 1));
          for (size_t j = 0; j < observed.size(); ++j) observed[j] += weight[j];
        }
      }
      std::vector<std::pair<double, int64_t>> ranking;
      for (int64_t j = 0; j < older; ++j) {
        double best = 0, sum = 0;
        for (int64_t i = std::max<int64_t>(0, j - 1); i < std::min(older, j + 2); ++i) {
          best = std::max(best, observed[static_cast<size_t>(i)]);
          sum += observed[static_cast<size_t>(i)];
        }
        ranking.emplace_back(mean ? -sum : -best, j);
      }
      std::sort(ranking.begin(), ranking.end());
      std::set<int64_t> kept;
      for (size_t i = 0; i < 6; ++i) kept.insert(ranking[i].second);
      for (int64_t j = older; j < prompt; ++j) kept.insert(j);
      for (int64_t q = prompt_queries; q < shape.queries; ++q) {
        kept.insert(offset + q);
        for (int64_t g = 0; g < 2; ++g)
          ASSERT_EQ(keys_of(probability, kv_head * 2 + g, q), kept) << "query " << q;
      }
    }
  }
}

TEST(MaskerSnapKV, RefusesAPromptWithoutQueries) {
  const auto pipelines = bind(document_with(R"({"main": [{"masker": "snap_kv"}]})"));
  const SmallProblem problem = make_problem(shape, 4);
  try {
    run_pipelines(pipelines, problem, options, {.one_by_one = true});
    FAIL();
  } catch (const base::UserError& error) {
    EXPECT_NE(std::string(error.what()).find("/pipelines/main/0/window"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("--queries"), std::string::npos) << error.what();
  }
}

TEST(MaskerTwilight, PrunesToTheFewestKeysOfAShare) {
  const SmallProblem problem = make_problem(shape, 5);
  const auto pipelines = bind(document_with(R"({
    "prior": [{"masker": "sink", "sink_size": 4}, {"masker": "strided", "stride": 2}],
    "pruned": [{"masker": "sink", "sink_size": 4}, {"masker": "strided", "stride": 2}, {"masker": "twilight", "top_p": 0.7}],
    "top_p": [{"masker": "oracle_top_p", "top_p": 0.7}],
    "dense_pruned": [{"masker": "causal"}, {"masker": "twilight", "top_p": 0.7}]})"));
  const auto planes = run_pipelines(pipelines, problem, options);
  EXPECT_EQ(planes[3].probability, planes[2].probability) << "of all keys it is top-p";
  for (int64_t head = 0; head < shape.query_heads; ++head) {
    for (int64_t q = 0; q < shape.queries; ++q) {
      const auto prior = keys_of(planes[0].probability, head, q);
      const auto weight = weights(problem, head, q, prior);
      std::vector<std::pair<double, int64_t>> ranking;
      for (int64_t j : prior) ranking.emplace_back(-weight[static_cast<size_t>(j)], j);
      std::sort(ranking.begin(), ranking.end());
      std::set<int64_t> expected;
      double held = 0;
      for (const auto& [negative, j] : ranking) {
        if (held >= 0.7) break;
        held -= negative;
        expected.insert(j);
      }
      ASSERT_EQ(keys_of(planes[1].probability, head, q), expected) << head << " " << q;
    }
  }
}

TEST(RetainedSet, LaterStagesChooseInsideIt) {
  const SmallProblem problem = make_problem(shape, 6);
  const std::string cache = R"({"masker": "h2o", "budget": 8, "recent": 4})";
  const auto retained = decode("[" + cache + "]", problem);
  const auto top_k = decode("[" + cache + R"(, {"masker": "oracle_top_k", "heavy_size": 5}])", problem);
  const auto sinks = decode("[" + cache + R"(, {"masker": "sink", "sink_size": 30}])", problem);
  bool sinks_were_evicted = false;
  for (int64_t head = 0; head < shape.query_heads; ++head) {
    // The first decoded row: afterwards the caches differ, since what is attended to differs.
    const auto cached = keys_of(retained, head, prompt_queries);
    const auto chosen = keys_of(top_k, head, prompt_queries);
    EXPECT_EQ(chosen.size(), 5u);
    EXPECT_TRUE(std::includes(cached.begin(), cached.end(), chosen.begin(), chosen.end()));
    std::set<int64_t> expected;
    for (int64_t j : cached) {
      if (j < 30) expected.insert(j);
    }
    EXPECT_EQ(keys_of(sinks, head, prompt_queries), expected);
    sinks_were_evicted = sinks_were_evicted || expected.size() < 30;
    const auto weight = weights(problem, head, prompt_queries, cached);
    for (int64_t j : chosen) {
      const auto heavier = std::count_if(cached.begin(), cached.end(), [&](int64_t other) {
        return weight[static_cast<size_t>(other)] > weight[static_cast<size_t>(j)];
      });
      EXPECT_LT(heavier, 5);
    }
  }
  EXPECT_TRUE(sinks_were_evicted);
}

TEST(RetainedSet, HoldsWhatEarlierStagesSelected) {
  const SmallProblem problem = make_problem(shape, 8);
  const auto probability =
      decode(R"([{"masker": "sink", "sink_size": 3}, {"masker": "h2o", "budget": 2, "recent": 2}])", problem);
  for (int64_t head = 0; head < shape.query_heads; ++head) {
    for (int64_t q = prompt_queries; q < shape.queries; ++q) {
      const auto keys = keys_of(probability, head, q);
      EXPECT_TRUE(keys.contains(0) && keys.contains(1) && keys.contains(2));
      EXPECT_LE(keys.size(), 3u + 2u + 3u);  // the key of the step itself comes before the next eviction
    }
  }
}

TEST(RetainedSet, ASecondEvictionStaysInsideTheFirst) {
  const SmallProblem problem = make_problem(shape, 9);
  const auto first = decode(R"([{"masker": "snap_kv", "budget": 10, "window": 4}])", problem);
  const auto both = decode(R"([{"masker": "snap_kv", "budget": 10, "window": 4},
                               {"masker": "h2o", "budget": 6, "recent": 3}])",
                           problem);
  for (int64_t head = 0; head < shape.query_heads; ++head) {
    for (int64_t q = prompt_queries; q < shape.queries; ++q) {
      const auto outer = keys_of(first, head, q), inner = keys_of(both, head, q);
      EXPECT_TRUE(std::includes(outer.begin(), outer.end(), inner.begin(), inner.end()));
      EXPECT_LT(inner.size(), outer.size());
    }
  }
}

}  // namespace
}  // namespace attnlab::test
