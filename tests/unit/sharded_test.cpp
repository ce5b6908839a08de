// Runs whose keys are divided among ranks give what one process gives.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <mutex>
#include <set>

#include "core/attention/mask_message.hpp"
#include "core/data/workload.hpp"
#include "core/io/npy.hpp"
#include "tests/support/methods.hpp"
#include "tests/unit/sharded_test_support.hpp"

namespace attnlab::measure {
namespace {

namespace fs = std::filesystem;

/// The outputs of all layers.
std::vector<float> read_outputs(const std::string& folder, const std::string& pipeline) {
  std::set<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder + "/" + pipeline)) files.insert(entry.path());
  std::vector<float> outputs;
  for (const fs::path& file : files) {
    const tensor::Tensor output = io::read_npy(file);
    outputs.insert(outputs.end(), output.values<float>().begin(), output.values<float>().end());
  }
  return outputs;
}

/// Numbers within 1e-5 of each other (relative above 1), everything else equal.
void expect_close(const Json& a, const Json& b, const std::string& place) {
  ASSERT_EQ(a.type_name(), std::string(b.type_name())) << place;
  if (a.is_number()) {
    const double x = a.get<double>(), y = b.get<double>();
    EXPECT_NEAR(x, y, 1e-5 * std::max(1.0, std::abs(x))) << place;
  } else if (a.is_structured()) {
    ASSERT_EQ(a.size(), b.size()) << place;
    for (auto x = a.begin(), y = b.begin(); x != a.end(); ++x, ++y) {
      expect_close(*x, *y, place + "/" + (a.is_object() ? x.key() : std::to_string(x - a.begin())));
    }
  } else {
    EXPECT_EQ(a, b) << place;
  }
}

void expect_same(const Case& c, const data::Source& source, const std::vector<int>& rank_counts,
                 size_t piece_bytes = 1 << 30) {
  SCOPED_TRACE(c.name);
  const test::TemporaryFiles alone, together;
  const Bound bound(c.pipelines, c.members);
  const RunRecord single = run_experiment(bound.plan, bound.pipelines, source, options_into(alone.path("")));
  for (const int ranks : rank_counts) {
    SCOPED_TRACE(std::to_string(ranks) + " ranks");
    const ShardedRun sharded = run_over_threads(c, source, ranks, together.path(""), piece_bytes);
    Json expected = result_json(single), found = result_json(sharded.run);
    expected["input"].erase("true_mass_difference");
    found["input"].erase("true_mass_difference");
    if (c.members.contains("heads")) {
      // One process also keeps state of the KV heads that are not measured.
      for (Json* json : {&expected, &found}) {
        for (Json& pipeline : (*json)["pipelines"]) pipeline.erase("state_bytes");
      }
    }
    expect_close(expected, found, "result");
    ASSERT_EQ(single.heads.size(), sharded.run.heads.size());
    for (size_t i = 0; i < single.heads.size(); ++i) {
      expect_close(head_json(single.heads[i]), head_json(sharded.run.heads[i]), "head");
    }
    ASSERT_EQ(sharded.ranks.size(), static_cast<size_t>(ranks));
    for (const auto& pipeline : bound.pipelines) {
      const auto a = read_outputs(alone.path(""), pipeline.name()),
                 b = read_outputs(together.path(""), pipeline.name());
      ASSERT_EQ(a.size(), b.size());
      for (size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], 1e-5) << pipeline.name() << " at " << i;
    }
  }
}

TEST(Sharded, GivesWhatOneProcessGives) {
  const Case cases[] = {
      {"odd keys, GQA, other values",
       {.batch = 2, .query_heads = 6, .kv_heads = 3, .queries = 9, .keys = 37, .head_dim = 8, .value_dim = 5},
       several},
      {"every position is a query",
       {.query_heads = 4, .kv_heads = 2, .queries = 21, .keys = 21, .head_dim = 4, .value_dim = 6},
       several},
      {"not causal", {.query_heads = 2, .kv_heads = 2, .queries = 5, .keys = 23, .causal = false}, several},
      {"valid lengths",
       {.batch = 3, .query_heads = 2, .kv_heads = 1, .queries = 4, .keys = 7, .shorter_sequences = true},
       several,
       {{"attention", {{"on_empty_row", "zeros"}}}}},
      {"learned sinks", {.query_heads = 4, .kv_heads = 2, .queries = 6, .keys = 19, .sinks = true}, several},
      {"bias that hides keys, by head",
       {.query_heads = 4, .kv_heads = 2, .queries = 6, .keys = 70, .bias = Shape::Bias::per_head_holes},
       several,
       {{"attention", {{"on_empty_row", "dense"}}}}},
      {"some heads",
       {.query_heads = 6, .kv_heads = 3, .queries = 4, .keys = 30},
       several,
       {{"heads", {2, 5}}, {"queries", 3}}},
  };
  for (const Case& c : cases) expect_same(c, MemorySource(c.shape), {1, 2, 3, 5});
}

