// One row of a mask: its active keys in rising order, each with its inclusion probability and logit bias.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>

namespace attnlab::mask {

/// The logit bias -log p of inclusion probability p in (0, 1], evaluated in double and rounded once; 0 for p
/// = 1 only.
float log_weight_of(float probability);

/// The inclusion probability exp(-w) of log weight w >= 0, evaluated in double and rounded once. Never 0:
/// from w = 103.98 on it is the smallest positive float (1.4e-45), while the log weight itself keeps the
/// exact figure.
float probability_of(float log_weight);

/// An active key of a row. `probability` p and `log_weight` -log p describe one number at two float
/// resolutions: float p is the finer one for small p, float -log p near p = 1, so neither can be recomputed
/// from the other in general. p = 1 exactly where log_weight = 0.
struct Entry {
  int32_t key = 0;
  float probability = 1;
  float log_weight = 0;

  bool sampled() const { return log_weight > 0; }
  bool operator==(const Entry&) const = default;
};

class RowIterator;

/// View of a row; valid while the mask (or a copy of it) lives. Iterates over `Entry` in rising key order:
/// O(1) per entry, O(Sk) per row for a Dense mask.
class RowView {
 public:
  /// `extent` positions; a position is an index into `column`, or the key itself when `column` is null, in
  /// which case positions of probability 0 hold no entry. A missing array is derived from the other; both
  /// missing means p = 1.
  RowView(int64_t extent, const int32_t* column, const float* probability, const float* log_weight)
      : extent_(extent), column_(column), probability_(probability), log_weight_(log_weight) {}

  RowIterator begin() const;
  RowIterator end() const;

  /// Active keys below `key`. O(1) for Full and Empty, O(log entries) for Sparse, O(key) for Dense.
  int64_t active_before(int64_t key) const;
  /// The entry at `key`; probability 0 when the key is not active. O(1), for Sparse O(log entries).
  Entry at(int32_t key) const;

 private:
  friend class RowIterator;

  bool holds_entry(int64_t position) const { return column_ || !probability_ || probability_[position] > 0; }
  int32_t key(int64_t position) const { return column_ ? column_[position] : static_cast<int32_t>(position); }
  Entry entry(int64_t position) const;
  int64_t next(int64_t position) const {
    while (position < extent_ && !holds_entry(position)) ++position;
    return position;
  }

  int64_t extent_;
  const int32_t* column_;
  const float* probability_;
  const float* log_weight_;
};

class RowIterator {
 public:
  using value_type = Entry;
  using difference_type = std::ptrdiff_t;
  using iterator_category = std::input_iterator_tag;
  using pointer = const Entry*;
  using reference = Entry;

  RowIterator(const RowView& row, int64_t position) : row_(row), position_(row.next(position)) {}

  Entry operator*() const { return row_.entry(position_); }
  /// The entry's key alone: cheaper, as no number has to be derived.
  int32_t key() const { return row_.key(position_); }
  RowIterator& operator++() {
    position_ = row_.next(position_ + 1);
    return *this;
  }
  RowIterator operator++(int) {
    RowIterator before = *this;
    ++*this;
    return before;
  }
  /// Meaningful for iterators of one row.
  bool operator==(const RowIterator& other) const { return position_ == other.position_; }

 private:
  RowView row_;
  int64_t position_;
};

inline RowIterator RowView::begin() const {
  return {*this, 0};
}
inline RowIterator RowView::end() const {
  return {*this, extent_};
}

/// Calls `visit(left, right)` for each key that is active in either row, in rising order. Both entries carry
/// the key; the one that is not active there has probability 0. O(entries of both rows).
template <class Visit>
void for_each_union(const RowView& left, const RowView& right, Visit visit) {
  auto l = left.begin(), l_end = left.end();
  auto r = right.begin(), r_end = right.end();
  while (l != l_end || r != r_end) {
    const bool take_left = r == r_end || (l != l_end && l.key() <= r.key());
    const bool take_right = l == l_end || (r != r_end && r.key() <= l.key());
    const int32_t key = take_left ? l.key() : r.key();
    visit(take_left ? *l : Entry{key, 0, 0}, take_right ? *r : Entry{key, 0, 0});
    if (take_left) ++l;
    if (take_right) ++r;
  }
}

}  // namespace attnlab::mask
