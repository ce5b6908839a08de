// Equal bits however rows, keys and calls are split.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "core/kernels/table.hpp"
#include "tests/unit/kernels_test_support.hpp"

namespace attnlab::kernels {
namespace {

using test::Case;
using test::kNan;
using test::Problem;

class KernelBits : public testing::TestWithParam<const KernelTable*> {
 protected:
  const KernelTable& table() const { return *GetParam(); }
};

void expect_same_bits(const float* a, const float* b, int64_t count, const std::string& where) {
  EXPECT_EQ(std::memcmp(a, b, count * sizeof(float)), 0) << where;
}

/// More rows than a group, so that the transposed and the direct way of dot products are both taken, and
/// tails in every dimension.
std::vector<Case> shapes() {
  return {
      {.rows = 40, .keys = 300, .head_dim = 70, .value_dim = 77, .padding = 3, .bias = true, .weights = true},
      {.rows = 11, .keys = 131, .head_dim = 131, .value_dim = 5, .sink = true},
      {.rows = 9, .keys = 65, .head_dim = 64, .value_dim = 64, .bias = true}};
}

TEST_P(KernelBits, LogitsOfAnyTile) {
  for (const Case& shape : shapes()) {
    const Problem problem(shape);
    std::vector<float> whole, split;
    const LogitsArguments all = problem.logits_arguments(whole);
    table().logits(all);
    for (const int64_t tile_rows : {1, 2, 3, 5, 7, 8, 12}) {
      for (const int64_t tile_keys : {1, 13, 64, 100}) {
        LogitsArguments tile = problem.logits_arguments(split);
        for (int64_t r = 0; r < shape.rows; r += tile_rows) {
          tile.rows = std::min(tile_rows, shape.rows - r);
          tile.query = all.query + r * all.query_stride;
          tile.bias = all.bias == nullptr ? nullptr : all.bias + r;
          tile.logits = split.data() + r * all.logits_stride;
          for (int64_t j = 0; j < shape.keys; j += tile_keys) {
            tile.key_begin = j;
            tile.key_end = std::min(j + tile_keys, shape.keys);
            table().logits(tile);
          }
        }
        expect_same_bits(whole.data(), split.data(), std::ssize(whole), std::to_string(tile_rows) + " rows");
      }
    }
  }
}

TEST_P(KernelBits, GatheredLogits) {
  for (const Case& shape : shapes()) {
    const Problem problem(shape);
    std::vector<float> whole;
    const LogitsArguments all = problem.logits_arguments(whole);
    table().logits(all);
    std::vector<int32_t> ids;
    for (int64_t i = 0; i < 150; ++i) ids.push_back(static_cast<int32_t>((i * 37 + i / 7) % shape.keys));
    for (const int64_t r : {int64_t{0}, shape.rows - 1}) {
      for (const int64_t count : {0, 1, 17, 64, 65, 150}) {
        std::vector<float> gathered(count, kNan), expected;
        for (int64_t i = 0; i < count; ++i) expected.push_back(whole[r * shape.keys + ids[i]]);
        table().gather_logits({.query = all.query + r * all.query_stride,
                               .head_dim = all.head_dim,
                               .key = all.key,
                               .key_stride = all.key_stride,
                               .ids = ids.data(),
                               .count = count,
                               .scale = all.scale,
                               .bias = all.bias == nullptr ? nullptr : all.bias[r],
                               .out = gathered.data()});
        if (count > 0)
          expect_same_bits(gathered.data(), expected.data(), count, std::to_string(count) + " ids");
      }
    }
  }
}

TEST_P(KernelBits, AttendOfAnyRows) {
  for (const Case& shape : shapes()) {
    const Problem problem(shape);
    std::vector<float> out, lse, split, split_lse;
    const AttendArguments all = problem.attend_arguments(out, lse);
    table().attend(all);
    for (const int64_t tile_rows : {1, 3, 8, 35}) {
      AttendArguments tile = problem.attend_arguments(split, split_lse);
      for (int64_t r = 0; r < shape.rows; r += tile_rows) {
        tile.rows = std::min(tile_rows, shape.rows - r);
        tile.query = all.query + r * all.query_stride;
        tile.bias = all.bias == nullptr ? nullptr : all.bias + r;
        tile.sink_logit = all.sink_logit == nullptr ? nullptr : all.sink_logit + r;
        tile.out = split.data() + r * all.out_stride;
        tile.lse = split_lse.data() + r;
        table().attend(tile);
      }
      expect_same_bits(out.data(), split.data(), std::ssize(out), std::to_string(tile_rows) + " rows");
      expect_same_bits(lse.data(), split_lse.data(), shape.rows, std::to_string(tile_rows) + " rows");
    }
  }
}

// A row computed alone never sees the values that its neighbours read beyond its key_end: they are NaN here.
TEST_P(KernelBits, AttendLogitsOfAnyRowsAndFutures) {
  for (const Case& shape : shapes()) {
    Problem problem(shape);
    std::vector<float> logits, out, lse;
    table().logits(problem.logits_arguments(logits));
    const AttendLogitsArguments all = problem.attend_logits_arguments(logits, out, lse);
    table().attend_logits(all);
    for (int64_t r = 0; r < shape.rows; ++r) {
      std::vector<float> past = problem.second.value;
      std::fill(past.begin() + std::min(problem.key_end[r] * all.value_stride, std::ssize(past)), past.end(),
                kNan);
      std::vector<float> alone(shape.value_dim, kNan);
      float alone_lse = kNan;
      AttendLogitsArguments one = all;
      one.rows = 1;
      one.logits = all.logits + r * all.logits_stride;
      one.key_end = all.key_end + r;
      one.value = past.data();
      one.sink_logit = all.sink_logit == nullptr ? nullptr : all.sink_logit + r;
      one.out = alone.data();
      one.lse = &alone_lse;
      table().attend_logits(one);
      expect_same_bits(out.data() + r * all.out_stride, alone.data(), shape.value_dim,
                       "row " + std::to_string(r));
      expect_same_bits(&lse[r], &alone_lse, 1, "row " + std::to_string(r));
    }
  }
}

// A NaN future must not reach a row through the neighbours with which it shares loads either.
TEST_P(KernelBits, NaNBeyondKeyEndStaysThere) {
  const int64_t key_end[3] = {40, 130, 170};
  std::vector<float> logits(3 * 200, 0.5F), value(200, 2), out(3), lse(3);
  std::fill(value.begin() + 130, value.end(), kNan);
  table().attend_logits({.logits = logits.data(),
                         .logits_stride = 200,
                         .rows = 3,
                         .key_end = key_end,
                         .value = value.data(),
                         .value_stride = 1,
                         .value_dim = 1,
                         .out = out.data(),
                         .out_stride = 1,
                         .lse = lse.data()});
  EXPECT_FLOAT_EQ(out[0], 2);
  EXPECT_FLOAT_EQ(out[1], 2);
  EXPECT_TRUE(std::isnan(out[2]));
}

// Selecting every key is dense attention, bit for bit, as runs, as ids and from logits.
TEST_P(KernelBits, FullSelectionIsDense) {
  for (const Case& shape : shapes()) {
    const Problem problem(shape);
    std::vector<float> logits, out, lse, dense, dense_lse;
    table().logits(problem.logits_arguments(logits));
    AttendLogitsArguments from_logits = problem.attend_logits_arguments(logits, dense, dense_lse);
    const std::vector<int64_t> key_end(shape.rows, shape.keys);
    from_logits.key_end = key_end.data();
    from_logits.value = problem.first.value.data();
    table().attend_logits(from_logits);

    const auto keys = static_cast<int32_t>(shape.keys);
    const Range runs[] = {{0, keys / 3}, {keys / 3, keys}};
    std::vector<int32_t> ids;
    for (int32_t j = 0; j < keys; ++j) ids.push_back(j);
    Segment by_runs{problem.first.key.data(), problem.key_stride, problem.first.value.data(),
                    problem.value_stride};
    Segment by_ids = by_runs;
    by_runs.runs = runs;
    by_runs.run_count = 2;
    by_ids.ids = ids.data();
    by_ids.id_count = keys;
    for (const Segment* segment : {&by_runs, &by_ids}) {
      AttendArguments attend = problem.attend_arguments(out, lse);
      attend.segments = segment;
      attend.segment_count = 1;
      table().attend(attend);
      expect_same_bits(out.data(), dense.data(), std::ssize(out), segment == &by_runs ? "runs" : "ids");
      expect_same_bits(lse.data(), dense_lse.data(), shape.rows, segment == &by_runs ? "runs" : "ids");
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, KernelBits, testing::ValuesIn(all_tables()),
                         [](const auto& instance) { return std::string(instance.param->target); });

}  // namespace
}  // namespace attnlab::kernels