TEST(Sharded, DecodesAndAsks) {
  const Shape shape{.batch = 2,
                    .query_heads = 4,
                    .kv_heads = 2,
                    .queries = 14,
                    .keys = 33,
                    .head_dim = 8,
                    .shorter_sequences = true};
  const std::string evicting = R"({
    "h2o": [{"masker": "h2o", "budget": 6, "recent": 4}, {"masker": "oracle_top_k", "heavy_size": 4}],
    "snap": [{"masker": "snap_kv", "budget": 5, "window": 4, "kernel_size": 3}],
    "share": [{"masker": "oracle_top_k", "heavy_size": 5, "share": "kv_group", "reduce": "mean"}]})";
  for (const char* mode : {"decode", "question"}) {
    expect_same({mode, shape, evicting, {{"mode", mode}, {"queries", 5}}}, MemorySource(shape), {1, 2, 3});
  }
}

TEST(Sharded, FeedbackCountsTheWholePrompt) {
  // More queries than the last ones that every method may see; a workload makes no more of them than asked.
  config::WorkloadSpec spec;
  spec.kind = "gaussian";
  spec.query_heads = spec.kv_heads = 2, spec.queries = 90, spec.keys = 97, spec.head_dim = spec.value_dim = 8;
  const auto source = data::open_workload(spec);
  const std::string h2o = R"({"h2o": [{"masker": "h2o", "budget": 8, "recent": 4}]})";
  expect_same({"h2o", {}, h2o, {{"mode", "decode"}, {"queries", 4}}}, *source, {2});
  const std::string snap = R"({"snap": [{"masker": "snap_kv", "budget": 9, "window": 20}]})";
  expect_same({"snap", {}, snap, {{"mode", "question"}, {"queries", 4}}}, *source, {2});
}

TEST(Sharded, KeepsPoliciesAndEmptyRows) {
  const Shape shape{.query_heads = 4, .kv_heads = 2, .queries = 6, .keys = 29};
  // Head 0 is dense, its neighbour of the same group is not.
  const std::string policy = R"({
    "window": [{"masker": "local", "window_size": 4}],
    "by_head": {"layers": {"*": "window"}, "heads": {"0": "dense"}},
    "dense_group": {"layers": {"*": "window"}, "heads": {"0-1": "dense"}}})";
  expect_same({"policy", shape, policy}, MemorySource(shape), {1, 2, 4});
  // Nothing is sampled of most rows.
  const std::string sparse = R"({"few": [{"masker": "magic_pig", "lsh_k": 30, "lsh_l": 2}]})";
  for (const char* rule : {"zeros", "dense", "error"}) {
    expect_same({rule, shape, sparse, {{"attention", {{"on_empty_row", rule}}}}}, MemorySource(shape),
                {2, 3});
  }
}

TEST(Sharded, MoreRanksThanKeysOrHeads) {
  const Shape shape{.query_heads = 2, .kv_heads = 1, .queries = 3, .keys = 3};
  expect_same({"three keys", shape, R"({"dense": [], "last": [{"masker": "local", "window_size": 2}]})"},
              MemorySource(shape), {3, 5});
}

TEST(Sharded, LargeMessagesGoInPieces) {
  const Shape shape{.query_heads = 4, .kv_heads = 2, .queries = 6, .keys = 29};
  expect_same({"pieces of 100 bytes", shape, several}, MemorySource(shape), {3}, 100);
}

TEST(Sharded, WorkloadsAreLoadedInParts) {
  for (const char* kind : {"gaussian", "power_law", "cone", "needle", "aggregation", "drift"}) {
    config::WorkloadSpec spec;
    spec.kind = kind;
    spec.query_heads = 4, spec.kv_heads = 2, spec.queries = 7, spec.keys = 93, spec.head_dim = 12;
    spec.value_dim = 9, spec.layers = 2, spec.depths = {0.1, 0.9};
    const auto source = data::open_workload(spec);
    expect_same({kind, {}, several, {{"queries", 3}}}, *source, {2, 3});
  }
}

