// pq_cache: its k-means by itself, and the built plugin through a session.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "plugins/maskers/pq_cache/kmeans.hpp"
#include "tests/support/catalog.hpp"
#include "tests/support/stage_scores.hpp"
#include "tests/unit/plugin_test_support.hpp"

#include "tests/support/small_problem.hpp"

namespace attnlab {
namespace {

using io::Json;

/// Centres of a fit, one vector each.
std::vector<std::vector<float>> fitted(const std::vector<float>& values, int64_t dim, int64_t capacity,
                                       int64_t iterations = 20, uint64_t seed = 1) {
  std::vector<float> centres(static_cast<size_t>(dim * capacity));
  const int64_t used = pq_cache::fit({values, static_cast<int64_t>(values.size()) / dim, dim}, iterations,
                                     Philox(seed), {centres, capacity, 0});
  std::vector<std::vector<float>> all(static_cast<size_t>(used));
  for (int64_t c = 0; c < used; ++c) {
    for (int64_t d = 0; d < dim; ++d) {
      all[static_cast<size_t>(c)].push_back(centres[static_cast<size_t>(d * capacity + c)]);
    }
  }
  return all;
}

TEST(KMeans, FindsTheMeansOfSeparableClusters) {
  // Two clusters on a line: whichever two distinct points it starts from, one update separates them.
  for (uint64_t seed = 0; seed < 20; ++seed) {
    auto centres = fitted({0, 1, 2, 100, 101, 105}, 1, 2, 20, seed);
    std::sort(centres.begin(), centres.end());
    EXPECT_EQ(centres, (std::vector<std::vector<float>>{{1}, {102}})) << seed;
  }
}

TEST(KMeans, HoldsEveryPointWhenThereIsRoom) {
  auto centres = fitted({3, 1, 0, 0, 3, 1, 0.5f, 2, 3, 1, 0, 0}, 2, 8);
  std::sort(centres.begin(), centres.end());
  EXPECT_EQ(centres, (std::vector<std::vector<float>>{{0, 0}, {0.5f, 2}, {3, 1}}));
  EXPECT_TRUE(fitted({}, 2, 8).empty());
}

TEST(KMeans, NeverLosesACentreAndNeverGetsWorse) {
  Philox random(5);
  std::vector<float> values(400 * 3);
  for (float& value : values) value = std::round(static_cast<float>(random.normal() * 3));
  double last = std::numeric_limits<double>::infinity();
  for (int64_t iterations : {1, 2, 4, 8, 16, 32}) {
    const auto centres = fitted(values, 3, 16, iterations);
    EXPECT_EQ(std::set(centres.begin(), centres.end()).size(), 16u) << "distinct centres";
    double error = 0;
    for (size_t i = 0; i < values.size(); i += 3) {
      double best = std::numeric_limits<double>::infinity();
      for (const auto& centre : centres) {
        double sum = 0;
        for (size_t d = 0; d < 3; ++d) sum += std::pow(double{values[i + d]} - double{centre[d]}, 2);
        best = std::min(best, sum);
      }
      error += best;
    }
    EXPECT_LE(error, last * (1 + 1e-6)) << iterations;
    last = error;
  }
}

/// Points of equal value crowd one centre out of all members: it moves to the point that is worst served.
TEST(KMeans, AnEmptyClusterTakesTheFarthestPoint) {
  // Started from all three pairs of {0, 1, 50 x 3, ...}: with 4 centres of 5 distinct points none stays
  // empty.
  const std::vector<float> values = {0, 0, 0, 0, 1, 1, 10, 50, 51};
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const auto centres = fitted(values, 1, 4, 50, seed);
    std::set<float> nearest;
    for (float value : values) {
      const auto best = std::ranges::min_element(
          centres, {}, [&](const auto& centre) { return std::abs(centre[0] - value); });
      nearest.insert((*best)[0]);
    }
    EXPECT_EQ(nearest.size(), 4u) << seed;
  }
}

/// A session on a problem with one pq_cache stage.
struct Quantised {
  Quantised(const Json& parameters, const test::Shape& shape, uint64_t seed = 3)
      : document(test::document_with(Json({{"p", Json::array({stage_of(parameters)})}}).dump())),
        pipelines(test::bind(document)),
        problem(test::make_problem(shape, seed)) {
    options.scale = 0.4f;
    options.causal = shape.causal;
    session = std::make_unique<attention::Session>(pipelines, problem.layer, problem.geometry, options);
  }
  static Json stage_of(const Json& parameters) {
    Json stage = {{"masker", "pq_cache"}, {"heavy_size", 4}};
    for (const auto& parameter : parameters.items()) stage[parameter.key()] = parameter.value();
    return stage;
  }
  /// All keys, fitted on the first `prompt`.
  Quantised& fit(int64_t prompt) {
    session->append(prompt);
    session->end_prompt();
    session->append(problem.geometry.keys);
    return *this;
  }
  std::vector<uint8_t> codes(int64_t batch = 0, int64_t head = 0) const {
    const auto codes = test::column_of<uint8_t>(test::key_state(*session, 0, batch, head), "codes");
    return {codes.begin(), codes.end()};
  }

