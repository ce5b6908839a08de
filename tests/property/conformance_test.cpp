// The laws of maskers, over every plugin of the build: state does not depend on how it came about, rows do
// not depend on how they are attended, and what a row may not know changes nothing.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <set>

#include "core/base/parallel.hpp"
#include "core/mask/visibility.hpp"
#include "tests/support/catalog.hpp"
#include "tests/support/method_files.hpp"
#include "tests/support/methods.hpp"
#include "tests/support/small_problem.hpp"

namespace attnlab::test {
namespace {

using io::Json;

struct Case {
  const char* name;
  Shape shape;
};

const Case shapes[] = {
    {"two_keys", {.queries = 2, .keys = 2, .head_dim = 8}},
    {"tall", {.query_heads = 4, .kv_heads = 2, .queries = 24, .keys = 61, .head_dim = 16, .value_dim = 5}},
    {"batch",
     {.batch = 3, .query_heads = 6, .kv_heads = 2, .queries = 9, .keys = 19, .head_dim = 8, .value_dim = 7}},
    {"shorter", {.batch = 2, .queries = 9, .keys = 30, .head_dim = 8, .shorter_sequences = true}},
    {"holes",
     {.query_heads = 4, .kv_heads = 2, .queries = 9, .keys = 70, .head_dim = 8, .bias = Shape::Bias::holes}},
    {"head_holes",
     {.query_heads = 4,
      .kv_heads = 1,
      .queries = 9,
      .keys = 70,
      .head_dim = 8,
      .bias = Shape::Bias::per_head_holes}},
    {"not_causal",
     {.query_heads = 2, .kv_heads = 2, .queries = 6, .keys = 40, .head_dim = 8, .causal = false}},
    {"narrow", {.query_heads = 2, .kv_heads = 1, .queries = 5, .keys = 33, .head_dim = 1, .value_dim = 1}},
};

/// Methods whose parameters cannot suit a single channel; everything else runs on every shape.
bool suits(const Method& method, const Shape& shape) {
  const std::set<std::string> groups_of_channels = {"double_sparsity", "pq_cache"};
  return shape.head_dim > 1 || !groups_of_channels.contains(method.id);
}

class Conformance : public testing::TestWithParam<std::tuple<Method, Case>> {
 protected:
  const Method& method() const { return std::get<0>(GetParam()); }
  const Shape& shape() const { return std::get<1>(GetParam()).shape; }
  bool has(uint64_t flag) const { return catalog().find(method().id)->descriptor.has(flag); }

  void SetUp() override {
    if (!suits(method(), shape())) GTEST_SKIP() << method().id << " needs more than one channel";
    problem_ = make_problem(shape(), 5);
    pipelines_ = bind(document_with(with_method_files(method().pipelines, problem_, files_)));
    options_ = {.causal = shape().causal, .scale = 0.4f, .on_empty_row = config::EmptyRow::zeros, .seed = 11};
  }

  std::vector<Planes> run(const Manner& manner) const {
    return run_pipelines(pipelines_, problem_, options_, manner);
  }
  void expect_same(const Manner& manner, const std::vector<Planes>& expected, const std::string& what) const {
    const auto planes = run(manner);
    for (size_t p = 0; p < planes.size(); ++p) {
      EXPECT_EQ(planes[p], expected[p]) << pipelines_[p].name() << ": " << what;
      EXPECT_EQ(planes[p].search_bytes, expected[p].search_bytes) << pipelines_[p].name() << ": " << what;
    }
  }
  /// Half of the queries belong to the prompt.
  int64_t half() const { return (shape().queries + 1) / 2; }
  /// The manner of a decoding run, or of a question where the problem is not causal.
  Manner after_prompt() const { return {.one_by_one = shape().causal, .prompt_queries = half()}; }

