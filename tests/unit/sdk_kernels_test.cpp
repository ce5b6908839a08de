// <attnlab/kernels.hpp> with the host's kernels, with plain loops, and with a host that offers fewer.
#include <gtest/gtest.h>
#include <attnlab/kernels.hpp>

#include <cmath>
#include <cstddef>
#include <random>
#include <vector>

#include "core/kernels/table.hpp"
#include "core/plugin/host_table.hpp"
#include "core/plugin/kernel_service.hpp"

namespace {

using attnlab::Matrix;
using attnlab::Output;
using attnlab::Range;

/// What plugins of this program are offered, until it is destroyed.
class Offer {
 public:
  explicit Offer(const attnlab_kernels* table) : before_(attnlab::detail::host_kernels.exchange(table)) {}
  ~Offer() { attnlab::detail::host_kernels = before_; }
  Offer(const Offer&) = delete;
  Offer& operator=(const Offer&) = delete;

 private:
  const attnlab_kernels* before_;
};

constexpr int64_t rows = 5, keys = 77, width = 19, pages = 23, stride = keys + 2;

struct Inputs {
  std::vector<float> query = std::vector<float>(rows * (width + 1)),
                     key = std::vector<float>(keys * (width + 3)),
                     extremes = std::vector<float>(pages * 2 * width),
                     table = std::vector<float>(rows * 3 * 40);
  std::vector<uint64_t> query_code = std::vector<uint64_t>(rows * 2), code = std::vector<uint64_t>(keys * 2);
  std::vector<uint8_t> byte_code = std::vector<uint8_t>(keys * 3);
  std::vector<int32_t> int_code = std::vector<int32_t>(keys * 3), ids = {76, 0, 3, 3};

