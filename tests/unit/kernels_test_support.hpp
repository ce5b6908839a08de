// The case table that drives the reference and every SIMD target, and the inputs of a case.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <ostream>
#include <random>
#include <vector>

#include "core/kernels/attention/arguments.hpp"

namespace attnlab::kernels::test {

inline constexpr float kInfinity = std::numeric_limits<float>::infinity();
inline constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

struct Case {
  int64_t rows = 1;
  int64_t keys = 0;
  int64_t head_dim = 1;
  int64_t value_dim = 1;
  int64_t padding = 0;  ///< strides exceed the dimensions by this
  float shift = 0;      ///< added to every bias
  bool bias = false;    ///< with some -inf
  bool weights = false;
  bool sink = false;

  friend std::ostream& operator<<(std::ostream& out, const Case& c) {
    return out << "rows " << c.rows << ", keys " << c.keys << ", head_dim " << c.head_dim << ", value_dim "
               << c.value_dim << ", padding " << c.padding << ", shift " << c.shift << ", bias " << c.bias
               << ", weights " << c.weights << ", sink " << c.sink;
  }
};

inline std::vector<Case> all_cases() {
  const int64_t head_dims[] = {1, 3, 8, 16, 17, 64, 80, 128, 256};
  const int64_t value_dims[] = {64, 1, 17, 128, 8, 80, 3};
  const int64_t key_counts[] = {129, 0, 1000, 7, 128, 1};
  std::vector<Case> cases;
  for (int64_t i = 0; i < 45; ++i) {
    const float shift = i % 5 == 1 ? 1e4F : i % 5 == 3 ? -1e4F : 0.0F;
    cases.push_back({1 + (i * 4) % 9, key_counts[i % 6], head_dims[i % 9], value_dims[i % 7],
                     i % 4 == 0 ? 5 : 0, shift, shift != 0 || i % 3 == 0, i % 2 == 0, i % 4 < 2});
  }
  cases.push_back({33, 300, 64, 64, 0, 0, true, true, true});
  cases.push_back({70, 200, 17, 33, 3, 0, false, false, false});
  cases.push_back({13, 130, 512, 96, 0, 0, true, false, false});
  cases.push_back({4, 130, 500, 512, 1, 0, false, true, true});
  return cases;
}

/// `count` rows of `dim` normal values, `stride` apart; the gaps are NaN and the last row has none, so that
/// touching anything but the values is seen.
inline std::vector<float> normal_rows(std::mt19937& random, int64_t count, int64_t dim, int64_t stride) {
  std::vector<float> rows(static_cast<size_t>(count == 0 ? 0 : (count - 1) * stride + dim), kNan);
  std::normal_distribution<float> normal;
  for (int64_t r = 0; r < count; ++r) {
    for (int64_t c = 0; c < dim; ++c) rows[r * stride + c] = normal(random);
  }
  return rows;
}

/// Inputs of a case. Two caches serve as bases of segments; keys in no segment have logits far above all
/// others and NaN as values.
struct Problem {
  explicit Problem(const Case& c) : shape(c), random(1) {
    key_stride = c.head_dim + c.padding;
    value_stride = c.value_dim + c.padding;
    query = normal_rows(random, c.rows, c.head_dim, key_stride);
    for (auto* cache : {&first, &second}) {
      cache->key = normal_rows(random, c.keys, c.head_dim, key_stride);
      cache->value = normal_rows(random, c.keys, c.value_dim, value_stride);
    }
    choose_entries();
    std::normal_distribution<float> normal;
    for (int64_t r = 0; r < c.rows; ++r) {
      bias.emplace_back();
      for (int64_t j = 0; j < c.keys; ++j)
        bias[r].push_back(j % 5 == 3 ? -kInfinity : c.shift + normal(random));
      // A null entry, like a null array, means no bias.
      bias_rows.push_back(r == 2 && c.shift == 0 ? nullptr : bias[r].data());
      sink.push_back(r % 2 == 0 ? c.shift + normal(random) : -kInfinity);
      key_end.push_back(r % 3 == 2 ? c.keys : c.keys - c.keys * (r % 3) / 4);
    }
  }

  LogitsArguments logits_arguments(std::vector<float>& out) const {
    out.assign(shape.rows * shape.keys, kNan);
    return {.query = query.data(),
            .query_stride = key_stride,
            .rows = shape.rows,
            .head_dim = shape.head_dim,
            .key = first.key.data(),
            .key_stride = key_stride,
            .key_begin = 0,
            .key_end = shape.keys,
            .scale = scale(),
            .bias = shape.bias ? bias_rows.data() : nullptr,
            .logits = out.data(),
            .logits_stride = shape.keys};
  }

