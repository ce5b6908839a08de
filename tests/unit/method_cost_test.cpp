// Index and search bytes of methods by hand, beside what the host allocates and counts. quest and
// double_sparsity (masker_labels_test), pq_cache, socket and magic_pig have tests of their own.
#include <gtest/gtest.h>

#include "tests/support/catalog.hpp"
#include "tests/support/method_files.hpp"
#include "tests/support/small_problem.hpp"

namespace attnlab::test {
namespace {

struct Case {
  const char* name;
  const char* stages;
  uint64_t index;   ///< bytes of the last stage's state for 40 keys of one KV head
  uint64_t search;  ///< bytes that it reads for one query of two heads
};

constexpr uint64_t keys = 40, key_bytes = 8 * sizeof(float);
/// Of a query MLP 8 -> 7 -> 20 with biases.
constexpr uint64_t mlp_bytes = (9 * 7 + 8 * 20) * sizeof(float);

const Case cases[] = {
    {"sink", R"([{"masker": "sink"}])", 0, 0},
    {"local", R"([{"masker": "local"}])", 0, 0},
    {"strided", R"([{"masker": "strided", "stride": 3}])", 0, 0},
    {"random_sampling", R"([{"masker": "random_sampling", "sampling_rate": 0.2}])", 0, 0},
    // The heads of a group share the keys that exact logits read.
    {"oracle_top_k", R"([{"masker": "oracle_top_k", "heavy_size": 4}])", 0, keys* key_bytes},
    {"oracle_top_p", R"([{"masker": "oracle_top_p", "top_p": 0.5}])", 0, keys* key_bytes},
    {"importance", R"([{"masker": "oracle_top_k", "select": "importance", "sample_size": 4}])", 0,
     keys* key_bytes},
    // Each head gathers the keys of its own prior.
    {"twilight", R"([{"masker": "strided", "stride": 2}, {"masker": "twilight"}])", 0,
     2 * keys / 2 * key_bytes},
    // 20 bits in one word, read once for the group, and the MLP that hashes the query; another code for each
    // query head.
    {"hash_of_kv_head",
     R"([{"masker": "hash_attention", "heavy_size": 4, "hat_weight_file": "${FILE:hash}"}])", keys * 8,
     keys * 8 + mlp_bytes},
    {"hash_of_query_heads",
     R"([{"masker": "hash_attention", "heavy_size": 4, "hat_weight_file": "${FILE:hash_of_query_heads}"}])",
     2 * keys * 8, 2 * (keys * 8 + mlp_bytes)},
    // One float, one byte for each key; the prompt's length.
    {"h2o", R"([{"masker": "h2o"}])", keys * 4, keys * 4},
    {"snap_kv", R"([{"masker": "snap_kv", "window": 4}])", keys + 8, keys + 8},
};

class MethodCost : public testing::TestWithParam<Case> {};

TEST_P(MethodCost, IsWhatIsAllocatedAndRead) {
  const SmallProblem problem =
      make_problem({.query_heads = 2, .queries = 8, .keys = keys, .head_dim = 8, .value_dim = 4}, 3);
  const TemporaryFiles files;
  const auto pipelines = bind(document_with(
      with_method_files(R"({"main": )" + std::string(GetParam().stages) + "}", problem, files)));
  const attention::AttentionOptions options{
      .causal = true, .scale = 0.4f, .on_empty_row = config::EmptyRow::zeros, .seed = 1};
  attention::Session session(pipelines, problem.layer, problem.geometry, options);
  attention::Engine engine({&kernels::best_table(), 1 << 20, true});
  session.append(keys - 1);
  session.end_prompt();
  session.append(keys);
  engine.attend(session, 7, 1, {}, [](const attention::TileOutcome&) {});
  EXPECT_EQ(session.index_bytes(0).back().total(), GetParam().index);
  EXPECT_EQ(engine.clocks().search_bytes[0].back(), GetParam().search);
  EXPECT_EQ(engine.clocks().queries[0], 1u);
}

INSTANTIATE_TEST_SUITE_P(Methods, MethodCost, testing::ValuesIn(cases),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace attnlab::test
