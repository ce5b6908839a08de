// The suites of `attnlab bench`: their cases are well-formed, and figures are what samples and probes say.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "core/base/parallel.hpp"
#include "core/measure/kernel_bench/kernel_bench.hpp"

namespace attnlab::measure {
namespace {

TEST(MeasureKernelBench, SpreadIsOverSortedValues) {
  const Spread odd = spread({3, 1, 2});
  EXPECT_EQ(odd.median, 2);
  EXPECT_EQ(odd.minimum, 1);
  EXPECT_EQ(odd.maximum, 3);
  EXPECT_EQ(spread({4, 1, 2, 8}).median, 3) << "of an even number: the mean of the middle two";
}

TEST(MeasureKernelBench, CasesHaveNamesOfTheirOwnAndBaselinesInTheirFamily) {
  for (const bool quick : {false, true}) {
    for (const auto& cases : {kernel_cases(quick), pipeline_cases(quick)}) {
      std::map<std::string, std::string> family_of;
      std::set<std::string> closed;
      std::string open;
      for (const KernelCase& subject : cases) {
        EXPECT_TRUE(family_of.emplace(subject.name, subject.family).second) << subject.name;
        if (subject.family != open) {
          EXPECT_TRUE(closed.insert(subject.family).second) << "family " << subject.family << " lies apart";
        }
        open = subject.family;
      }
      for (const KernelCase& subject : cases) {
        if (!subject.baseline.empty()) {
          EXPECT_EQ(family_of[subject.baseline], subject.family) << subject.name;
        }
      }
    }
  }
}

TEST(MeasureKernelBench, APoolIsSharedWhileItIsInUseAndHoldsDistinctKeys) {
  CaseContext context;
  context.pool_bytes = 5 << 20;
  const KvShape shape{2, 1024, 64};
  auto pool = context.kv(shape);
  EXPECT_EQ(pool->layers(), 5);
  EXPECT_EQ(context.kv(shape), pool);
  std::set<float> firsts;
  for (int64_t key = 0; key < shape.keys; ++key) firsts.insert(pool->key(4, 1)[key * shape.head_dim]);
  EXPECT_GT(firsts.size(), 1000u);
  context.pool_bytes = 0;
  EXPECT_EQ(context.kv({1, 16, 8})->layers(), 1) << "one layer at least";
}

TEST(MeasureKernelBench, SamplesAlternateAndAreHeldAgainstTheirBaseline) {
  const base::ThreadLimit threads(1);
  CaseContext context;
  context.kernels = &kernels::best_table();
  std::string calls;
  const auto case_of = [&](char letter, int milliseconds, std::string baseline) {
    KernelCase subject;
    subject.name = std::string(1, letter);
    subject.family = "letters";
    subject.flops = 1000;
    subject.bytes = letter == 'a' ? 0 : 4000;
    subject.baseline = std::move(baseline);
    subject.make = [&calls, letter, milliseconds](CaseContext&) {
      return PreparedCase{[&calls, letter, milliseconds] {
                            calls += letter;
                            const Instant start = Instant::now();
                            while (Instant::now().cpu - start.cpu < milliseconds * 1e-3) {
                            }
                          },
                          0, "", 0};
    };
    return subject;
  };
  std::vector<KernelBenchRecord> records;
  bench_kernels({case_of('a', 4, ""), case_of('b', 1, "a")}, context, {.rounds = 3, .quick = true},
                [&](const std::vector<KernelBenchRecord>& family) { records = family; });
  EXPECT_EQ(calls,
            "ab"
            "ababab")
      << "each once untimed, then in turn";
  ASSERT_EQ(records.size(), 2u);
  const KernelBenchRecord& b = records[1];
  ASSERT_EQ(b.seconds.size(), 3u);
  EXPECT_TRUE(records[0].ratio.empty());
  EXPECT_TRUE(records[0].share_of_read().empty());
  for (size_t round = 0; round < 3; ++round) {
    EXPECT_NEAR(b.seconds[round], 1e-3, 5e-4);
    EXPECT_DOUBLE_EQ(b.ratio[round], records[0].seconds[round] / b.seconds[round]);
    EXPECT_GT(b.roofs[round].flops, 0);
    EXPECT_DOUBLE_EQ(b.share_of_flops()[round], 1000 / b.seconds[round] / b.roofs[round].flops);
    EXPECT_DOUBLE_EQ(b.share_of_read()[round], 4000 / b.seconds[round] / b.roofs[round].read_bytes);
  }
  const io::Json json = to_json(b);
  EXPECT_EQ(json["clock"], "cpu");
  EXPECT_EQ(json["baseline"], "a");
  EXPECT_EQ(json["seconds"].size(), 3u);
  EXPECT_FALSE(to_json(records[0]).contains("share_of_read_bandwidth"));
}

}  // namespace
}  // namespace attnlab::measure