  AttendArguments attend_arguments(std::vector<float>& out, std::vector<float>& lse) const {
    out.assign(shape.rows * value_stride, kNan);
    lse.assign(shape.rows, kNan);
    return {.query = query.data(),
            .query_stride = key_stride,
            .rows = shape.rows,
            .head_dim = shape.head_dim,
            .value_dim = shape.value_dim,
            .scale = scale(),
            .segments = segments.data(),
            .segment_count = std::ssize(segments),
            .bias = shape.bias ? bias_rows.data() : nullptr,
            .sink_logit = shape.sink ? sink.data() : nullptr,
            .out = out.data(),
            .out_stride = value_stride,
            .lse = lse.data()};
  }

  AttendLogitsArguments attend_logits_arguments(const std::vector<float>& logits, std::vector<float>& out,
                                                std::vector<float>& lse) const {
    out.assign(shape.rows * value_stride, kNan);
    lse.assign(shape.rows, kNan);
    return {.logits = logits.data(),
            .logits_stride = shape.keys,
            .rows = shape.rows,
            .key_end = key_end.data(),
            .value = second.value.data(),
            .value_stride = value_stride,
            .value_dim = shape.value_dim,
            .sink_logit = shape.sink ? sink.data() : nullptr,
            .out = out.data(),
            .out_stride = value_stride,
            .lse = lse.data()};
  }

  /// Gives inactive keys logits 100 above those of every active one, for row 0, and NaN as values.
  void poison_inactive() {
    float norm = 0;
    for (int64_t c = 0; c < shape.head_dim; ++c) norm += query[c] * query[c];
    for (const int32_t j : inactive) {
      for (int64_t c = 0; c < shape.head_dim; ++c) {
        first.key[j * key_stride + c] = (150 + 2 * std::abs(shape.shift)) * query[c] / (norm * scale());
      }
      std::fill_n(first.value.begin() + j * value_stride, shape.value_dim, kNan);
    }
  }

  float scale() const { return 1 / std::sqrt(static_cast<float>(shape.head_dim)); }

  /// Bound of |logit - reference|: a chain of head_dim / 4 roundings and some more of products that |q| |k|
  /// bounds, then those of logits as large as bias and log weight make them.
  double logit_error() const {
    const double roundings = static_cast<double>(shape.head_dim) / 4 + 8;
    const double largest =
        6.0 * std::sqrt(static_cast<double>(shape.head_dim)) * 6;  // six sigma in q and in k
    return 0x1p-24 * (roundings * largest * scale() + 3 * (std::abs(shape.shift) + 10));
  }

  struct Cache {
    std::vector<float> key, value;
  };

  Case shape;
  std::mt19937 random;
  int64_t key_stride = 0;
  int64_t value_stride = 0;
  std::vector<float> query;
  Cache first, second;
  std::vector<std::vector<float>> bias;
  std::vector<const float*> bias_rows;
  std::vector<float> sink;
  std::vector<int64_t> key_end;
  std::vector<Range> runs;
  std::vector<int32_t> ids, weighted_ids;
  std::vector<float> log_weight;
  std::vector<Segment> segments;
  std::vector<int32_t> inactive;  ///< keys of the first cache in no segment

 private:
  /// Runs and ids of the first cache, ids of the second, in the second case with -log p weights.
  void choose_entries() {
    const auto n = static_cast<int32_t>(shape.keys);
    runs = {{0, n / 3}, {n / 3, n / 3}, {n / 2, n / 2 + n / 4}};
    for (int32_t j = n / 3; j < n / 2; j += 2) ids.push_back(j);
    for (int32_t j = n - 1; j >= 0; j -= 3) weighted_ids.push_back(j);
    std::uniform_real_distribution<float> probability(0.01F, 1.0F);
    for (size_t i = 0; i < weighted_ids.size(); ++i) log_weight.push_back(-std::log(probability(random)));
    segments = {
        {first.key.data(), key_stride, first.value.data(), value_stride, runs.data(), std::ssize(runs)},
        {first.key.data(), key_stride, first.value.data(), value_stride, nullptr, 0, ids.data(),
         std::ssize(ids)},
        {},
        {second.key.data(), key_stride, second.value.data(), value_stride, nullptr, 0, weighted_ids.data(),
         std::ssize(weighted_ids), shape.weights ? log_weight.data() : nullptr}};
    for (int32_t j = 0; j < n; ++j) {
      const auto holds = [j](const Range& run) { return run.begin <= j && j < run.end; };
      if (std::ranges::any_of(runs, holds) || std::ranges::count(ids, j) > 0) continue;
      inactive.push_back(j);
    }
  }
};

}  // namespace attnlab::kernels::test
