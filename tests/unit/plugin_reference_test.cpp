// One table of pipelines and shapes for every plugin: the product against the naive double-precision version,
// on every SIMD target; and the same bits for every tile size, thread count and for decode.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <set>

#include "core/base/parallel.hpp"
#include "core/measure/experiment.hpp"
#include "tests/support/catalog.hpp"
#include "tests/support/naive_pipeline.hpp"

namespace attnlab::test {
namespace {

using io::Json;

/// Compositions that a researcher would write, and each method alone.
const char* const pipelines_json = R"({
  "dense": [],
  "sink": [{"masker": "sink", "sink_size": 3}],
  "sink_share": [{"masker": "sink", "sink_size": "30%"}],
  "local": [{"masker": "local", "window_size": 4}],
  "local_share": [{"masker": "local", "window_size": 0.25}],
  "causal": [{"masker": "causal"}],
  "strided": [{"masker": "strided", "stride": 5, "offset": 2}],
  "top_k": [{"masker": "oracle_top_k", "heavy_size": 4}],
  "top_k_share": [{"masker": "oracle_top_k", "heavy_size": 0.2}],
  "top_k_many": [{"masker": "oracle_top_k", "heavy_size": 100000}],
  "top_p": [{"masker": "oracle_top_p", "top_p": 0.8}],
  "top_p_all": [{"masker": "oracle_top_p", "top_p": 1}],
  "top_p_total": [{"masker": "local", "window_size": 3}, {"masker": "oracle_top_p", "top_p": 0.7, "of": "total"}],
  "threshold": [{"masker": "sink", "sink_size": 1},
                {"masker": "oracle_top_k", "select": "threshold", "threshold": 0.3}],
  "random": [{"masker": "random_sampling", "sampling_rate": 0.3}],
  "random_all": [{"masker": "random_sampling", "sampling_rate": 1}],
  "fixed": [{"masker": "sink", "sink_size": 2}, {"masker": "local", "window_size": 3},
            {"masker": "strided", "stride": 7}],
  "sink_local_top_k": [{"masker": "sink", "sink_size": 2}, {"masker": "local", "window_size": 3},
                       {"masker": "oracle_top_k", "heavy_size": "20%"}],
  "top_k_then_sink": [{"masker": "oracle_top_k", "heavy_size": 3}, {"masker": "sink", "sink_size": 2}],
  "two_top_k": [{"masker": "oracle_top_k", "heavy_size": 2},
                {"masker": "oracle_top_k", "heavy_size": 3, "name": "again"}],
  "random_then_top_k": [{"masker": "random_sampling", "sampling_rate": 0.5, "seed": 9},
                        {"masker": "oracle_top_k", "heavy_size": 3}],
  "all": [{"masker": "sink", "sink_size": 2}, {"masker": "local", "window_size": 2},
          {"masker": "oracle_top_p", "top_p": 0.5}, {"masker": "random_sampling", "sampling_rate": 0.25}]
})";

struct Case {
  const char* name;
  Shape shape;
};

const Case cases[] = {
    {"one_key", {.keys = 1}},
    {"decode", {.query_heads = 4, .kv_heads = 2, .keys = 37, .head_dim = 16, .value_dim = 16}},
    {"square", {.query_heads = 2, .kv_heads = 1, .queries = 33, .keys = 33, .head_dim = 8, .value_dim = 5}},
    {"batch",
     {.batch = 3, .query_heads = 6, .kv_heads = 2, .queries = 5, .keys = 19, .head_dim = 3, .value_dim = 7}},
    {"not_causal", {.query_heads = 2, .kv_heads = 2, .queries = 6, .keys = 40, .causal = false}},
    {"shorter", {.batch = 2, .queries = 9, .keys = 12, .shorter_sequences = true}},
    {"bias", {.query_heads = 2, .queries = 7, .keys = 30, .bias = Shape::Bias::additive}},
    {"holes", {.query_heads = 4, .kv_heads = 2, .queries = 9, .keys = 70, .bias = Shape::Bias::holes}},
    {"head_holes",
     {.query_heads = 4, .kv_heads = 1, .queries = 9, .keys = 70, .bias = Shape::Bias::per_head_holes}},
    {"sinks", {.query_heads = 4, .kv_heads = 2, .queries = 8, .keys = 21, .sinks = true}},
    {"wide", {.query_heads = 2, .kv_heads = 1, .queries = 2, .keys = 140, .head_dim = 96, .value_dim = 130}},
};

attention::AttentionOptions options_of(const Shape& shape) {
  return {.causal = shape.causal, .scale = 0.4f, .on_empty_row = config::EmptyRow::zeros, .seed = 11};
}

class PluginReference : public testing::TestWithParam<Case> {
 protected:
  const config::Document document = document_with(pipelines_json);
  const config::RunPlan plan = config::resolve(document, catalog());
  const std::vector<attention::Pipeline> pipelines = bind(document);
  const SmallProblem problem = make_problem(GetParam().shape, 5);
  const attention::AttentionOptions options = options_of(GetParam().shape);
};

