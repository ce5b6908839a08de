// Masks: which keys take part in each row of attention, and with which inclusion probability. For dumps,
// drawings, comparisons and golden tests; execution uses attention::Selection.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/mask/row_view.hpp"

namespace attnlab::mask {

/// Logical extents [B, Hq, Sq, Sk]. Each at least 1, keys and rows (B * Hq * Sq) below 2^31.
struct Shape {
  int64_t batch = 1;
  int64_t heads = 1;  ///< query heads
  int64_t queries = 1;
  int64_t keys = 1;

  bool operator==(const Shape&) const = default;
};

/// Extents in storage; smaller ones are broadcast. batch is 1 or B. heads divides Hq (1, Hkv and Hq in
/// practice) and query head h reads stored head h * heads / Hq.
struct Extents {
  int64_t batch = 1;
  int64_t heads = 1;

  bool operator==(const Extents&) const = default;
};

/// Throws UserError unless every extent is in range.
void check_shape(const Shape& shape);
/// Throws UserError unless `extents` can be broadcast to `shape`.
void check_extents(const Shape& shape, const Extents& extents);
/// The smallest extents that hold what varies in either.
Extents combined(const Extents& a, const Extents& b);

/// How a mask is stored: it says nothing about its content, which `Mask::is_empty` and `is_full` tell.
enum class State : uint8_t { empty = 0, full = 1, dense = 2, sparse = 3 };

/// Entries (p planes or columns) that one conversion, merge or clip may write: 4 GiB of floats.
inline constexpr int64_t max_stored_entries = int64_t{1} << 30;

/// An inclusion probability p in (0, 1] for each active entry of [B, Hq, Sq, Sk]; the estimator's weight is
/// 1/p, a logit bias of -log p. Entries with p = 1 are deterministic, the others sampled. Empty means that no
/// key takes part (dense attention is Full).
///
/// Immutable; copies share the storage and are O(1). Any thread may read.
///
/// Construction normalises numbers, not states: -0 becomes 0, and a log weight so small (below 2^-25) that p
/// rounds to 1 becomes 0, so that p = 1 exactly where log_weight = 0. Dense and Sparse stay what they are
/// even when their content is full or empty; `normalized()` turns them into the state Full or Empty.
///
/// Conversions are exact. Float p and float -log p do not determine each other, so a mask is made of pairs
/// (p, -log p): one half is given and the other derived by `log_weight_of` or `probability_of`. A conversion
/// copies pairs, and a storage keeps its second array (`log_weight` of Dense, `probability` of Sparse) only
/// when some pair could not be derived again bit for bit. Hence dense -> sparse -> dense and sparse -> dense
/// -> sparse are the identity, arrays included, and every reader sees the same p and -log p before and after.
class Mask {
 public:
  /// No active entry. O(1).
  static Mask empty(const Shape& shape);
  /// Every entry active with p = 1. O(1).
  static Mask full(const Shape& shape);
  /// From p in [0, 1], row-major [extents.batch, extents.heads, Sq, Sk]; 0 means not active. `log_weight`
  /// gives the second halves (0 where p is 0) when they were recorded; they must agree with p to float
  /// accuracy. Throws UserError naming stored row [b, h, q] and key. O(values).
  static Mask dense(const Shape& shape, const Extents& extents, std::vector<float> probability,
                    std::vector<float> log_weight = {});
  /// From CSR over the extents.batch * extents.heads * Sq stored rows: `row_ptr` has one element more than
  /// rows, each row's `column` rises strictly. `log_weight` = -log p >= 0, finite; absent means
  /// deterministic. `probability` as for `dense`. Throws UserError naming stored row [b, h, q] and entry.
  /// O(rows + entries).
  static Mask sparse(const Shape& shape, const Extents& extents, std::vector<int64_t> row_ptr,
                     std::vector<int32_t> column, std::vector<float> log_weight = {},
                     std::vector<float> probability = {});
  /// Sparse from one list of keys per stored row, in any order; `log_weights`, if any, are listed alike.
  /// Throws UserError for a key named twice in a row. O(entries log entries).
  static Mask from_indices(const Shape& shape, const Extents& extents,
                           std::span<const std::vector<int32_t>> rows,
                           std::span<const std::vector<float>> log_weights = {});

  const Shape& shape() const { return shape_; }
  /// {1, 1} for Empty and Full.
  const Extents& extents() const { return extents_; }
  State state() const { return state_; }

  /// Content, whatever the state; O(1), counted at construction.
  bool is_empty() const { return active_count() == 0; }
  bool is_full() const;
  /// Whether any entry has p < 1.
  bool has_sampled() const { return storage_ && storage_->sampled > 0; }
  /// Active entries of [B, Hq, Sq, Sk]. O(1).
  int64_t active_count() const;

  /// p of an entry, 0 when it is not active. O(1), for Sparse O(log entries of the row).
  float probability(int64_t b, int64_t h, int64_t q, int64_t k) const;
  /// The active entries of a row, b < B, h < Hq, q < Sq. O(1).
  RowView row(int64_t b, int64_t h, int64_t q) const;

  /// Dense's p plane, or the probabilities that Sparse had to keep beside `log_weight`; may be absent.
  std::span<const float> probability() const;
  /// Sparse's -log p (absent: all deterministic), or the log weights that Dense had to keep beside
  /// `probability`.
  std::span<const float> log_weight() const;
  /// Sparse's CSR arrays; absent in other states.
  std::span<const int64_t> row_ptr() const;
  std::span<const int32_t> column() const;

  /// The same mask as Dense. O(stored rows * Sk); O(1) when it is Dense. Throws UserError past
  /// `max_stored_entries`.
  Mask to_dense() const;
  /// The same mask as Sparse. From Dense and Full O(stored rows * Sk), from Empty O(rows), O(1) when it is
  /// Sparse.
  Mask to_sparse() const;
  /// State Full or Empty when the content is, else unchanged. O(1).
  Mask normalized() const;
  /// The same mask stored with larger extents (copies of the broadcast rows); Empty and Full stay. O(result).
  Mask expanded(const Extents& extents) const;

  /// The same shape and the same pairs (p, -log p) bit for bit, whatever states and extents. O(entries of
  /// both; a Dense side costs Sk per row).
  bool operator==(const Mask& other) const;

 private:
  struct Storage {
    std::vector<int64_t> row_ptr;
    std::vector<int32_t> column;
    std::vector<float> probability;
    std::vector<float> log_weight;
    int64_t active = 0;
    int64_t sampled = 0;
  };
  Mask(const Shape& shape, const Extents& extents, State state, std::shared_ptr<const Storage> storage)
      : shape_(shape), extents_(extents), state_(state), storage_(std::move(storage)) {}

  Shape shape_;
  Extents extents_;
  State state_;
  std::shared_ptr<const Storage> storage_;  ///< null for Empty and Full
};

/// Where two masks differ.
struct Difference {
  int64_t batch = 0, head = 0, query = 0, key = 0;
  float probability_a = 0, probability_b = 0;
};

/// The first entry whose inclusion probabilities differ by more than `tolerance` or which only one mask
/// holds, in row-major order; nullopt when there is none. Throws UserError for unequal shapes. O(entries of
/// both).
std::optional<Difference> first_difference(const Mask& a, const Mask& b, float tolerance = 0);

}  // namespace attnlab::mask
