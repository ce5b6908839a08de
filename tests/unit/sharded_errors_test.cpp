// Runs over ranks that fail, what they cost, and how rows are merged.
#include <gmock/gmock.h>

#include <chrono>
#include <cmath>
#include <limits>
#include <thread>
#include <vector>

#include "core/attention/merge.hpp"
#include "core/measure/sharded_cost.hpp"
#include "tests/unit/sharded_test_support.hpp"

namespace attnlab::measure {
namespace {

/// Any base::Ranks run in which rank `failing` fails.
std::string error_of(int failing, const std::function<void()>& fail) {
  std::string text;
  test::Post post(3);
  const Shape shape{.query_heads = 3, .kv_heads = 3, .queries = 4, .keys = 31};
  const MemorySource source(shape);
  base::thread_count();
  test::run_ranks(post, [&](base::Ranks& mine) {
    const Bound bound(several, Json::object());
    Exchange exchange(mine);
    ExperimentOptions options;
    options.execution.kernels = &kernels::best_table();
    const auto body = [&] {
      if (mine.rank() == failing) fail();
      if (mine.rank() == 0)
        run_sharded(bound.plan, bound.pipelines, source, options, exchange);
      else
        serve_shards(bound.plan, bound.pipelines, source, options, exchange);
    };
    if (mine.rank() != 0) {
      exchange.follow(body);
      return;
    }
    try {
      exchange.lead(body);
    } catch (const std::exception& error) {
      text = error.what();
    }
  });
  EXPECT_EQ(post.left(), 0);
  return text;
}

TEST(Sharded, AnErrorOfOneRankEndsTheRunOnAll) {
  using testing::HasSubstr;
  const auto user = [] {
    throw base::UserError("no such layer", {.file = "a.json", .pointer = "/layers", .found = "7"});
  };
  EXPECT_THAT(error_of(2, user), testing::AllOf(HasSubstr("no such layer (on rank 2)"), HasSubstr("a.json"),
                                                HasSubstr("/layers"), HasSubstr("7")));
  EXPECT_THAT(error_of(1, [] { throw std::bad_alloc(); }), HasSubstr("bad_alloc (on rank 1)"));
  EXPECT_THAT(error_of(0, user), HasSubstr("no such layer"));
  EXPECT_EQ(error_of(-1, user), "");
}

TEST(Sharded, APluginThatThrowsOnOneRankEndsTheRun) {
  plugin::SearchPath search;
  search.files.push_back(ATTNLAB_FIXTURES "/throws.so");
  const plugin::Catalog catalog = plugin::Catalog::scan(search, ATTNLAB_PROGRAM);
  const MemorySource source({.query_heads = 3, .kv_heads = 3, .queries = 4, .keys = 31});
  test::Post post(3);
  base::thread_count();
  const auto run = [&](base::Ranks& mine) {
    // The source's layer is 3.
    const std::string layer = mine.rank() == 2 ? "3" : "4";
    const auto document = test::document_with(R"({"all": [{"masker": "throws", "layer": )" + layer + "}]}");
    const config::RunPlan plan = config::resolve(document, catalog);
    Pipelines pipelines;
    pipelines.emplace_back(plan.pipelines[0], catalog, document);
    ExperimentOptions options;
    options.execution.kernels = &kernels::best_table();
    Exchange exchange(mine);
    if (mine.rank() == 0) {
      exchange.lead([&] { run_sharded(plan, pipelines, source, options, exchange); });
    } else {
      exchange.follow([&] { serve_shards(plan, pipelines, source, options, exchange); });
    }
  };
  EXPECT_THAT([&] { test::run_ranks(post, run); },
              testing::ThrowsMessage<base::UserError>(testing::AllOf(
                  testing::HasSubstr("the codebook is empty"), testing::HasSubstr("(on rank 2)"))));
  EXPECT_EQ(post.left(), 0);
}

/// A source that breaks for one KV head.
class BrokenSource : public MemorySource {
 public:
  using MemorySource::MemorySource;
  data::LayerProblem load_part(int layer, const data::Part& part) const override {
    if (part.kv_heads() == 1 && part.kv_head_begin == 1) throw base::UserError("NaN in k");
    return MemorySource::load_part(layer, part);
  }
};

TEST(Sharded, AnErrorWhileOthersWaitForMasksEndsTheRun) {
  const Shape shape{.query_heads = 4, .kv_heads = 4, .queries = 4, .keys = 31};
  const BrokenSource source(shape);
  const test::TemporaryFiles folder;
  EXPECT_THAT(
      [&] {
        run_over_threads({"", shape, several}, source, 3, folder.path(""));
      },
      testing::ThrowsMessage<base::UserError>(testing::HasSubstr("NaN in k (on rank 1)")));
}

TEST(Sharded, CostsTheBytesOfTheModel) {
  const Shape shape{
      .query_heads = 6, .kv_heads = 3, .queries = 16, .keys = 3000, .head_dim = 8, .value_dim = 4};
  const MemorySource source(shape);
  const std::string top = R"({"top": [{"masker": "oracle_top_k", "heavy_size": 600}]})";
  const test::TemporaryFiles folder;
  const ShardedRun run = run_over_threads({"", shape, top}, source, 3, folder.path(""));
  const ShardedProblem problem{.ranks = 3,
                               .query_heads = 6,
                               .kv_heads = 3,
                               .queries = 16,
                               .keys = 3000,
                               .head_dim = 8,
                               .value_dim = 4,
                               .listed = 0.2};
  const ShardedCost cost = sharded_cost(problem, {});
  for (const RankRecord& rank : run.ranks) {
    EXPECT_EQ(rank.keys, 1000);
    if (rank.rank == 0) continue;
    EXPECT_NEAR(static_cast<double>(rank.sent_partial_bytes), cost.partial_bytes, 100);
  }
  // A rank's masks hold about a third of the listed keys for each other rank, and 80 bytes a row beside them.
  double sent = 0;
  for (const RankRecord& rank : run.ranks) sent += static_cast<double>(rank.sent_mask_bytes);
  EXPECT_NEAR(sent / 3, cost.mask_bytes, 0.05 * cost.mask_bytes);
}

TEST(ShardedCost, FallsWithRanksUntilEveryHeadHasItsOwn) {
  ShardedProblem problem{.query_heads = 32,
                         .kv_heads = 8,
                         .queries = 1,
                         .keys = 1 << 24,
                         .head_dim = 128,
                         .value_dim = 128,
                         .listed = 0.01};
  const RankRates rates{.select_bytes = 1e10, .attend_bytes = 1e10, .network_bytes = 1e10, .latency = 1e-5};
  const ShardedCost one = sharded_cost(problem, rates);
  EXPECT_EQ(one.mask_bytes, 0);
  EXPECT_DOUBLE_EQ(one.shard_bytes, 8.0 * (1 << 24) * 1024);
  EXPECT_DOUBLE_EQ(one.select_seconds, 8.0 * (1 << 24) * 512 / 1e10);
  problem.ranks = 8;
  const ShardedCost eight = sharded_cost(problem, rates);
  EXPECT_DOUBLE_EQ(eight.attend_seconds * 8, one.attend_seconds);
  EXPECT_DOUBLE_EQ(eight.select_seconds * 8, one.select_seconds);
  EXPECT_DOUBLE_EQ(eight.head_bytes, eight.shard_bytes);
  problem.ranks = 16;
  const ShardedCost sixteen = sharded_cost(problem, rates);
  EXPECT_DOUBLE_EQ(sixteen.attend_seconds * 16, one.attend_seconds);
  EXPECT_DOUBLE_EQ(sixteen.select_seconds, eight.select_seconds);
}

TEST(Sharded, RefusesWhatNeedsAllKeys) {
  ExperimentOptions options;
  check_sharded(options);
  for (bool DumpChoice::*plane : {&DumpChoice::mask, &DumpChoice::weights}) {
    ExperimentOptions with = options;
    with.dump.*plane = true;
    EXPECT_THROW(check_sharded(with), base::UserError);
  }
  options.reference = true;
  EXPECT_THAT([&] { check_sharded(options); },
              testing::ThrowsMessage<base::UserError>(testing::HasSubstr("--reference")));
}

TEST(MergeRow, AddsUpInTheOrderOfTheParts) {
  const float a[] = {1, 2}, b[] = {3, -2};
  const double none = -std::numeric_limits<double>::infinity();
  double out[2];
  const attention::PartialRow parts[] = {{a, std::log(1.0)}, {nullptr, none}, {b, std::log(3.0)}};
  EXPECT_NEAR(attention::merge_row(parts, {}, out), std::log(4.0), 1e-15);
  EXPECT_NEAR(out[0], 2.5, 1e-15);
  EXPECT_NEAR(out[1], -1, 1e-15);
  EXPECT_NEAR(attention::merge_row(parts, std::log(4.0), out), std::log(8.0), 1e-15);
  EXPECT_NEAR(out[0], 1.25, 1e-15);
  EXPECT_EQ(attention::merge_row({parts + 1, 1}, {}, out), none);
  EXPECT_EQ(out[0], 0);
  EXPECT_EQ(attention::merge_row({parts + 1, 1}, 2.0, out), 2);
  const attention::PartialRow huge[] = {{a, 1000}, {b, 1000}};
  EXPECT_NEAR(attention::merge_row(huge, {}, out), 1000 + std::log(2.0), 1e-12);
}

TEST(MergeRow, NanStaysNan) {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<float> value = {1, 2};
  std::vector<double> out(2);
  for (const bool first : {true, false}) {
    const attention::PartialRow parts[] = {{value.data(), first ? nan : 1.0},
                                           {value.data(), first ? 1.0 : nan}};
    EXPECT_TRUE(std::isnan(attention::merge_row(parts, {}, out)));
    EXPECT_TRUE(std::isnan(out[0]));
  }
}

/// Whoever only sends hears of the end as well.
TEST(Exchange, AnErrorEndsARankThatWaitsForNobody) {
  test::Post post(2);
  int rounds = 0;
  test::run_ranks(post, [&](base::Ranks& mine) {
    Exchange exchange(mine);
    if (mine.rank() == 0) {
      EXPECT_THROW(exchange.lead([] { throw base::UserError("the disk is full"); }), base::UserError);
      return;
    }
    exchange.follow([&] {
      for (; rounds < 10000; ++rounds) {
        exchange.poll();
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    });
  });
  EXPECT_LT(rounds, 10000);
  EXPECT_EQ(post.left(), 0);
}

}  // namespace
}  // namespace attnlab::measure
