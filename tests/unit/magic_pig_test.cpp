// magic_pig: the estimator against theory, the tables against tables built anew.
#include <gtest/gtest.h>

#include <fmt/core.h>
#include <atomic>
#include <cmath>
#include <numeric>
#include <random>

#include "core/data/workload.hpp"
#include "plugins/maskers/magic_pig/collision.hpp"
#include "tests/support/catalog.hpp"
#include "tests/support/small_problem.hpp"
#include "tests/unit/plugin_test_support.hpp"

namespace attnlab::test {
namespace {

using io::Json;
using magic_pig::CollisionProbability;

/// A problem that owns its tensors, from tensors [heads * rows, width] of one batch.
SmallProblem problem_of(const data::Geometry& g, const std::vector<float>& query,
                        const std::vector<float>& key) {
  SmallProblem p = make_problem({.query_heads = g.query_heads,
                                 .kv_heads = g.kv_heads,
                                 .queries = g.queries,
                                 .keys = g.keys,
                                 .head_dim = g.head_dim},
                                7);
  std::copy(query.begin(), query.end(), p.layer.storage[0].mutable_values<float>().begin());
  std::copy(key.begin(), key.end(), p.layer.storage[1].mutable_values<float>().begin());
  p.layer.query = tensor::view_bhsd(p.layer.storage[0]);
  p.layer.key = tensor::view_bhsd(p.layer.storage[1]);
  return p;
}

SmallProblem workload(const std::string& kind, const data::Geometry& g, double alpha = 1) {
  config::WorkloadSpec spec;
  spec.kind = kind;
  spec.query_heads = g.query_heads;
  spec.kv_heads = g.kv_heads;
  spec.queries = g.queries;
  spec.keys = g.keys;
  spec.head_dim = g.head_dim;
  spec.value_dim = g.value_dim;
  spec.seed = 3;
  spec.alpha = alpha;
  return {g, data::open_workload(spec)->load(0)};
}

std::vector<attention::Pipeline> pipeline_of(Json stage) {
  stage["masker"] = "magic_pig";
  return bind(document_with(Json{{"main", Json::array({stage})}}.dump()));
}

/// Inclusion probabilities [Hq * Sq, Sk] of one batch; fails on what is not a probability.
std::vector<float> attend(attention::Session& session) {
  const data::Geometry& g = session.geometry();
  std::vector<float> plane(static_cast<size_t>(g.batch * g.query_heads * g.queries * g.keys));
  attention::Engine engine({&kernels::best_table(), 1 << 22, true});
  engine.attend(session, 0, g.queries, {}, [&](const attention::TileOutcome& outcome) {
    for (int64_t row = 0; row < outcome.tile->rows(); ++row) {
      attention::RowList dense;
      const auto& list = attention::active_list(outcome, row, dense);
      const int64_t head = outcome.tile->index().batch * g.query_heads + outcome.tile->head_of(row);
      float* line = plane.data() + (head * g.queries + outcome.tile->query_of(row)) * g.keys;
      // p = 1
      for (auto run : list.runs) std::fill(line + run.begin, line + run.end, 1.0f);
      for (int32_t key : list.ids) line[key] = 1;
      for (size_t i = 0; i < list.sampled.size(); ++i) {
        EXPECT_TRUE(std::isfinite(list.log_weight[i]) && list.log_weight[i] >= 0) << list.log_weight[i];
        // Kept above 0 however improbable: 0 stands for "not drawn".
        line[list.sampled[i]] = std::max(1e-38f, std::exp(-list.log_weight[i]));
      }
      for (int64_t d = 0; d < g.value_dim; ++d) {
        EXPECT_TRUE(std::isfinite(outcome.out[row * g.value_dim + d]));
      }
    }
  });
  return plane;
}

attention::AttentionOptions options_of(const SmallProblem& p, uint64_t seed = 0) {
  attention::AttentionOptions options;
  options.scale = 1 / std::sqrt(static_cast<float>(p.geometry.head_dim));
  options.on_empty_row = config::EmptyRow::zeros;
  options.seed = seed;
  return options;
}

/// All keys are the prompt.
std::vector<float> attend(const std::vector<attention::Pipeline>& pipelines, const SmallProblem& p,
                          uint64_t seed = 0) {
  attention::Session session(pipelines, p.layer, p.geometry, options_of(p, seed));
  session.append(p.geometry.keys);
  session.end_prompt();
  return attend(session);
}

/// exp(logit) of [Hq * Sq, Sk]; 0 where not visible.
std::vector<double> masses(const SmallProblem& p) {
  const data::Geometry& g = p.geometry;
  std::vector<double> all;
  for (int64_t h = 0; h < g.query_heads; ++h) {
    for (int64_t q = 0; q < g.queries; ++q) {
      for (int64_t j = 0; j < g.keys; ++j) {
        double dot = 0;
        for (int64_t d = 0; d < g.head_dim; ++d) {
          dot += double{p.layer.query.row(0, h, q)[d]} * double{p.layer.key.row(0, h / g.group(), j)[d]};
        }
        const bool visible = j <= q + g.keys - g.queries;
        all.push_back(visible ? std::exp(dot / std::sqrt(static_cast<double>(g.head_dim))) : 0);
      }
    }
  }
  return all;
}

double share_active(const std::vector<float>& plane) {
  const auto active = std::count_if(plane.begin(), plane.end(), [](float p) { return p > 0; });
  return static_cast<double>(active) / static_cast<double>(plane.size());
}

/// Share of the softmax mass on drawn keys, mean over rows.
double mass_recall(const std::vector<float>& plane, const std::vector<double>& mass, int64_t keys) {
  double recall = 0;
  const auto width = static_cast<size_t>(keys);
  for (size_t row = 0; row < plane.size() / width; ++row) {
    double total = 0, drawn = 0;
    for (size_t i = row * width; i < (row + 1) * width; ++i) {
      total += mass[i];
      drawn += plane[i] > 0 ? mass[i] : 0;
    }
    recall += drawn / total;
  }
  return recall / static_cast<double>(plane.size() / width);
}

class MagicPigEstimate : public ::testing::TestWithParam<std::tuple<const char*, int, bool>> {};

/// Keys of one seed share their hyperplanes, so that a seed is the unit of the standard error.
TEST_P(MagicPigEstimate, OfTheDenominatorIsUnbiased) {
  const auto& [kind, min_tables, mips] = GetParam();
  const data::Geometry g{1, 2, 1, 4, 512, 16, 4};
  const SmallProblem p = workload(kind, g);
  const auto mass = masses(p);
  const auto pipelines = pipeline_of({{"lsh_l", min_tables == 1 ? 16 : 40},
                                      {"lsh_k", 4},
                                      {"min_tables", min_tables},
                                      {"mips_transform", mips},
                                      {"center_queries", mips}});
  constexpr int seeds = 200;
  double sum = 0, squares = 0;
  for (int seed = 0; seed < seeds; ++seed) {
    const auto plane = attend(pipelines, p, static_cast<uint64_t>(seed));
    double mean_ratio = 0;
    for (size_t row = 0; row < 8; ++row) {
      double exact = 0, estimate = 0;
      for (size_t i = row * 512; i < (row + 1) * 512; ++i) {
        exact += mass[i];
        if (plane[i] > 0) estimate += mass[i] / double{plane[i]};
      }
      mean_ratio += estimate / exact / 8;
    }
    sum += mean_ratio;
    squares += mean_ratio * mean_ratio;
  }
  const double mean = sum / seeds;
  const double error = std::sqrt((squares / seeds - mean * mean) / (seeds - 1));
  RecordProperty("ratio", fmt::format("{:.4f} +- {:.4f}", mean, error));
  EXPECT_LE(std::abs(mean - 1), 3 * error) << mean << " +- " << error;
  EXPECT_LT(error, 0.02) << "the test can see a bias";
}

INSTANTIATE_TEST_SUITE_P(MagicPig, MagicPigEstimate,
                         ::testing::Combine(::testing::Values("gaussian", "power_law"),
                                            ::testing::Values(1, 2), ::testing::Bool()));

class MagicPigTables : public ::testing::TestWithParam<bool> {};

TEST_P(MagicPigTables, AppendedTruncatedAndForkedAreAsBuiltAnew) {
  const Shape shape{
      .batch = 2, .query_heads = 4, .kv_heads = 2, .queries = 3, .keys = 150, .shorter_sequences = true};
  const SmallProblem p = make_problem(shape, 9);
  const auto pipelines =
      pipeline_of({{"lsh_l", 20}, {"lsh_k", 3}, {"mips_transform", GetParam()}, {"min_tables", 2}});
  const auto fresh = [&](int64_t keys) {
    attention::Session session(pipelines, p.layer, p.geometry, options_of(p));
    session.append(60);
    session.end_prompt();
    session.append(keys);
    return session;
  };
  attention::Session whole = fresh(150);
  const auto expected = attend(whole);
  EXPECT_GT(share_active(expected), 0.02);
  EXPECT_LT(share_active(expected), 0.9);

  attention::Session session(pipelines, p.layer, p.geometry, options_of(p));
  for (int64_t keys : {1, 17, 60}) session.append(keys);
  EXPECT_EQ(share_active(attend(session)), 0) << "keys wait for the end of the prompt";
  session.end_prompt();
  for (int64_t keys : {61, 61, 100, 150}) session.append(keys);
  EXPECT_EQ(attend(session), expected);
  EXPECT_EQ(session.state_bytes(0), whole.state_bytes(0));

  session.truncate(40);  // into the prompt: the centre stays
  EXPECT_EQ(session.state_bytes(0), [&] {
    attention::Session shorter = fresh(60);
    shorter.truncate(40);
    return shorter.state_bytes(0);
  }());
  attention::Session branch = session.fork();
  session.append(149);
  branch.append(150);
  EXPECT_EQ(attend(branch), expected);
  EXPECT_EQ(branch.state_bytes(0), whole.state_bytes(0));
  branch.truncate(0);
  session.append(150);
  EXPECT_EQ(attend(session), expected) << "a fork is independent";
  EXPECT_EQ(share_active(attend(branch)), 0);
}

INSTANTIATE_TEST_SUITE_P(MagicPig, MagicPigTables, ::testing::Bool());

TEST(MagicPig, DrawsOnlyVisibleKeysThatOthersDidNotTake) {
  Shape shape{.query_heads = 4, .kv_heads = 2, .queries = 40, .keys = 60, .head_dim = 3};
  shape.bias = Shape::Bias::per_head_holes;
  const SmallProblem p = make_problem(shape, 4);
  const auto pipelines = bind(document_with(R"({"main": [{"masker": "sink", "sink_size": 5},
      {"masker": "magic_pig", "lsh_l": 12, "lsh_k": 2}]})"));
  attention::Session session(pipelines, p.layer, p.geometry, options_of(p));
  session.append(60);
  session.end_prompt();
  attention::Engine engine({&kernels::best_table(), 1 << 22, true});
  std::atomic<int64_t> drawn = 0;
  engine.attend(session, 0, 40, {}, [&](const attention::TileOutcome& outcome) {
    for (int64_t row = 0; row < outcome.tile->rows(); ++row) {
      for (int32_t key : outcome.selection->list(row).sampled) {
        const uint64_t* hidden = outcome.tile->hidden(row);
        EXPECT_LT(key, outcome.tile->visible_end(row));
        EXPECT_FALSE(hidden != nullptr && ((hidden[key / 64] >> (key % 64)) & 1) != 0);
        const auto& fixed = outcome.selection->list(row);
        EXPECT_TRUE(std::none_of(fixed.runs.begin(), fixed.runs.end(),
                                 [&](auto run) { return key >= run.begin && key < run.end; }));
        ++drawn;
      }
    }
  });
  EXPECT_GT(drawn, 100);
}

/// A zero vector has the code of all ones: bits agree with probability 1/2, or surely with another zero.
TEST(MagicPig, ZeroVectorsAreDefined) {
  constexpr int64_t keys = 40, dim = 4;
  const data::Geometry g{1, 2, 1, 1, keys, dim, 4};
  std::vector<float> query(2 * dim, 0.0f), key(keys * dim, 0.0f);
  query[dim] = 1;  // head 0 is zero
  for (int64_t d = 0; d < dim; ++d) key[static_cast<size_t>(5 * dim + d)] = 1;
  const SmallProblem p = problem_of(g, query, key);
  for (bool mips : {false, true}) {
    const auto plane = attend(
        pipeline_of(
            {{"lsh_l", 64}, {"lsh_k", 2}, {"center", false}, {"mips_transform", mips}, {"min_tables", 10}}),
        p);
    const auto right_angle = static_cast<float>(std::exp(CollisionProbability(64, 2, 10).log(0)));  // 0.97
    for (size_t j = 0; j < keys; ++j) {
      const bool zero_key = j != 5;
      EXPECT_EQ(plane[j], zero_key && !mips ? 1 : plane[j] == 0 ? 0 : right_angle) << j << mips;
      if (zero_key && plane[keys + j] != 0) {
        EXPECT_EQ(plane[keys + j], right_angle) << j << mips;
      }
    }
  }
  // A prompt of one key: centred, it is zero.
  const SmallProblem one = make_problem({.queries = 1, .keys = 1}, 3);
  for (bool mips : {false, true}) {
    const auto plane = attend(
        pipeline_of({{"lsh_l", 64}, {"lsh_k", 1}, {"mips_transform", mips}, {"center_queries", mips}}), one);
    EXPECT_EQ(plane[0], 1) << "64 tables of one bit: p rounds to 1";
  }
}

TEST(MagicPig, LongCodesStayFinite) {
  SmallProblem p = make_problem({.query_heads = 2, .queries = 2, .keys = 24, .head_dim = 8}, 6);
  auto key = p.layer.storage[1].mutable_values<float>();
  // Keys 0 and 1 are the queries of head 0, so that something is drawn; key 2 is opposite.
  for (size_t d = 0; d < 8; ++d) {
    key[d] = p.layer.query.row(0, 0, 0)[d];
    key[8 + d] = 1e-20f * p.layer.query.row(0, 0, 1)[d];
    key[16 + d] = -p.layer.query.row(0, 0, 0)[d];
  }
  p.layer.key = tensor::view_bhsd(p.layer.storage[1]);
  for (int64_t min_tables : {1, 2, 500}) {
    const auto plane = attend(
        pipeline_of({{"lsh_l", 512}, {"lsh_k", 64}, {"center", false}, {"min_tables", min_tables}}), p);
    EXPECT_NEAR(plane[0], 1, 1e-3) << "the query itself always collides";
    EXPECT_EQ(plane[2], 0);
  }
}

TEST(MagicPig, OneDimensionHasTwoSides) {
  const SmallProblem p = make_problem({.queries = 4, .keys = 30, .head_dim = 1}, 8);
  for (bool mips : {false, true}) {
    const double active = share_active(attend(pipeline_of({{"mips_transform", mips}}), p));
    EXPECT_GT(active, 0.2);
    EXPECT_LT(active, 0.8);
  }
}

/// Keys in a cone around a mean that queries point away from, as in trained models.
SmallProblem cone() {
  constexpr int64_t keys = 4096, queries = 8, dim = 64;
  std::mt19937 random(11);
  std::normal_distribution<float> normal;
  std::vector<float> query, key;
  for (int64_t i = 0; i < queries * dim; ++i) query.push_back(normal(random) - 3);
  for (int64_t i = 0; i < keys * dim; ++i) key.push_back(normal(random) + 3);
  return problem_of({1, 1, 1, queries, keys, dim, 4}, query, key);
}

TEST(MagicPig, FindsKeysInAConeOnlyWhenCentred) {
  const SmallProblem p = cone();
  const double centred = share_active(attend(pipeline_of({{"lsh_k", 8}, {"lsh_l", 75}}), p));
  const double raw = share_active(attend(pipeline_of({{"lsh_k", 8}, {"lsh_l", 75}, {"center", false}}), p));
  RecordProperty("centred", fmt::format("{}", centred));
  RecordProperty("raw", fmt::format("{}", raw));
  EXPECT_LT(raw, 0.001);
  EXPECT_GT(centred, 0.01);
}

/// Keys of the answer lean towards the queries, so that they hold most of the mass.
TEST(MagicPig, KeysOfTheAnswerAreFoundUnlessTablesAreFrozen) {
  constexpr int64_t prompt = 1024, keys = 1536, queries = 8, dim = 32;
  std::mt19937 random(12);
  std::normal_distribution<float> normal;
  std::vector<float> query, key;
  for (int64_t i = 0; i < queries * dim; ++i) query.push_back(normal(random) + 1);
  for (int64_t i = 0; i < keys * dim; ++i) key.push_back(normal(random) + (i < prompt * dim ? 0 : 0.3f));
  const SmallProblem p = problem_of({1, 1, 1, queries, keys, dim, 4}, query, key);
  const auto mass = masses(p);
  const auto pipelines = pipeline_of({{"lsh_k", 8}, {"lsh_l", 75}});
  attention::Session session(pipelines, p.layer, p.geometry, options_of(p));
  session.append(prompt);
  session.end_prompt();
  const double frozen = mass_recall(attend(session), mass, keys);
  session.append(keys);
  const double grown = mass_recall(attend(session), mass, keys);
  RecordProperty("frozen", fmt::format("{}", frozen));
  RecordProperty("grown", fmt::format("{}", grown));
  EXPECT_LT(frozen, 0.1);
  EXPECT_GT(grown, 4 * frozen);
}

TEST(MagicPig, CodesDoNotDependOnTiles) {
  const SmallProblem p = make_problem({.query_heads = 4, .kv_heads = 2, .queries = 30, .keys = 100}, 2);
  const auto pipelines = pipeline_of({{"lsh_l", 21}, {"lsh_k", 5}, {"min_tables", 1}});
  attention::Session session(pipelines, p.layer, p.geometry, options_of(p));
  session.append(100);
  session.end_prompt();
  std::vector<std::vector<float>> weights;
  std::vector<uint64_t> bytes;
  for (int64_t tile_bytes : {1, 5000, 1 << 22}) {
    attention::Engine engine({&kernels::best_table(), tile_bytes, true});
    std::vector<float>& found = weights.emplace_back(4 * 30 * 100);
    engine.attend(session, 0, 30, {}, [&](const attention::TileOutcome& outcome) {
      for (int64_t row = 0; row < outcome.tile->rows(); ++row) {
        const auto& list = outcome.selection->list(row);
        const int64_t line = outcome.tile->head_of(row) * 30 + outcome.tile->query_of(row);
        for (size_t i = 0; i < list.sampled.size(); ++i)
          found[static_cast<size_t>(line * 100 + list.sampled[i])] = 1 + list.log_weight[i];
      }
    });
    bytes.push_back(engine.clocks().search_bytes[0][0]);
  }
  EXPECT_EQ(weights[0], weights[1]);
  EXPECT_EQ(weights[0], weights[2]);
  EXPECT_EQ(bytes, std::vector<uint64_t>(3, bytes[0]));
  EXPECT_GT(bytes[0], 0u);
}

TEST(MagicPig, RefusesWhatCannotBe) {
  struct Refused {
    Json stage;
    const char* words;
  };
  for (const Refused& refused :
       std::vector<Refused>{{{{"lsh_k", 0}}, "lsh_k"},
                            {{{"lsh_k", 65}}, "lsh_k"},
                            {{{"lsh_l", 0}}, "lsh_l"},
                            {{{"min_tables", 0}}, "min_tables"},
                            {{{"min_tables", 6}, {"lsh_l", 5}}, "allowed 1 to 5, found 6"},
                            {{{"packing", "float32"}}, "int64"}}) {
    EXPECT_REFUSED(pipeline_of(refused.stage), refused.words);
  }
  const SmallProblem p = make_problem({.head_dim = 300}, 1);
  const auto pipelines = pipeline_of({{"lsh_l", 1024}, {"lsh_k", 64}});
  EXPECT_REFUSED(attention::Session(pipelines, p.layer, p.geometry, options_of(p)), "at most 16777216");
}

TEST(MagicPig, HasPresets) {
  const auto pipelines = bind(document_with(R"({"main": [{"masker": "magic_pig.paper"}],
      "hub": [{"masker": "magic_pig.hub"}]})"));
  const SmallProblem p = make_problem({.keys = 5}, 1);
  attention::Session session(pipelines, p.layer, p.geometry, options_of(p));
  const auto planes = [&](size_t pipeline) {
    return session.state(pipeline)[0][0].columns().columns[0].width;
  };
  EXPECT_EQ(planes(0), 150 * 10 * 4);
  EXPECT_EQ(planes(1), 75 * 8 * 5);
}

}  // namespace
}  // namespace attnlab::test
