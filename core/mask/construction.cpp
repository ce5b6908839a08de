// Validated construction of masks from arrays.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/base/error.hpp"
#include "core/mask/mask.hpp"

namespace attnlab::mask {
namespace {

using base::Mistake;
using base::UserError;

std::string row_name(const Shape& shape, const Extents& extents, int64_t row) {
  return fmt::format("row [{}, {}, {}]", row / shape.queries / extents.heads,
                     row / shape.queries % extents.heads, row % shape.queries);
}

void check_size(const char* array, size_t found, int64_t expected, const char* meaning) {
  if (static_cast<int64_t>(found) == expected) return;
  throw UserError(fmt::format("{} of the mask has the wrong size", array),
                  Mistake{.pointer = array,
                          .found = fmt::format("{} elements", found),
                          .allowed = fmt::format("{} elements ({})", expected, meaning)});
}

bool is_log_weight(float w) {
  return w >= 0 && std::isfinite(w);
}

/// Whether p and w can be one number at two resolutions, `derived` being probability_of(w): rounding w or p
/// to float moves p by less than 4e-6, and subnormal p by their spacing.
bool agree(float p, float w, float derived) {
  if ((p == 1) != (w == 0)) return false;
  const double expected = derived;
  return std::abs(p - expected) <= 1e-5 * expected + 2 * double{std::numeric_limits<float>::denorm_min()};
}

[[noreturn]] void refuse_pair(std::string pointer, float p, float w) {
  throw UserError("probability and log_weight of the mask disagree",
                  Mistake{.pointer = std::move(pointer),
                          .found = fmt::format("p = {}, log_weight = {}", p, w),
                          .allowed = "log_weight = -log p, finite, 0 exactly where p = 1",
                          .suggestion = "leave one of the two arrays out"});
}

template <class Pointer>
void check_probability(float p, const Pointer& pointer) {
  if (p > 0 && p <= 1) return;
  throw UserError(
      "a mask entry is no inclusion probability",
      Mistake{.pointer = pointer(), .found = fmt::format("p = {}", p), .allowed = "finite values in (0, 1]"});
}

void check_row_ptr(const Shape& shape, const Extents& extents, const std::vector<int64_t>& row_ptr,
                   size_t entries) {
  const int64_t rows = extents.batch * extents.heads * shape.queries;
  check_size("row_ptr", row_ptr.size(), rows + 1, "stored rows + 1");
  if (row_ptr.front() != 0) {
    throw UserError(
        "row_ptr of the mask does not start at 0",
        Mistake{.pointer = "row_ptr[0]", .found = std::to_string(row_ptr.front()), .allowed = "0"});
  }
  for (int64_t row = 0; row < rows; ++row) {
    if (row_ptr[row] <= row_ptr[row + 1]) continue;
    throw UserError("row_ptr of the mask falls",
                    Mistake{.pointer = row_name(shape, extents, row),
                            .found = fmt::format("{} after {}", row_ptr[row + 1], row_ptr[row]),
                            .allowed = "rising offsets into column"});
  }
  check_size("column", entries, row_ptr.back(), "the last row_ptr");
}

void check_columns(const Shape& shape, std::span<const int32_t> columns, const std::string& row) {
  for (size_t i = 0; i < columns.size(); ++i) {
    const int32_t key = columns[i];
    if (key < 0 || key >= shape.keys) {
      throw UserError("a mask entry names a key that does not exist",
                      Mistake{.pointer = fmt::format("{} entry {}", row, i),
                              .found = std::to_string(key),
                              .allowed = fmt::format("0 to {}", shape.keys - 1)});
    }
    if (i == 0 || columns[i - 1] < key) continue;
    const bool duplicate = columns[i - 1] == key;
    throw UserError(
        duplicate ? "a mask row names a key twice" : "a mask row is not sorted",
        Mistake{.pointer = fmt::format("{} entry {}", row, i),
                .found = fmt::format("{} after {}", key, columns[i - 1]),
                .allowed = "strictly rising keys",
                .suggestion = duplicate ? "drop one of the two: an inclusion probability holds for a key once"
                                        : "Mask::from_indices sorts"});
  }
}

}  // namespace

void check_shape(const Shape& shape) {
  constexpr int64_t limit = std::numeric_limits<int32_t>::max();
  int64_t rows = 0;
  const bool positive = shape.batch > 0 && shape.heads > 0 && shape.queries > 0 && shape.keys > 0;
  if (positive && shape.keys <= limit && !__builtin_mul_overflow(shape.batch, shape.heads, &rows) &&
      !__builtin_mul_overflow(rows, shape.queries, &rows) && rows <= limit) {
    return;
  }
  throw UserError(
      "a mask cannot have this shape",
      Mistake{.pointer = "shape",
              .found = fmt::format("[{}, {}, {}, {}]", shape.batch, shape.heads, shape.queries, shape.keys),
              .allowed = "[B, Hq, Sq, Sk], each at least 1, Sk and B * Hq * Sq below 2^31"});
}

void check_extents(const Shape& shape, const Extents& extents) {
  if ((extents.batch == 1 || extents.batch == shape.batch) && extents.heads > 0 &&
      shape.heads % extents.heads == 0) {
    return;
  }
  throw UserError(
      "the stored extents of a mask cannot be broadcast to its shape",
      Mistake{.pointer = "extents",
              .found = fmt::format("[{}, {}]", extents.batch, extents.heads),
              .allowed = fmt::format("batch 1 or {}, heads a divisor of {} (1, KV heads or query heads)",
                                     shape.batch, shape.heads)});
}

Extents combined(const Extents& a, const Extents& b) {
  return {std::max(a.batch, b.batch), std::lcm(a.heads, b.heads)};
}

Mask Mask::empty(const Shape& shape) {
  check_shape(shape);
  return Mask(shape, {}, State::empty, nullptr);
}

Mask Mask::full(const Shape& shape) {
  check_shape(shape);
  return Mask(shape, {}, State::full, nullptr);
}

Mask Mask::dense(const Shape& shape, const Extents& extents, std::vector<float> probability,
                 std::vector<float> log_weight) {
  check_shape(shape);
  check_extents(shape, extents);
  const int64_t entries = extents.batch * extents.heads * shape.queries * shape.keys;
  check_size("probability", probability.size(), entries, "the stored extents * Sq * Sk");
  if (!log_weight.empty()) check_size("log_weight", log_weight.size(), entries, "one for each probability");

  auto storage = std::make_shared<Storage>();
  bool derivable = true;
  for (int64_t i = 0; i < entries; ++i) {
    float& p = probability[i];
    auto pointer = [&] {
      return fmt::format("{} key {}", row_name(shape, extents, i / shape.keys), i % shape.keys);
    };
    if (p == 0) {
      p = 0;  // -0
      if (!log_weight.empty() && log_weight[i] != 0) refuse_pair(pointer(), p, log_weight[i]);
      continue;
    }
    check_probability(p, pointer);
    ++storage->active;
    storage->sampled += p < 1;
    if (log_weight.empty()) continue;
    const float w = log_weight[i];
    if (!is_log_weight(w) || !agree(p, w, probability_of(w))) refuse_pair(pointer(), p, w);
    derivable = derivable && w == log_weight_of(p);
  }
  storage->probability = std::move(probability);
  if (!derivable) storage->log_weight = std::move(log_weight);
  return Mask(shape, extents, State::dense, std::move(storage));
}

Mask Mask::sparse(const Shape& shape, const Extents& extents, std::vector<int64_t> row_ptr,
                  std::vector<int32_t> column, std::vector<float> log_weight,
                  std::vector<float> probability) {
  check_shape(shape);
  check_extents(shape, extents);
  check_row_ptr(shape, extents, row_ptr, column.size());
  const auto entries = static_cast<int64_t>(column.size());
  if (!log_weight.empty()) check_size("log_weight", log_weight.size(), entries, "one for each column");
  if (!probability.empty()) check_size("probability", probability.size(), entries, "one for each column");
  const bool derive_weights = log_weight.empty() && !probability.empty();
  if (derive_weights) log_weight.resize(probability.size());

  auto storage = std::make_shared<Storage>();
  bool derivable = true;
  for (size_t row = 0; row + 1 < row_ptr.size(); ++row) {
    const auto begin = static_cast<size_t>(row_ptr[row]), end = static_cast<size_t>(row_ptr[row + 1]);
    const auto name = [&] { return row_name(shape, extents, static_cast<int64_t>(row)); };
    const std::span<const int32_t> columns(column.data() + begin, end - begin);
    // A name is only formatted for the row that is wrong.
    const bool rising =
        std::adjacent_find(columns.begin(), columns.end(), std::greater_equal<>()) == columns.end();
    if (!rising || (!columns.empty() && (columns.front() < 0 || columns.back() >= shape.keys))) {
      check_columns(shape, columns, name());
    }
    if (log_weight.empty()) continue;
    for (size_t i = begin; i < end; ++i) {
      float& w = log_weight[i];
      const auto pointer = [&] { return fmt::format("{} entry {}", name(), i - begin); };
      if (!probability.empty()) {
        check_probability(probability[i], pointer);
        if (derive_weights) w = log_weight_of(probability[i]);
      }
      if (!is_log_weight(w)) {
        throw UserError(
            "a mask entry has an impossible log weight",
            Mistake{.pointer = pointer(), .found = fmt::format("{}", w), .allowed = "-log p >= 0, finite"});
      }
      const float derived = probability_of(w);
      if (!probability.empty()) {
        if (!agree(probability[i], w, derived)) refuse_pair(pointer(), probability[i], w);
        derivable = derivable && probability[i] == derived;
      }
      if (derived == 1) w = 0;
      storage->sampled += w > 0;
    }
  }
  storage->active = entries;
  storage->row_ptr = std::move(row_ptr);
  storage->column = std::move(column);
  if (storage->sampled > 0) storage->log_weight = std::move(log_weight);
  if (!derivable) storage->probability = std::move(probability);
  return Mask(shape, extents, State::sparse, std::move(storage));
}

Mask Mask::from_indices(const Shape& shape, const Extents& extents,
                        std::span<const std::vector<int32_t>> rows,
                        std::span<const std::vector<float>> log_weights) {
  check_shape(shape);
  check_extents(shape, extents);
  const int64_t row_count = extents.batch * extents.heads * shape.queries;
  check_size("rows", rows.size(), row_count, "one list for each stored row");
  if (!log_weights.empty()) {
    check_size("log_weights", log_weights.size(), row_count, "one list for each stored row");
  }

  std::vector<int64_t> row_ptr = {0};
  std::vector<int32_t> column, order;
  std::vector<float> log_weight;
  for (size_t row = 0; row < rows.size(); ++row) {
    const auto& keys = rows[row];
    if (!log_weights.empty() && log_weights[row].size() != keys.size()) {
      check_size("log_weights", log_weights[row].size(), static_cast<int64_t>(keys.size()),
                 row_name(shape, extents, static_cast<int64_t>(row)).c_str());
    }
    order.resize(keys.size());
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return keys[a] < keys[b]; });
    for (int32_t i : order) {
      column.push_back(keys[i]);
      if (!log_weights.empty()) log_weight.push_back(log_weights[row][i]);
    }
    row_ptr.push_back(static_cast<int64_t>(column.size()));
  }
  return sparse(shape, extents, std::move(row_ptr), std::move(column), std::move(log_weight));
}

}  // namespace attnlab::mask