  config::Document document;
  std::vector<attention::Pipeline> pipelines;
  test::SmallProblem problem;
  attention::AttentionOptions options;
  std::unique_ptr<attention::Session> session;
};

constexpr test::Shape small{1, 2, 1, 6, 40, 4, 3};

TEST(PqCache, ScoresAreLogitsOfTheReconstructedKeys) {
  for (const char* metric : {"euclidean", "ip"}) {
    for (int64_t bits : {2, 9}) {  // codes of one byte and of four
      SCOPED_TRACE(metric + std::to_string(bits));
      Quantised q({{"pq_group_factor", 2}, {"pq_bits", bits}, {"metric", metric}, {"init_offset", 3}}, small);
      q.fit(34);
      const auto& state = test::key_state(*q.session, 0);
      const auto centroids = test::column_of<float>(state, "centroids");
      const int64_t capacity = int64_t{1} << bits, point = std::string(metric) == "ip" ? 3 : 2;
      const auto code = [&](int64_t key, int64_t group) -> int64_t {
        const auto at = static_cast<size_t>(key * 2 + group);
        return bits <= 8 ? int64_t{test::column_of<uint8_t>(state, "codes")[at]}
                         : int64_t{test::column_of<int32_t>(state, "codes")[at]};
      };
      const auto scores = test::stage_scores(*q.session, 0);
      for (int64_t row = 0; row < 12; ++row) {
        const float* query = q.problem.layer.query.row(0, row % 2, row / 2);
        for (int64_t key = 0; key < 40; ++key) {
          const float score = scores[static_cast<size_t>(row * 40 + key)];
          if (key < 3 || key > 34 + row / 2) {
            EXPECT_EQ(score, -std::numeric_limits<float>::infinity()) << row << ", " << key;
            continue;
          }
          double expected = 0;
          for (int64_t group = 0; group < 2; ++group) {
            for (int64_t d = 0; d < 2; ++d) {
              const auto at = static_cast<size_t>((group * point + d) * capacity + code(key, group));
              expected += 0.4 * double{query[group * 2 + d]} * double{centroids[at]};
            }
          }
          EXPECT_NEAR(double{score}, expected, 1e-5) << "row " << row << ", key " << key;
        }
      }
    }
  }
}

TEST(PqCache, AsManyCentresAsKeysGiveExactLogits) {
  Quantised q({{"pq_group_factor", 4}, {"pq_bits", 6}}, small);
  q.fit(40);
  const auto scores = test::stage_scores(*q.session, 0);
  for (int64_t row = 0; row < 12; ++row) {
    for (int64_t key = 0; key <= 34 + row / 2; ++key) {
      double exact = 0;
      for (int64_t d = 0; d < 4; ++d) {
        exact += 0.4 * double{q.problem.layer.query.row(0, row % 2, row / 2)[d]} *
                 double{q.problem.layer.key.row(0, 0, key)[d]};
      }
      EXPECT_NEAR(double{scores[static_cast<size_t>(row * 40 + key)]}, exact, 1e-5);
    }
  }
}

TEST(PqCache, AppendedKeysAreCodedAsABatchWould) {
  for (const char* metric : {"euclidean", "ip"}) {
    const Json parameters = {{"pq_bits", 3}, {"metric", metric}};
    Quantised stepwise(parameters, small);
    stepwise.session->append(20);
    stepwise.session->end_prompt();
    for (int64_t keys : {21, 22, 30, 40}) stepwise.session->append(keys);
    // Forgotten keys are coded again at once, by the same centres.
    const auto codes = stepwise.codes();
    stepwise.session->truncate(0);
    stepwise.session->append(40);
    EXPECT_EQ(codes, stepwise.codes()) << metric;
    EXPECT_GT(std::set(codes.begin() + 40, codes.end()).size(), 1u) << "codes of appended keys";
  }
}

TEST(PqCache, CodesBelongToTheFinalCentres) {
  Quantised q({{"pq_bits", 3}, {"kmeans_iter", 1}}, {1, 1, 1, 1, 300, 4, 2});
  q.session->append(300);
  q.session->end_prompt();
  const auto codes = q.codes();
  q.session->truncate(0);
  q.session->append(300);
  EXPECT_EQ(codes, q.codes());
}

TEST(PqCache, CentresDependOnTheSeedsAndTheHeadAlone) {
  const test::Shape heads{2, 2, 2, 1, 60, 4, 2};
  const auto centroids = [&](int64_t seed, int64_t batch, int64_t head) {
    Quantised q({{"pq_bits", 3}, {"kmeans_iter", 1}, {"seed", seed}}, heads);
    q.fit(60);
    const auto c = test::column_of<float>(test::key_state(*q.session, 0, batch, head), "centroids");
    return std::vector<float>(c.begin(), c.end());
  };
  EXPECT_EQ(centroids(1, 1, 0), centroids(1, 1, 0));
  EXPECT_NE(centroids(1, 1, 0), centroids(2, 1, 0));
  EXPECT_NE(centroids(1, 1, 0), centroids(1, 1, 1));
}

/// Prompts with fewer keys than centres, none, or all before the offset; sequences of different length.
TEST(PqCache, ShortPromptsGiveFiniteScores) {
  struct Case {
    int64_t prompt, offset;
  };
  for (const Case& c : {Case{0, 0}, Case{1, 0}, Case{5, 0}, Case{5, 5}, Case{5, 100}}) {
    test::Shape shape{3, 2, 1, 3, 12, 1, 1};
    shape.shorter_sequences = true;
    Quantised q({{"pq_group_factor", 1}, {"init_offset", c.offset}}, shape);
    q.fit(c.prompt);
    for (int64_t batch = 0; batch < 3; ++batch) {
      for (float score : test::stage_scores(*q.session, 0, batch)) {
        EXPECT_FALSE(std::isnan(score)) << c.prompt << ", " << c.offset << ", batch " << batch;
      }
    }
    int64_t rows = 0;
    attention::Engine engine({&kernels::best_table(), int64_t{1} << 22, false});
    q.options.on_empty_row = config::EmptyRow::zeros;
    attention::Session lenient(q.pipelines, q.problem.layer, q.problem.geometry, q.options);
    lenient.append(c.prompt);
    lenient.end_prompt();
    lenient.append(12);
    engine.attend(lenient, 0, 3, {}, [&](const attention::TileOutcome& outcome) {
      for (int64_t i = 0; i < outcome.tile->rows(); ++i) rows += std::isfinite(outcome.out[i]) ? 1 : 0;
    });
    EXPECT_EQ(rows, 18);
  }
}

TEST(PqCache, PrefillRowsAreDecodeRowsOfTheSamePrompt) {
  const Json parameters = {{"pq_bits", 3}, {"init_offset", 2}};
  Quantised prefill(parameters, small), decode(parameters, small);
  prefill.fit(34);
  decode.session->append(34);
  decode.session->end_prompt();
  const auto all = test::stage_scores(*prefill.session, 0);
  for (int64_t query = 0; query < 6; ++query) {
    decode.session->append(35 + query);
    const auto& columns = test::key_state(*decode.session, 0).columns();
    attention::Tile tile;
    tile.load(decode.problem.layer, decode.problem.geometry, decode.options, kernels::best_table(),
              {0, 0, query, 1});
    std::vector<float> values(2 * 40);
    attnlab_scores scores{};
    scores.struct_size = sizeof scores;
    scores.page_size = 1;
    scores.unit_count = scores.stride = 40;
    scores.values = values.data();
    decode.pipelines[0].stages()[0].masker.score(tile.view(0, &columns, nullptr), scores);
    for (size_t i = 0; i < values.size(); ++i) {
      EXPECT_EQ(values[i], all[static_cast<size_t>(query) * 80 + i]) << query << ", " << i;
    }
  }
}

/// Importance sampling by PQ scores: 1/p weights make the denominator unbiased.
TEST(PqCache, ImportanceSamplesEstimateTheDenominator) {
  test::Shape shape{1, 1, 1, 4, 400, 4, 1};
  shape.causal = false;
  Quantised q({}, shape);
  auto document = test::document_with(
      R"({"p": [{"masker": "pq_cache", "pq_bits": 4, "select": "importance", "sample_size": "5%"}]})");
  const auto pipelines = test::bind(document);
  double sum = 0, squares = 0, count = 0;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    q.options.seed = seed;
    attention::Session session(pipelines, q.problem.layer, q.problem.geometry, q.options);
    session.append(400);
    session.end_prompt();
    attention::Engine engine({&kernels::best_table(), int64_t{1} << 22, true});
    engine.attend(session, 0, 4, {}, [&](const attention::TileOutcome& outcome) {
      for (int64_t row = 0; row < 4; ++row) {
        const double ratio = std::exp(double{outcome.lse[row]} - double{outcome.exact_lse[row]});
        sum += ratio;
        squares += ratio * ratio;
        ++count;
      }
    });
  }
  const double mean = sum / count;
  const double error = std::sqrt((squares / count - mean * mean) / (count - 1));
  RecordProperty("mean", std::to_string(mean));
  EXPECT_LE(std::abs(mean - 1), 3 * error) << mean << " +- " << error;
  EXPECT_LT(error, 0.01) << "the estimate is not just noise";
}

