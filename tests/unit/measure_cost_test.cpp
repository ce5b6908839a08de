// The bytes that a run reports against what is allocated and read, by hand.
#include "core/measure/cost.hpp"

#include <attnlab/scorer.hpp>

#include <random>
#include <set>

#include "core/data/problem.hpp"
#include "core/measure/experiment.hpp"
#include "tests/support/catalog.hpp"
#include "tests/unit/attention_test_support.hpp"

namespace attnlab::measure {
namespace {

constexpr int64_t page_size = 4, head_dim = 6, value_dim = 4, key_bytes = 4 * (head_dim + value_dim);

/// Columns of all kinds beside opaque state; reads its page records once for each query.
struct Pages : attnlab::Scorer {
  struct State {
    State(const Pages&, const attnlab::Geometry&, attnlab::Philox) {}
    void append(const Pages&, const attnlab::KeyBlock& block, const attnlab::ColumnsView&) {
      keys = block.end();
    }
    void truncate(int64_t count) { keys = count; }
    uint64_t bytes() const { return static_cast<uint64_t>(keys) * 7; }
    int64_t keys = 0;
  };
  static void describe(attnlab::Description<Pages>& d) {
    d.id("cost.pages").summary("The first pages are the best.").selector("top_k");
  }
  int64_t score_page_size() const { return page_size; }
  void columns(attnlab::Columns& c, const attnlab::Geometry& g) const {
    c.per_token<uint8_t>("code", 3);
    c.per_page<float>("lowest", page_size, g.head_dim);
    c.per_sequence<float>("centre", 5);
  }
  void encode(const attnlab::KeyBlock&, attnlab::ColumnsView&) const {}
  void score(const attnlab::Tile& tile, attnlab::Scores& out) const {
    for (auto query : tile.queries()) {
      const int64_t pages = (tile.visible_end(query) + page_size - 1) / page_size;
      tile.column<float>("lowest").records(0, pages);
      tile.count_read(1);
      for (int64_t row = query.row; row < query.row + query.rows; ++row) {
        for (int64_t page = 0; page < out.unit_count(); ++page) {
          out.row(row)[static_cast<size_t>(page)] = -static_cast<float>(page);
        }
      }
    }
  }
};

ATTNLAB_STATIC_PLUGIN(methods, Pages);

/// Two layers, two sequences, two KV heads of two query heads, 70 keys and the last 10 queries.
RunRecord run(const std::string& pipelines, const std::string& mode, int64_t tile_bytes = 1 << 22) {
  static const plugin::Catalog catalog = [] {
    plugin::SearchPath search;
    search.folders.push_back({ATTNLAB_PLUGINS, "the build"});
    plugin::Catalog instance = plugin::Catalog::scan(search, ATTNLAB_PROGRAM);
    instance.add_static(methods, "test");
    return instance;
  }();
  config::Document document;
  const config::Origin origin{"test", "."};
  document.set("/pipelines", io::Json::parse(pipelines), origin);
  document.set("/input",
               io::Json::parse(R"({"workload": "gaussian", "layers": 2, "batch": 2, "query_heads": 4,
    "kv_heads": 2, "queries": 10, "keys": 70, "head_dim": 6, "value_dim": 4})"),
               origin);
  document.set("/mode", mode, origin);
  const config::RunPlan plan = config::resolve(document, catalog);
  std::vector<attention::Pipeline> bound;
  for (const auto& pipeline : plan.pipelines) bound.emplace_back(pipeline, catalog, document);
  ExperimentOptions options;
  options.execution = {&kernels::best_table(), tile_bytes, true};
  return run_experiment(plan, bound, *data::open_source(plan.input), options);
}

/// Mean of a count over the positions 60 to 69, which see 61 to 70 keys.
double mean_over_queries(const std::function<double(int64_t visible)>& count) {
  double sum = 0;
  for (int64_t visible = 61; visible <= 70; ++visible) sum += count(visible);
  return sum / 10;
}

TEST(MeasureCost, IsWhatIsAllocatedAndReadInEveryMode) {
  const char* pipelines = R"({
    "dense": [],
    "strided": [{"masker": "strided", "stride": 3}],
    "shared": [{"masker": "oracle_top_k", "heavy_size": 5, "share": "kv_group"}],
    "twice": [{"masker": "oracle_top_k", "heavy_size": 2, "share": "kv_group"},
              {"masker": "oracle_top_k", "name": "more", "heavy_size": 3, "share": "kv_group"}],
    "pages": [{"masker": "cost.pages", "heavy_size": 8}]})";
  for (const char* mode : {"prefill", "decode", "question"}) {
    SCOPED_TRACE(mode);
    const RunRecord record = run(pipelines, mode);
    EXPECT_EQ(record.input.kv_bytes_per_token, key_bytes);
    EXPECT_DOUBLE_EQ(record.input.dense_bytes_per_query, 65.5 * key_bytes);
    const auto& [dense, strided, shared, twice, pages] =
        std::tie(record.pipelines[0].cost, record.pipelines[1].cost, record.pipelines[2].cost,
                 record.pipelines[3].cost, record.pipelines[4].cost);
    EXPECT_TRUE(dense.stages.empty());
    EXPECT_DOUBLE_EQ(dense.attended_bytes_per_query, 65.5 * key_bytes);
    EXPECT_EQ(dense.search_bytes_per_query(), 0);

    EXPECT_EQ(strided.search_bytes_per_query(), 0);
    EXPECT_DOUBLE_EQ(strided.attended_bytes_per_query, mean_over_queries([](int64_t visible) {
                       return static_cast<double>((visible + 2) / 3 * key_bytes);
                     }));

    // Exact logits: every visible key once for the heads of a group.
    EXPECT_DOUBLE_EQ(shared.search_bytes_per_query(), 65.5 * 4 * head_dim);
    EXPECT_DOUBLE_EQ(shared.attended_bytes_per_query, 5 * key_bytes);
    ASSERT_EQ(twice.stages.size(), 2u);
    EXPECT_EQ(twice.stages[1].name, "more");
    EXPECT_DOUBLE_EQ(twice.search_bytes_per_query(), 2 * 65.5 * 4 * head_dim);
    EXPECT_DOUBLE_EQ(twice.attended_bytes_per_query, 5 * key_bytes);

    ASSERT_EQ(pages.stages.size(), 1u);
    const StageCost& stage = pages.stages[0];
    const int64_t page_bytes = 4 * head_dim;
    EXPECT_DOUBLE_EQ(stage.index_bytes_per_token, 3 + 18.0 * page_bytes / 70);
    EXPECT_DOUBLE_EQ(stage.index_bytes_per_sequence, 20);
    EXPECT_DOUBLE_EQ(stage.state_bytes_per_token, 7);
    EXPECT_DOUBLE_EQ(stage.search_bytes_per_query, mean_over_queries([&](int64_t visible) {
                       return static_cast<double>((visible + 3) / 4 * page_bytes + 1);
                     }));
    EXPECT_DOUBLE_EQ(pages.attended_bytes_per_query, 8 * key_bytes);
    const double states = 2 * 2 * 2;  // layers, sequences, KV heads
    EXPECT_NEAR(static_cast<double>(record.pipelines[4].state_bytes),
                states * (70 * (stage.index_bytes_per_token + stage.state_bytes_per_token) +
                          stage.index_bytes_per_sequence),
                1e-6);
  }
}