  TemporaryFiles files_;
  SmallProblem problem_;
  std::vector<attention::Pipeline> pipelines_;
  attention::AttentionOptions options_;
};

TEST_P(Conformance, TilesAndThreadsChangeNoBit) {
  const auto at_once = run({});
  const auto decoded = run(after_prompt());
  for (int threads : {1, 3}) {
    const base::ThreadLimit limit(threads);
    for (int64_t tile_bytes : {int64_t{1}, int64_t{2000}}) {
      expect_same({.tile_bytes = tile_bytes}, at_once, "tiles or threads");
      Manner manner = after_prompt();
      manner.tile_bytes = tile_bytes;
      expect_same(manner, decoded, "tiles or threads after a prompt");
    }
  }
}

TEST_P(Conformance, ChunksOfKeysChangeNoBit) {
  // Feedback is given for each step, and a step that is cut is another step.
  const auto expected = run(after_prompt());
  for (int64_t chunk : {1, 5}) {
    Manner manner = after_prompt();
    manner.chunk = chunk;
    expect_same(manner, expected, "appended in chunks");
  }
}

TEST_P(Conformance, TruncatedKeysAreForgotten) {
  const auto expected = run(after_prompt());
  Manner manner = after_prompt();
  manner.detour = Manner::Detour::truncate;
  expect_same(manner, expected, "appended and truncated");
}

TEST_P(Conformance, ForksAreIndependent) {
  const auto expected = run(after_prompt());
  Manner manner = after_prompt();
  manner.detour = Manner::Detour::fork;
  expect_same(manner, expected, "a fork went on");
}

TEST_P(Conformance, DecodedRowsAreThoseOfAQuestion) {
  if (!shape().causal) GTEST_SKIP() << "decoding is causal";
  if (has(ATTNLAB_NEEDS_FEEDBACK)) GTEST_SKIP() << "feedback after each token is what the method is about";
  expect_same({.prompt_queries = half()}, run(after_prompt()), "attended at once");
}

TEST_P(Conformance, PrefillRowsAreDecodedRows) {
  if (!shape().causal) GTEST_SKIP() << "decoding is causal";
  if (has(ATTNLAB_PROMPT_FITTED) || has(ATTNLAB_NEEDS_FEEDBACK)) {
    GTEST_SKIP() << "declared: prompt_fitted or needs_feedback";
  }
  expect_same({.one_by_one = true}, run({}), "decoded");
}

TEST_P(Conformance, LaterKeysChangeNothing) {
  if (!shape().causal) GTEST_SKIP() << "every key is visible";
  // Keys from `changed` on are others; rows up to it are the same, if the prompt ended before it.
  const Manner manner = after_prompt();
  const int64_t changed = shape().keys - std::max<int64_t>(1, (shape().queries - half()) / 2);
  const auto before = run(manner);
  tensor::Tensor keys = tensor::Tensor::zeros(tensor::DType::f32, problem_.layer.storage[1].shape());
  auto values = keys.mutable_values<float>();
  const auto old = problem_.layer.storage[1].values<float>();
  for (size_t i = 0; i < values.size(); ++i) {
    const int64_t key = static_cast<int64_t>(i) / shape().head_dim % shape().keys;
    const int64_t batch = static_cast<int64_t>(i) / shape().head_dim / shape().keys / shape().kv_heads;
    const int64_t behind = shape().keys - problem_.layer.valid[static_cast<size_t>(batch)];
    values[i] = key >= changed - behind ? 9 - old[i] : old[i];
  }
  problem_.layer.key = tensor::view_bhsd(keys);
  const auto after = run(manner);
  const int64_t unchanged = changed - (shape().keys - shape().queries);
  int64_t rows = 0;
  for (int64_t line = 0; line < shape().batch * shape().query_heads * shape().queries; ++line) {
    if (line % shape().queries >= unchanged) continue;
    ++rows;
    for (size_t p = 0; p < before.size(); ++p) {
      for (int64_t c = 0; c < shape().value_dim; ++c) {
        const auto at = static_cast<size_t>(line * shape().value_dim + c);
        ASSERT_EQ(after[p].output[at], before[p].output[at]) << pipelines_[p].name() << " row " << line;
      }
    }
  }
  EXPECT_GT(rows, 0);
}

TEST_P(Conformance, SelectsVisibleKeysWithLegalProbabilities) {
  const mask::Shape extents{shape().batch, shape().query_heads, shape().queries, shape().keys};
  const mask::Visibility visibility(extents, shape().causal, problem_.layer.valid, problem_.layer.bias);
  for (const auto& planes : run({})) {
    size_t at = 0;
    for (int64_t b = 0; b < extents.batch; ++b) {
      for (int64_t h = 0; h < extents.heads; ++h) {
        for (int64_t q = 0; q < extents.queries; ++q) {
          for (int64_t k = 0; k < extents.keys; ++k, ++at) {
            const float p = planes.probability[at];
            ASSERT_TRUE(p >= 0 && p <= 1 && (p == 0 || visibility.visible(b, h, q, k))) << p;
          }
        }
      }
    }
    for (float value : planes.output) ASSERT_TRUE(std::isfinite(value));
  }
}

INSTANTIATE_TEST_SUITE_P(Maskers, Conformance,
                         testing::Combine(testing::ValuesIn(methods), testing::ValuesIn(shapes)),
                         [](const auto& test) {
                           return std::string(std::get<0>(test.param).id) + "_" +
                                  std::get<1>(test.param).name;
                         });

TEST(ConformanceTable, HasEveryPluginOfTheBuild) {
  std::set<std::string> listed;
  for (const auto& method : methods) {
    listed.insert(method.id);
    EXPECT_NE(std::string(method.pipelines).find("\"" + std::string(method.id) + "\""), std::string::npos)
        << method.id;
  }
  for (const auto& id : method_ids()) {
    EXPECT_TRUE(listed.contains(id)) << id << " has no row in this file";
  }
}

}  // namespace
}  // namespace attnlab::test