/// Per query of a KV head: the codes of the keys it may choose, the centres once, their counts.
TEST(PqCache, CountsWhatASearchReads) {
  Quantised q({{"pq_bits", 3}, {"init_offset", 2}}, small);
  q.fit(40);
  attention::Engine engine({&kernels::best_table(), int64_t{1} << 22, false});
  engine.attend(*q.session, 0, 6, {}, [](const attention::TileOutcome&) {});
  uint64_t expected = 0;
  for (uint64_t visible = 35; visible <= 40; ++visible) expected += (visible - 2) * 2 + 8 * 4 * 4 + 2 * 4;
  EXPECT_EQ(engine.clocks().search_bytes[0][0], expected);
  EXPECT_EQ(engine.clocks().queries[0], 6u);
  const attention::IndexBytes index = q.session->index_bytes(0)[0];
  EXPECT_EQ(index.tokens, 40u * 2);
  EXPECT_EQ(index.sequence, 8u * 4 * 4 + 2 * 4 + 2 * 4);
}

TEST(PqCache, RefusesWhatDoesNotFit) {
  EXPECT_REFUSED(Quantised({{"pq_group_factor", 3}}, small), "3 sub-vectors do not divide head_dim 4");
  EXPECT_REFUSED(Quantised({{"pq_bits", 13}}, small), "12");
  EXPECT_REFUSED(Quantised({{"pq_bits", 0}}, small), "1");
  EXPECT_REFUSED(Quantised({{"metric", "cosine"}}, small), "euclidean");
  test::Shape wide = small;
  wide.head_dim = 8192;
  EXPECT_REFUSED(Quantised({{"pq_bits", 12}}, wide), "use fewer bits");
}

}  // namespace
}  // namespace attnlab