TEST(Sharded, TheSameBitsForARankCount) {
  const Shape shape{.query_heads = 4, .kv_heads = 2, .queries = 9, .keys = 77, .head_dim = 8};
  const MemorySource source(shape);
  const Case c{"", shape, several};
  std::string first;
  for (int repeat = 0; repeat < 3; ++repeat) {
    const test::TemporaryFiles folder;
    const ShardedRun run = run_over_threads(c, source, 3, folder.path(""));
    std::string text = result_json(run.run).dump() + ranks_json(run.ranks).dump();
    if (first.empty()) first = text;
    EXPECT_EQ(text, first);
  }
}

/// The active keys of every row, with their log weights.
using Masks = std::map<std::array<int64_t, 3>, std::vector<std::pair<int64_t, float>>>;

void collect(const attention::RowList& list, int64_t first, std::vector<std::pair<int64_t, float>>& keys) {
  for (const auto& run : list.runs) {
    for (int64_t key = run.begin; key < run.end; ++key) keys.emplace_back(first + key, 0.0f);
  }
  for (const int32_t key : list.ids) keys.emplace_back(first + key, 0.0f);
  for (size_t i = 0; i < list.sampled.size(); ++i)
    keys.emplace_back(first + list.sampled[i], list.log_weight[i]);
}

TEST(Sharded, EveryMethodSelectsTheSameKeysOfAHeadAlone) {
  const Shape shape{.batch = 2,
                    .query_heads = 4,
                    .kv_heads = 2,
                    .queries = 8,
                    .keys = 41,
                    .head_dim = 8,
                    .shorter_sequences = true};
  const SmallProblem problem = test::make_problem(shape, 11);
  const data::Geometry& g = problem.geometry;
  const attention::AttentionOptions options{
      .scale = 0.4f, .on_empty_row = config::EmptyRow::zeros, .seed = 3};
  const attention::HeadRows rows{g.batch, 0, g.queries, g.group()};
  const std::vector<int64_t> bounds = {0, 13, 13, 30, 41};
  const test::TemporaryFiles files;
  for (const test::Method& method : test::methods) {
    SCOPED_TRACE(method.id);
    const auto pipelines =
        test::bind(test::document_with(test::with_method_files(method.pipelines, problem, files)));
    Masks whole, parts;
    std::mutex guard;
    attention::Engine engine({&kernels::best_table()});
    attention::Session session(pipelines, problem.layer, g, options);
    session.append(g.keys);
    session.end_prompt();
    engine.attend(session, 0, g.queries, {}, [&](const attention::TileOutcome& outcome) {
      const std::lock_guard lock(guard);
      attention::RowList dense;
      for (int64_t row = 0; row < outcome.tile->rows(); ++row) {
        const attention::TileIndex& index = outcome.tile->index();
        const int64_t line = rows.row(index.batch, outcome.tile->query_of(row)) + row % g.group();
        auto& keys = whole[{static_cast<int64_t>(outcome.pipeline), index.kv_head, line}];
        collect(attention::active_list(outcome, row, dense), 0, keys);
        std::sort(keys.begin(), keys.end());
      }
    });
    for (int64_t head = 0; head < g.kv_heads; ++head) {
      const data::LayerProblem part = data::cut(problem.layer, {head, head + 1, 0, g.keys, 0});
      attention::Engine selector({.kernels = &kernels::best_table(), .exact = false, .select_only = true});
      attention::Session alone(pipelines, part, g, options);
      alone.append(g.keys);
      alone.end_prompt();
      std::vector<std::string> messages(bounds.size() - 1);
      selector.attend(alone, 0, g.queries, {head}, [&](const attention::TileOutcome& outcome) {
        const std::lock_guard lock(guard);
        attention::append_masks(outcome, bounds, messages);
      });
      for (size_t i = 0; i < messages.size(); ++i) {
        const auto masks = attention::read_masks(messages[i], rows, pipelines.size());
        for (size_t p = 0; p < pipelines.size(); ++p) {
          for (int64_t row = 0; row < rows.size(); ++row) {
            auto& keys = parts[{static_cast<int64_t>(p), head, row}];
            collect(masks[p].lists.list(row), bounds[i], keys);
            std::sort(keys.begin(), keys.end());
          }
        }
      }
    }
    EXPECT_EQ(whole, parts);
  }
}

}  // namespace
}  // namespace attnlab::measure
