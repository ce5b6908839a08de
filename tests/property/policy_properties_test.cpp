// A policy gives each head the keys, with their probabilities, and the output of the pipeline that it names.
#include <gtest/gtest.h>

#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/support/catalog.hpp"
#include "tests/support/small_problem.hpp"

namespace attnlab::test {
namespace {

using io::Json;

const std::vector<std::string> names = {"dense", "sampled", "heavy", "wide", "fitted"};

Json lists() {
  return Json::parse(R"({
      "dense": [],
      "sampled": [{"masker": "sink", "sink_size": 2}, {"masker": "random_sampling", "sampling_rate": 0.3, "seed": 5}],
      "heavy": [{"masker": "local", "window_size": 3}, {"masker": "oracle_top_k", "heavy_size": "20%", "share": "kv_group"}],
      "wide": [{"masker": "strided", "stride": 3}],
      "fitted": [{"masker": "sink", "sink_size": 1},
                 {"masker": "pq_cache", "heavy_size": "20%", "pq_group_factor": 1, "pq_bits": 3}]})");
}

/// A value for a key of a policy, a name or the stages themselves.
Json choice_of(const Json& pipelines, const std::string& name) {
  return *rc::gen::arbitrary<bool>() ? Json(name) : pipelines[name];
}

Shape random_shape() {
  Shape shape;
  shape.batch = *rc::gen::inRange<int64_t>(1, 3);
  shape.kv_heads = *rc::gen::inRange<int64_t>(1, 3);
  shape.query_heads = shape.kv_heads * *rc::gen::inRange<int64_t>(1, 5);
  shape.keys = *rc::gen::inRange<int64_t>(1, 70);
  shape.queries = *rc::gen::inRange<int64_t>(1, shape.keys + 1);
  shape.head_dim = *rc::gen::inRange<int64_t>(1, 12);
  shape.value_dim = *rc::gen::inRange<int64_t>(1, 12);
  shape.causal = *rc::gen::arbitrary<bool>();
  shape.bias = static_cast<Shape::Bias>(*rc::gen::inRange(0, 4));
  shape.shorter_sequences = *rc::gen::arbitrary<bool>();
  shape.sinks = *rc::gen::arbitrary<bool>();
  return shape;
}

/// Equal but for the order of float32 sums.
bool near(const std::vector<float>& a, const std::vector<float>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](float x, float y) { return x == y || std::abs(x - y) <= 1e-5F * (1 + std::abs(y)); });
}

/// Copies the rows of a query head.
void copy_head(const Planes& from, Planes& to, const data::Geometry& g, int64_t head) {
  const auto copy = [&](const std::vector<float>& source, std::vector<float>& target, int64_t width) {
    const int64_t size = g.queries * width;
    for (int64_t b = 0; b < g.batch; ++b) {
      const int64_t at = (b * g.query_heads + head) * size;
      std::copy_n(source.begin() + at, size, target.begin() + at);
    }
  };
  copy(from.probability, to.probability, g.keys);
  copy(from.output, to.output, g.value_dim);
  copy(from.lse, to.lse, 1);
}

RC_GTEST_PROP(Policies, RowsAreThoseOfThePipelinesRunAlone, ()) {
  const Shape shape = random_shape();
  const SmallProblem problem = make_problem(shape, *rc::gen::arbitrary<uint32_t>());
  Json pipelines = lists();
  std::vector<size_t> of_head;
  Json heads = Json::object(), everywhere = Json::object();
  for (int64_t h = 0; h < shape.query_heads; ++h) {
    of_head.push_back(*rc::gen::inRange<size_t>(0, names.size()));
    Json& place = *rc::gen::arbitrary<bool>() ? heads : everywhere;
    place[std::to_string(h)] = choice_of(lists(), names[of_head.back()]);
  }
  // The problem is layer 3.
  if (!heads.empty()) pipelines["policy"]["layers"]["3"] = heads;
  pipelines["policy"]["layers"]["*"] = "wide";
  if (!everywhere.empty()) pipelines["policy"]["heads"] = everywhere;
  RC_LOG() << pipelines["policy"].dump() << "\n";
  const config::Document document = document_with(pipelines.dump());
  const attention::AttentionOptions options = {
      .causal = shape.causal, .scale = 0.5f, .on_empty_row = config::EmptyRow::zeros, .seed = 3};
  const std::vector<attention::Pipeline> bound = bind(document);
  const Manner manner{.tile_bytes = *rc::gen::inRange<int64_t>(1, 20000)};
  const std::vector<Planes> planes = run_pipelines(bound, problem, options, manner);
  Planes expected = planes[0];
  for (int64_t h = 0; h < shape.query_heads; ++h) {
    copy_head(planes[of_head[static_cast<size_t>(h)]], expected, problem.geometry, h);
  }
  RC_ASSERT(planes.back().probability == expected.probability);
  // Not bit by bit: which rows of a group go over the union of their lists depends on all of them.
  RC_ASSERT(near(planes.back().output, expected.output));
  RC_ASSERT(near(planes.back().lse, expected.lse));
}

/// A mask may hide other keys from each head, also from neighbours that are dense.
TEST(Policies, DenseHeadsSeeTheirOwnKeys) {
  Json pipelines = lists();
  pipelines["policy"]["layers"]["*"] = "dense";
  pipelines["policy"]["heads"]["0"] = "sampled";
  const config::Document document = document_with(pipelines.dump());
  const std::vector<attention::Pipeline> bound = bind(document);
  const SmallProblem problem = make_problem(
      {.query_heads = 4, .kv_heads = 1, .queries = 9, .keys = 33, .bias = Shape::Bias::per_head_holes}, 7);
  const auto planes = run_pipelines(bound, problem, {.causal = true, .scale = 0.5f, .seed = 3});
  Planes expected = planes[0];
  copy_head(planes[1], expected, problem.geometry, 0);
  EXPECT_EQ(planes.back().probability, expected.probability);
}

/// The rest of the layers decides here: the problem is layer 3.
TEST(Policies, AWholePipelineInEveryLayerIsThatPipeline) {
  for (const std::string& name : names) {
    Json pipelines = lists();
    pipelines["policy"]["layers"]["0-2"] = "wide";
    pipelines["policy"]["layers"]["*"] = name;
    const config::Document document = document_with(pipelines.dump());
    const std::vector<attention::Pipeline> bound = bind(document);
    const SmallProblem problem = make_problem({.query_heads = 4, .kv_heads = 2, .queries = 9, .keys = 33}, 7);
    const auto planes = run_pipelines(bound, problem, {.causal = true, .scale = 0.5f, .seed = 3});
    const size_t alone = static_cast<size_t>(std::find(names.begin(), names.end(), name) - names.begin());
    EXPECT_TRUE(planes.back() == planes[alone]) << name;
  }
}

}  // namespace
}  // namespace attnlab::test