/// Queries of dense layers search nothing and count as well.
TEST(MeasureCost, OfAPolicyIsTheMeanOverAllLayers) {
  const RunRecord record = run(R"({
    "shared": [{"masker": "oracle_top_k", "heavy_size": 5, "share": "kv_group"}],
    "policy": {"layers": {"0": "dense", "1": "shared"}}})",
                               "prefill");
  const Cost &alone = record.pipelines[0].cost, &policy = record.pipelines[1].cost;
  EXPECT_DOUBLE_EQ(policy.search_bytes_per_query(), alone.search_bytes_per_query() / 2);
  EXPECT_DOUBLE_EQ(policy.attended_bytes_per_query, (65.5 + 5) / 2 * key_bytes);
}

TEST(MeasureCost, DoesNotDependOnTiles) {
  const char* pipelines = R"({"pages": [{"masker": "cost.pages", "heavy_size": 8}],
    "top": [{"masker": "oracle_top_p", "top_p": 0.5}]})";
  EXPECT_EQ(result_json(run(pipelines, "prefill", 1)), result_json(run(pipelines, "prefill", 1 << 22)));
}

/// Heads that choose for themselves read what any of them chose.
TEST(MeasureCost, HeadsOfAGroupShareWhatTheyRead) {
  constexpr int64_t group = 3, keys = 150, queries = 20;
  for (const bool hidden : {false, true}) {
    attention::SmallProblem problem =
        attention::random_problem({1, group, 1, queries, keys, head_dim, value_dim}, 5);
    if (hidden) attention::hide_at_random(problem, group, 0.3, 5);
    attention::Tile tile = attention::tile_of(problem);
    attention::Selection selection;
    selection.reset(tile.rows());
    std::mt19937 random(9);
    std::set<std::pair<int64_t, int32_t>> attended, visible;
    for (int64_t row = 0; row < tile.rows(); ++row) {
      attention::RowList& list = selection.assign(row, 1);
      for (int32_t key = 0; key < keys; ++key) {
        if (!attention::visible(tile, row, key)) continue;
        visible.insert({row / group, key});
        const auto kind = random() % 6;
        if (kind > 2) continue;
        attended.insert({row / group, key});
        if (kind == 0) list.runs.push_back({key, key + 1});
        if (kind == 1) list.ids.push_back(key);
        if (kind == 2) {
          list.sampled.push_back(key);
          list.log_weight.push_back(1);
        }
      }
      attention::normalise_runs(list.runs);
    }
    attention::TileOutcome outcome;
    outcome.tile = &tile;
    outcome.selection = &selection;
    CostCounter counter(1);
    counter.add(outcome);
    const attention::Pipeline none({}, test::catalog(), {});
    EXPECT_DOUBLE_EQ(counter.cost(0, none, {}).attended_bytes_per_query * queries,
                     static_cast<double>(attended.size()) * key_bytes);
    EXPECT_DOUBLE_EQ(counter.dense_bytes_per_query() * queries,
                     static_cast<double>(visible.size()) * key_bytes);
  }
}

}  // namespace
}  // namespace attnlab::measure