/// Keys that differ between two selections must be near ties: float and double logits may order them
/// differently.
void expect_same_selection(const NaiveRow& naive, const float* probability, const std::string& what) {
  std::vector<double> missing, extra;
  for (size_t j = 0; j < naive.probability.size(); ++j) {
    const double difference = double{probability[j]} - naive.probability[j];
    if (std::abs(difference) < 1e-6) continue;
    ASSERT_TRUE(naive.visible[j]) << what << ": key " << j << " is not visible";
    (difference < 0 ? missing : extra).push_back(naive.logits[j]);
  }
  ASSERT_EQ(missing.size(), extra.size()) << what;
  for (size_t i = 0; i < missing.size(); ++i) EXPECT_NEAR(missing[i], extra[i], 1e-5) << what;
}

TEST_P(PluginReference, AgreesOnEveryTarget) {
  const data::Geometry& g = problem.geometry;
  const Json resolved = to_json(plan, catalog())["pipelines"];
  for (const auto* target : kernels::all_tables()) {
    const auto planes = run_pipelines(pipelines, problem, options, {.kernels = target});
    for (size_t p = 0; p < pipelines.size(); ++p) {
      for (int64_t line = 0; line < g.batch * g.query_heads * g.queries; ++line) {
        const int64_t query = line % g.queries, h = line / g.queries % g.query_heads;
        const int64_t b = line / g.queries / g.query_heads;
        const std::string what =
            std::string(target->target) + " " + pipelines[p].name() + " row " + std::to_string(line);
        const NaiveRow naive = naive_row(resolved[pipelines[p].name()], problem, options, b, h, query);
        expect_same_selection(naive, planes[p].probability.data() + line * g.keys, what);
        if (std::isfinite(naive.lse)) {
          EXPECT_NEAR(planes[p].lse[static_cast<size_t>(line)], naive.lse, 1e-5) << what;
        } else {
          EXPECT_EQ(planes[p].lse[static_cast<size_t>(line)], naive.lse) << what;
        }
        for (int64_t c = 0; c < g.value_dim; ++c) {
          EXPECT_NEAR(planes[p].output[static_cast<size_t>(line * g.value_dim + c)],
                      naive.output[static_cast<size_t>(c)], 2e-5)
              << what;
        }
        if (HasFailure()) return;
      }
    }
  }
}

TEST_P(PluginReference, SameBitsForTilesThreadsAndDecode) {
  const auto expected = run_pipelines(pipelines, problem, options);
  for (int threads : {1, 2, 5}) {
    const base::ThreadLimit limit(threads);
    for (int64_t tile_bytes : {1, 3000, 1 << 24}) {
      const auto planes = run_pipelines(pipelines, problem, options, {.tile_bytes = tile_bytes});
      for (size_t p = 0; p < planes.size(); ++p) {
        EXPECT_EQ(planes[p], expected[p])
            << pipelines[p].name() << " threads " << threads << " tile " << tile_bytes;
      }
    }
  }
  if (!options.causal) return;
  const auto decoded = run_pipelines(pipelines, problem, options, {.one_by_one = true});
  for (size_t p = 0; p < decoded.size(); ++p) {
    EXPECT_EQ(decoded[p], expected[p]) << pipelines[p].name() << " decoded";
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, PluginReference, testing::ValuesIn(cases),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(PluginTable, HasEveryPluginOfTheBuild) {
  std::set<std::string> used;
  const Json pipelines = Json::parse(pipelines_json);
  for (const auto& pipeline : pipelines) {
    for (const auto& stage : pipeline) used.insert(stage["masker"].get<std::string>());
  }
  // Methods whose double-precision version lies with tests of their own.
  const std::map<std::string, std::string> elsewhere = {
      {"adaptive_sampling", "tests/property/adaptive_sampling_test.cpp"},
      {"double_sparsity", "tests/unit/masker_labels_test.cpp"},
      {"h2o", "tests/unit/masker_eviction_test.cpp"},
      {"hash_attention", "tests/unit/hash_attention_test.cpp"},
      {"magic_pig", "tests/unit/magic_pig_test.cpp"},
      {"pq_cache", "tests/unit/masker_pq_cache_test.cpp"},
      {"quest", "tests/unit/masker_labels_test.cpp"},
      {"snap_kv", "tests/unit/masker_eviction_test.cpp"},
      {"socket", "tests/unit/masker_socket_test.cpp"},
      {"twilight", "tests/unit/masker_eviction_test.cpp"},
  };
  for (const auto& [id, file] : elsewhere) {
    used.insert(id);
    EXPECT_TRUE(std::filesystem::exists(std::string(ATTNLAB_SOURCE_DIR) + "/" + file)) << file;
  }
  for (const auto& id : method_ids()) EXPECT_TRUE(used.contains(id)) << id << " has no case in this file";
  EXPECT_TRUE(catalog().refused().empty());
}

}  // namespace
}  // namespace attnlab::test