  Inputs() {
    std::mt19937_64 random(11);
    std::normal_distribution<float> normal;
    for (auto* values : {&query, &key, &extremes, &table}) {
      for (float& x : *values) x = normal(random);
    }
    for (size_t i = 0; i < extremes.size(); i += 2 * width) {  // a page's lowest, then its highest
      for (size_t c = i; c < i + width; ++c) {
        if (extremes[c] > extremes[c + width]) std::swap(extremes[c], extremes[c + width]);
      }
    }
    for (auto* words : {&query_code, &code}) {
      for (uint64_t& word : *words) word = random() >> 3;
    }
    for (size_t i = 0; i < byte_code.size(); ++i)
      int_code[i] = byte_code[i] = static_cast<uint8_t>(random() % 40);
  }
  Matrix<float> queries() const { return {query.data(), rows, width, width + 1}; }
  Matrix<float> all_keys() const { return {key.data(), keys, width, width + 3}; }
  Matrix<float> tables() const { return {table.data(), rows, 3 * 40, 3 * 40}; }
};

/// Scores of `score(Output)`.
template <class Score>
std::vector<float> scores_of(const attnlab_kernels* table, const Score& score) {
  const Offer offer(table);
  std::vector<float> scores(rows * stride, 1234.5F);
  score(Output{scores.data(), stride});
  return scores;
}

/// The host's scores and those of the plain loops agree, and are scores at all.
template <class Score>
void expect_equal(double bound, const Score& score) {
  const auto host = scores_of(&attnlab::plugin::kernel_service(), score);
  const auto plain = scores_of(nullptr, score);
  size_t written = 0;
  for (size_t i = 0; i < host.size(); ++i) {
    ASSERT_NEAR(host[i], plain[i], bound) << "at " << i;
    written += plain[i] != 1234.5F ? 1 : 0;
  }
  EXPECT_GE(written, static_cast<size_t>(rows * 4));
}

TEST(SdkKernels, TheHostScoresAsPlainLoopsDo) {
  const Inputs in;
  namespace kernels = attnlab::kernels;
  // 2 * 19 terms of at most about 10.
  constexpr double rounding = 2 * 19 * 10 * 0x1p-23;
  expect_equal(rounding, [&](Output out) { kernels::dot(in.queries(), in.all_keys(), 0.5F, out); });
  expect_equal(rounding, [&](Output out) { kernels::dot(in.queries(), in.all_keys(), in.ids, 0.5F, out); });
  expect_equal(rounding, [&](Output out) {
    kernels::interval(in.queries(), {in.extremes.data(), pages, 2 * width, 2 * width}, 0.5F, out);
  });
  expect_equal(0, [&](Output out) {
    kernels::hamming({in.query_code.data(), rows, 2, 2}, {in.code.data(), keys, 2, 2}, 125, out);
  });
  expect_equal(0, [&](Output out) {
    kernels::lut(in.tables(), 40, Matrix<uint8_t>(in.byte_code.data(), keys, 3, 3), out);
  });
  expect_equal(0, [&](Output out) {
    kernels::lut(in.tables(), 40, Matrix<int32_t>(in.int_code.data(), keys, 3, 3), out);
  });
  expect_equal(rounding, [&](Output out) {
    kernels::gemm(rows, keys, width, {in.query.data(), width + 1, 1}, {in.key.data(), 1, width + 3}, out);
  });
}

TEST(SdkKernels, GatheredAndTransposedProductsAreThoseOfTheKeys) {
  const Inputs in;
  for (const attnlab_kernels* table :
       {&attnlab::plugin::kernel_service(), static_cast<const attnlab_kernels*>(nullptr)}) {
    const auto all =
        scores_of(table, [&](Output out) { attnlab::kernels::dot(in.queries(), in.all_keys(), 1, out); });
    const auto some = scores_of(
        table, [&](Output out) { attnlab::kernels::dot(in.queries(), in.all_keys(), in.ids, 1, out); });
    const auto product = scores_of(table, [&](Output out) {
      attnlab::kernels::gemm(rows, keys, width, {in.query.data(), width + 1, 1},
                             {in.key.data(), 1, width + 3}, out);
    });
    for (int64_t r = 0; r < rows; ++r) {
      for (size_t i = 0; i < in.ids.size(); ++i) {
        EXPECT_EQ(some[static_cast<size_t>(r * stride) + i],
                  all[static_cast<size_t>(r * stride + in.ids[i])]);
      }
      for (int64_t j = 0; j < keys; ++j) {
        const auto at = static_cast<size_t>(r * stride + j);
        EXPECT_NEAR(product[at], all[at], 19 * 10 * 0x1p-23);
      }
    }
  }
}

TEST(SdkKernels, TopKAndSampleChooseTheSame) {
  std::vector<float> scores(100);
  for (size_t i = 0; i < scores.size(); ++i) scores[i] = static_cast<float>(i * 37 % 11);
  const std::vector<Range> runs = {{3, 9}, {20, 20}, {30, 77}};
  attnlab_tile table{};
  const uint64_t stream[] = {5, 6};
  table.rng_key = 9;
  table.rng_stream = stream;
  table.count_read = [](void*, uint64_t) {};
  const attnlab::Tile tile(&table);
  const auto choose = [&](const attnlab_kernels* offered) {
    const Offer offer(offered);
    std::vector<std::vector<int32_t>> chosen;
    for (const int64_t k : {0, 1, 7, 52, 53, 60}) {
      std::vector<int32_t> ids(60, -1);
      const auto written = attnlab::kernels::top_k(scores, runs, k, ids);
      EXPECT_EQ(std::ssize(written), std::min<int64_t>(k, 53));
      chosen.push_back(ids);
      std::vector<int32_t> drawn(static_cast<size_t>(std::min<int64_t>(k, 53)));
      attnlab::kernels::sample(tile, 1, {runs, 53}, drawn);
      EXPECT_TRUE(std::is_sorted(drawn.begin(), drawn.end()));
      chosen.push_back(drawn);
    }
    return chosen;
  };
  const auto host = choose(&attnlab::plugin::kernel_service());
  EXPECT_EQ(host, choose(nullptr));
  // Of the keys in the runs six have the score 10, the seventh is the lowest with a 9.
  EXPECT_EQ(std::vector<int32_t>(host[4].begin(), host[4].begin() + 7),
            (std::vector<int32_t>{5, 8, 30, 41, 52, 63, 74}));
}

TEST(SdkKernels, AnOlderHostsMissingKernelsAreReplaced) {
  attnlab_kernels older = attnlab::plugin::kernel_service();
  older.struct_size = offsetof(attnlab_kernels, interval);
  older.interval = [](const attnlab_interval*) -> attnlab_status { return ATTNLAB_CONTRACT; };
  int called = 0;
  static int* counter;
  counter = &called;
  older.hamming = [](const attnlab_hamming* a) {
    ++*counter;
    return attnlab::plugin::kernel_service().hamming(a);
  };
  const Inputs in;
  const auto interval = [&](Output out) {
    attnlab::kernels::interval(in.queries(), {in.extremes.data(), pages, 2 * width, 2 * width}, 1, out);
  };
  EXPECT_EQ(scores_of(&older, interval), scores_of(nullptr, interval));
  scores_of(&older, [&](Output out) {
    attnlab::kernels::hamming({in.query_code.data(), rows, 2, 2}, {in.code.data(), keys, 2, 2}, 128, out);
  });
  EXPECT_EQ(called, 1);
}

TEST(SdkKernels, ImpossibleArgumentsAreRefused) {
  const Offer offer(&attnlab::plugin::kernel_service());
  const Inputs in;
  std::vector<float> scores(rows * stride);
  const Output out{scores.data(), stride};
  EXPECT_THROW(
      attnlab::kernels::hamming({in.code.data(), 1, 65, 65}, {in.code.data(), 1, 65, 65}, 65 * 64, out),
      attnlab::HostError);
  EXPECT_THROW(attnlab::kernels::dot({in.query.data(), -1, width, width}, in.all_keys(), 1, out),
               attnlab::HostError);
  EXPECT_THROW(attnlab::kernels::gemm(1, -1, 1, {in.query.data(), 1, 1}, {in.key.data(), 1, 1}, out),
               attnlab::HostError);
  attnlab_lut lut{};
  lut.code_type = ATTNLAB_F64;
  EXPECT_EQ(attnlab::plugin::kernel_service().lut(&lut), ATTNLAB_CONTRACT);
  attnlab_sample sample{};
  sample.count = 1;
  EXPECT_EQ(attnlab::plugin::kernel_service().sample(&sample), ATTNLAB_CONTRACT) << "more than there are";
}

TEST(SdkKernels, TheHostOffersThemUnderTheirNameAndRunsTheActiveTable) {
  const attnlab::plugin::HostContext host("test");
  const auto query = [&](std::string_view id) {
    return host.table()->query(host.table()->context, attnlab::to_abi(id));
  };
  EXPECT_EQ(query("attnlab.kernels/1"), &attnlab::plugin::kernel_service());
  EXPECT_EQ(query("attnlab.kernels/2"), nullptr);
  EXPECT_EQ(query("attnlab.graph/1"), nullptr);

  const Inputs in;
  const auto dots = [&](Output out) { attnlab::kernels::dot(in.queries(), in.all_keys(), 1, out); };
  namespace kernels = attnlab::kernels;
  for (const kernels::KernelTable* table : kernels::all_tables()) {
    kernels::set_active_table(*table);
    std::vector<float> expected(rows * stride, 1234.5F);
    table->logits({.query = in.query.data(),
                   .query_stride = width + 1,
                   .rows = rows,
                   .head_dim = width,
                   .key = in.key.data(),
                   .key_stride = width + 3,
                   .key_end = keys,
                   .logits = expected.data(),
                   .logits_stride = stride});
    EXPECT_EQ(scores_of(&attnlab::plugin::kernel_service(), dots), expected) << table->target;
  }
  kernels::set_active_table(kernels::best_table());
}

}  // namespace
