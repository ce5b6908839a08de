// Dense rows have the same bits by way of exact logits, of packed keys and of streamed keys.
#include <gtest/gtest.h>

#include "core/base/parallel.hpp"
#include "tests/support/catalog.hpp"
#include "tests/support/small_problem.hpp"

namespace attnlab::test {
namespace {

using Bias = Shape::Bias;

struct Case {
  const char* name;
  Shape shape;
};

// Rows of a KV head: below kernels::kPackingRows keys are streamed, from there on they are packed.
const Case cases[] = {
    {"streamed",
     {.query_heads = 6, .kv_heads = 2, .queries = 7, .keys = 300, .head_dim = 20, .value_dim = 9}},
    {"packed", {.query_heads = 6, .kv_heads = 2, .queries = 90, .keys = 300, .head_dim = 20, .value_dim = 9}},
    {"packed_batch", {.batch = 2, .queries = 129, .keys = 129, .shorter_sequences = true, .sinks = true}},
    {"not_causal", {.query_heads = 2, .queries = 30, .keys = 257, .causal = false}},
    {"bias", {.query_heads = 4, .kv_heads = 2, .queries = 40, .keys = 150, .bias = Bias::additive}},
    {"holes", {.query_heads = 4, .kv_heads = 2, .queries = 40, .keys = 150, .bias = Bias::holes}},
    {"head_holes",
     {.query_heads = 4, .queries = 5, .keys = 150, .bias = Bias::per_head_holes, .sinks = true}},
};

class DenseRows : public testing::TestWithParam<Case> {};

TEST_P(DenseRows, HaveTheSameBitsEveryWay) {
  const Shape& shape = GetParam().shape;
  const SmallProblem problem = make_problem(shape, 17);
  const auto pipelines = bind(document_with(R"({"dense": []})"));
  const attention::AttentionOptions options{
      .causal = shape.causal, .scale = 0.3f, .on_empty_row = config::EmptyRow::zeros, .seed = 1};
  for (const std::string& name : kernels::table_names()) {
    const kernels::KernelTable* table = kernels::find_table(name);
    const auto by_logits = run_pipelines(pipelines, problem, options, {.kernels = table});
    for (const int64_t tile_bytes : {int64_t{1}, int64_t{1} << 22}) {
      for (const int threads : {1, 3}) {
        const base::ThreadLimit limit(threads);
        const Manner manner{.kernels = table, .tile_bytes = tile_bytes, .exact = false};
        EXPECT_EQ(run_pipelines(pipelines, problem, options, manner), by_logits) << name << ' ' << tile_bytes;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, DenseRows, testing::ValuesIn(cases),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace attnlab::test
