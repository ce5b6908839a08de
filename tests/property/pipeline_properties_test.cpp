// Laws that hold for any pipeline on any problem.
#include <gtest/gtest.h>

#include <rapidcheck/gtest.h>

#include "core/base/parallel.hpp"
#include "core/mask/visibility.hpp"
#include "tests/support/catalog.hpp"
#include "tests/support/small_problem.hpp"

namespace attnlab::test {
namespace {

using io::Json;

Json random_stage(bool may_sample) {
  const int kind = *rc::gen::inRange(0, may_sample ? 7 : 6);
  const int count = *rc::gen::inRange(1, 9);
  const double share = *rc::gen::inRange(1, 11) * 0.1;
  switch (kind) {
    case 0:
      return {{"masker", "sink"}, {"sink_size", count}};
    case 1:
      return {{"masker", "local"}, {"window_size", share}};
    case 2:
      return {{"masker", "strided"}, {"stride", count + 1}, {"offset", count}};
    case 3:
      return {{"masker", "oracle_top_k"},
              {"heavy_size", count},
              {"share", count % 2 == 0 ? "kv_group" : "query_head"}};
    case 4:
      return {{"masker", "oracle_top_p"}, {"top_p", share}};
    case 5:
      return {{"masker", "oracle_top_k"}, {"select", "threshold"}, {"threshold", share - 0.5}};
    default:
      return {{"masker", "random_sampling"}, {"sampling_rate", share}};
  }
}

/// A pipeline of one to four stages, at most one of which samples.
Json random_pipeline() {
  Json stages = Json::array();
  bool may_sample = true;
  const int count = *rc::gen::inRange(1, 5);
  for (int i = 0; i < count; ++i) {
    Json stage = random_stage(may_sample);
    may_sample = may_sample && stage["masker"] != "random_sampling";
    stage["name"] = "stage" + std::to_string(i);
    stages.push_back(stage);
  }
  return stages;
}

Shape random_shape() {
  Shape shape;
  shape.batch = *rc::gen::inRange<int64_t>(1, 3);
  shape.kv_heads = *rc::gen::inRange<int64_t>(1, 3);
  shape.query_heads = shape.kv_heads * *rc::gen::inRange<int64_t>(1, 4);
  shape.keys = *rc::gen::inRange<int64_t>(1, 90);
  shape.queries = *rc::gen::inRange<int64_t>(1, shape.keys + 1);
  shape.head_dim = *rc::gen::inRange<int64_t>(1, 20);
  shape.value_dim = *rc::gen::inRange<int64_t>(1, 20);
  shape.causal = *rc::gen::arbitrary<bool>();
  shape.bias = static_cast<Shape::Bias>(*rc::gen::inRange(0, 4));
  shape.shorter_sequences = *rc::gen::arbitrary<bool>();
  shape.sinks = *rc::gen::arbitrary<bool>();
  return shape;
}

struct Situation {
  Situation() : shape(random_shape()), problem(make_problem(shape, *rc::gen::arbitrary<uint32_t>())) {
    Json pipelines;
    pipelines["main"] = random_pipeline();
    RC_LOG() << pipelines.dump() << " on B " << shape.batch << " Hq " << shape.query_heads << " Hkv "
             << shape.kv_heads << " Sq " << shape.queries << " Sk " << shape.keys << " D " << shape.head_dim
             << "\n";
    document = document_with(pipelines.dump());
    bound = bind(document);
    options = {.causal = shape.causal, .scale = 0.5f, .on_empty_row = config::EmptyRow::zeros, .seed = 3};
  }
  Shape shape;
  SmallProblem problem;
  config::Document document;
  std::vector<attention::Pipeline> bound;
  attention::AttentionOptions options;
};

RC_GTEST_PROP(Pipelines, TilesAndThreadsChangeNoBit, ()) {
  const Situation s;
  const auto expected = run_pipelines(s.bound, s.problem, s.options);
  const base::ThreadLimit limit(*rc::gen::inRange(1, 4));
  const Manner manner{.tile_bytes = *rc::gen::inRange<int64_t>(1, 20000)};
  RC_ASSERT(run_pipelines(s.bound, s.problem, s.options, manner) == expected);
}

RC_GTEST_PROP(Pipelines, DecodeGivesThePrefillRows, ()) {
  const Situation s;
  RC_PRE(s.shape.causal);
  RC_ASSERT(run_pipelines(s.bound, s.problem, s.options, {.one_by_one = true}) ==
            run_pipelines(s.bound, s.problem, s.options));
}

RC_GTEST_PROP(Pipelines, FutureKeysChangeNothing, ()) {
  const Situation s;
  RC_PRE(s.shape.causal && !s.shape.shorter_sequences && s.shape.keys > 1);
  const auto before = run_pipelines(s.bound, s.problem, s.options);
  SmallProblem changed = make_problem(s.shape, 0);
  changed.layer = s.problem.layer;
  tensor::Tensor keys = tensor::Tensor::zeros(tensor::DType::f32, s.problem.layer.storage[1].shape());
  auto values = keys.mutable_values<float>();
  std::copy(s.problem.layer.storage[1].values<float>().begin(),
            s.problem.layer.storage[1].values<float>().end(), values.begin());
  // Only the last query may see the last key.
  for (int64_t i = 0; i < s.shape.batch * s.shape.kv_heads; ++i) {
    const int64_t row = (i + 1) * s.shape.keys - 1;
    std::fill_n(values.begin() + row * s.shape.head_dim, s.shape.head_dim, 7.0f);
  }
  changed.layer.key = tensor::view_bhsd(keys);
  const auto after = run_pipelines(s.bound, changed, s.options);
  for (int64_t line = 0; line < s.shape.batch * s.shape.query_heads * s.shape.queries; ++line) {
    if (line % s.shape.queries == s.shape.queries - 1) continue;
    for (int64_t c = 0; c < s.shape.value_dim; ++c) {
      const auto at = static_cast<size_t>(line * s.shape.value_dim + c);
      RC_ASSERT(after[0].output[at] == before[0].output[at]);
    }
  }
}

RC_GTEST_PROP(Pipelines, OnlyVisibleKeysWithLegalProbabilities, ()) {
  const Situation s;
  const auto planes = run_pipelines(s.bound, s.problem, s.options);
  const mask::Shape shape{s.shape.batch, s.shape.query_heads, s.shape.queries, s.shape.keys};
  const mask::Visibility visibility(shape, s.shape.causal, s.problem.layer.valid, s.problem.layer.bias);
  size_t at = 0;
  for (int64_t b = 0; b < shape.batch; ++b) {
    for (int64_t h = 0; h < shape.heads; ++h) {
      for (int64_t q = 0; q < shape.queries; ++q) {
        for (int64_t k = 0; k < shape.keys; ++k, ++at) {
          const float p = planes[0].probability[at];
          RC_ASSERT(p >= 0 && p <= 1);
          RC_ASSERT(p == 0 || visibility.visible(b, h, q, k));
        }
      }
    }
  }
}

RC_GTEST_PROP(Pipelines, AddingAStageKeepsDeterministicKeys, ()) {
  const Situation s;
  Json stages = Json::parse(s.document.root()["pipelines"]["main"].dump());
  const auto before = run_pipelines(s.bound, s.problem, s.options);
  stages.push_back({{"masker", "oracle_top_k"}, {"name", "more"}, {"heavy_size", 2}});
  Json pipelines;
  pipelines["main"] = stages;
  const auto more = bind(document_with(pipelines.dump()));
  const auto after = run_pipelines(more, s.problem, s.options);
  for (size_t i = 0; i < before[0].probability.size(); ++i) {
    RC_ASSERT(after[0].probability[i] >= before[0].probability[i]);
  }
}

}  // namespace
}  // namespace attnlab::test
