// socket, the built plugin: its scores against the definition with all corners.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/catalog.hpp"
#include "tests/support/small_problem.hpp"
#include "tests/support/stage_scores.hpp"
#include "tests/unit/plugin_test_support.hpp"

namespace attnlab {
namespace {

using io::Json;

/// A session with one socket stage and all keys.
struct Hashed {
  Hashed(const Json& parameters, const test::Shape& shape)
      : document(test::document_with(Json({{"p", Json::array({stage_of(parameters)})}}).dump())),
        pipelines(test::bind(document)),
        problem(test::make_problem(shape, 3)) {
    options.causal = shape.causal;
    session = std::make_unique<attention::Session>(pipelines, problem.layer, problem.geometry, options);
    session->append(shape.keys);
  }
  static Json stage_of(const Json& parameters) {
    Json stage = {{"masker", "socket"}, {"heavy_size", 4}};
    for (const auto& parameter : parameters.items()) stage[parameter.key()] = parameter.value();
    return stage;
  }
  config::Document document;
  std::vector<attention::Pipeline> pipelines;
  test::SmallProblem problem;
  attention::AttentionOptions options;
  std::unique_ptr<attention::Session> session;
};

/// Projections of x on the planes [head_dim, L * K].
std::vector<double> project(const float* x, std::span<const float> planes, int64_t head_dim) {
  const size_t count = planes.size() / static_cast<size_t>(head_dim);
  std::vector<double> out(count);
  for (size_t i = 0; i < planes.size(); ++i) out[i % count] += double{x[i / count]} * double{planes[i]};
  return out;
}

/// The softmax over all 2^K corners, term by term; sum over tables of the key's share, times the norm.
double definition(const float* query, const float* key, const float* value, int64_t value_dim,
                  std::span<const float> planes, int64_t head_dim, int64_t K, double tau) {
  const auto u = project(query, planes, head_dim), at = project(key, planes, head_dim);
  double sum = 0;
  for (size_t table = 0; table < u.size() / static_cast<size_t>(K); ++table) {
    double own = 0, all = 0;
    for (int64_t corner = 0; corner < int64_t{1} << K; ++corner) {
      double dot = 0;
      bool here = true;
      for (int64_t k = 0; k < K; ++k) {
        const size_t i = table * static_cast<size_t>(K) + static_cast<size_t>(k);
        const bool bit = ((corner >> k) & 1) != 0;
        dot += std::tanh(u[i]) / std::sqrt(static_cast<double>(head_dim)) * (bit ? 1 : -1);
        here &= bit == (at[i] >= 0);
      }
      all += std::exp(dot / tau);
      if (here) own = std::exp(dot / tau);
    }
    sum += own / all;
  }
  double norm = 0;
  for (int64_t d = 0; d < value_dim; ++d) norm += double{value[d]} * double{value[d]};
  return sum * std::sqrt(norm);
}

TEST(Socket, ScoresAreSoftCollisionsTimesValueNorms) {
  const test::Shape shape{1, 2, 1, 3, 25, 5, 3};
  for (int64_t K : {1, 4, 8, 9, 13}) {  // short buckets, long ones, and no table
    SCOPED_TRACE(K);
    const Hashed h({{"K", K}, {"L", 3}, {"tau", 0.2}}, shape);
    const auto planes = test::column_of<float>(test::key_state(*h.session, 0), "planes");
    ASSERT_EQ(planes.size(), static_cast<size_t>(3 * K * 5));
    const auto scores = test::stage_scores(*h.session, 0);
    for (int64_t row = 0; row < 6; ++row) {
      for (int64_t key = 0; key < 25; ++key) {
        const float score = scores[static_cast<size_t>(row * 25 + key)];
        if (key > 22 + row / 2) {
          EXPECT_EQ(score, -std::numeric_limits<float>::infinity());
          continue;
        }
        const double expected =
            definition(h.problem.layer.query.row(0, row % 2, row / 2), h.problem.layer.key.row(0, 0, key),
                       h.problem.layer.value.row(0, 0, key), 3, planes, 5, K, 0.2);
        EXPECT_NEAR(double{score}, expected, 1e-5 * expected) << "row " << row << ", key " << key;
      }
    }
  }
}

TEST(Socket, OddShapesAndSharpTemperaturesGiveNumbers) {
  for (const Json& parameters :
       {Json{{"K", 30}, {"L", 2}}, Json{{"K", 8}, {"tau", 1e-300}}, Json{{"K", 1}, {"tau", 1e6}}}) {
    test::Shape shape{3, 2, 1, 3, 9, 1, 1};
    shape.shorter_sequences = true;
    shape.causal = false;
    shape.bias = test::Shape::Bias::per_head_holes;
    const Hashed h(parameters, shape);
    for (int64_t batch = 0; batch < 3; ++batch) {
      for (float score : test::stage_scores(*h.session, 0, batch)) EXPECT_FALSE(std::isnan(score));
    }
  }
}

TEST(Socket, AQueryLikesTheBucketOfItsOwnDirection) {
  // Keys 0 and 1 are the query and its opposite; values are equal.
  test::Shape shape{1, 1, 1, 1, 2, 4, 1};
  shape.causal = false;
  Hashed h({{"K", 6}, {"L", 20}}, shape);
  const float* query = h.problem.layer.query.row(0, 0, 0);
  auto keys = h.problem.layer.storage[1].mutable_values<float>();
  auto values = h.problem.layer.storage[2].mutable_values<float>();
  for (size_t d = 0; d < 4; ++d) {
    keys[d] = query[d];
    keys[4 + d] = -query[d];
  }
  values[0] = values[1] = 2;
  h.problem.layer.key = tensor::view_bhsd(h.problem.layer.storage[1]);
  h.problem.layer.value = tensor::view_bhsd(h.problem.layer.storage[2]);
  attention::Session session(h.pipelines, h.problem.layer, h.problem.geometry, h.options);
  session.append(2);
  const auto scores = test::stage_scores(session, 0);
  EXPECT_GT(scores[0], 5 * scores[1]);
}

/// Per query of a KV head: buckets and norms of the visible keys, and the planes once.
TEST(Socket, CountsWhatASearchReads) {
  const Hashed h({{"K", 4}, {"L", 3}}, {1, 2, 1, 3, 25, 5, 3});
  attention::Engine engine({&kernels::best_table(), int64_t{1} << 22, false});
  engine.attend(*h.session, 0, 3, {}, [](const attention::TileOutcome&) {});
  const uint64_t planes = 4 * 3 * 5 * 4;
  EXPECT_EQ(engine.clocks().search_bytes[0][0], 3 * planes + (23 + 24 + 25) * (3 + 4));
  EXPECT_EQ(h.session->index_bytes(0)[0].tokens, 25u * (3 + 4));
  EXPECT_EQ(h.session->index_bytes(0)[0].sequence, planes);
}

TEST(Socket, RefusesWhatDoesNotFit) {
  const test::Shape shape;
  EXPECT_REFUSED(Hashed({{"K", 31}}, shape), "30");
  EXPECT_REFUSED(Hashed({{"tau", 0}}, shape), "0");
  EXPECT_REFUSED(Hashed({{"L", 0}}, shape), "1024");
  test::Shape wide;
  wide.head_dim = 4096;
  EXPECT_REFUSED(Hashed({{"K", 30}, {"L", 1024}}, wide), "use fewer tables");
}

}  // namespace
}  // namespace attnlab
