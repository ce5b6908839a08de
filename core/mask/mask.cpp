#include "core/mask/mask.hpp"

#include <cmath>

#include "core/base/error.hpp"
#include "core/mask/builder.hpp"

namespace attnlab::mask {
namespace {

int64_t stored_rows(const Shape& shape, const Extents& extents) {
  return extents.batch * extents.heads * shape.queries;
}

/// The stored row that logical row [b, h, q] reads.
int64_t stored_row(const Shape& shape, const Extents& extents, int64_t b, int64_t h, int64_t q) {
  ATTNLAB_CHECK(b >= 0 && b < shape.batch && h >= 0 && h < shape.heads && q >= 0 && q < shape.queries,
                "row outside the mask");
  const int64_t batch = extents.batch == 1 ? 0 : b;
  const int64_t head = h / (shape.heads / extents.heads);
  return (batch * extents.heads + head) * shape.queries + q;
}

Mask copy(const Mask& mask, const Extents& extents, State target) {
  const Shape& shape = mask.shape();
  Builder builder(shape, extents, target);
  const int64_t copies = (shape.batch / extents.batch) * (shape.heads / extents.heads);
  builder.reserve(mask.active_count() / copies);
  for_each_stored_row(shape, extents, [&](int64_t b, int64_t h, int64_t q) {
    for (const Entry& entry : mask.row(b, h, q)) builder.add(entry);
    builder.end_row();
  });
  return builder.finish();
}

}  // namespace

bool Mask::is_full() const {
  if (!storage_) return state_ == State::full;
  return storage_->sampled == 0 && storage_->active == stored_rows(shape_, extents_) * shape_.keys;
}

int64_t Mask::active_count() const {
  if (state_ == State::full) return shape_.batch * shape_.heads * shape_.queries * shape_.keys;
  const int64_t copies = (shape_.batch / extents_.batch) * (shape_.heads / extents_.heads);
  return storage_ ? storage_->active * copies : 0;
}

float Mask::probability(int64_t b, int64_t h, int64_t q, int64_t k) const {
  ATTNLAB_CHECK(k >= 0 && k < shape_.keys, "key outside the mask");
  return row(b, h, q).at(static_cast<int32_t>(k)).probability;
}

RowView Mask::row(int64_t b, int64_t h, int64_t q) const {
  const int64_t row = stored_row(shape_, extents_, b, h, q);
  if (!storage_) return RowView(state_ == State::full ? shape_.keys : 0, nullptr, nullptr, nullptr);
  const auto& [row_ptr, column, probability, log_weight, active, sampled] = *storage_;
  const int64_t begin = state_ == State::dense ? row * shape_.keys : row_ptr[row];
  const int64_t extent = state_ == State::dense ? shape_.keys : row_ptr[row + 1] - begin;
  // A Sparse mask without entries has no address to point at, but a Sparse row is known by its columns.
  static constexpr int32_t no_column = 0;
  const int32_t* columns = column.empty() ? &no_column : column.data() + begin;
  return RowView(extent, state_ == State::dense ? nullptr : columns,
                 probability.empty() ? nullptr : probability.data() + begin,
                 log_weight.empty() ? nullptr : log_weight.data() + begin);
}

std::span<const float> Mask::probability() const {
  return storage_ ? storage_->probability : std::span<const float>();
}
std::span<const float> Mask::log_weight() const {
  return storage_ ? storage_->log_weight : std::span<const float>();
}
std::span<const int64_t> Mask::row_ptr() const {
  return storage_ ? storage_->row_ptr : std::span<const int64_t>();
}
std::span<const int32_t> Mask::column() const {
  return storage_ ? storage_->column : std::span<const int32_t>();
}

Mask Mask::to_dense() const {
  return state_ == State::dense ? *this : copy(*this, extents_, State::dense);
}

Mask Mask::to_sparse() const {
  return state_ == State::sparse ? *this : copy(*this, extents_, State::sparse);
}

Mask Mask::normalized() const {
  if (is_empty()) return empty(shape_);
  return is_full() ? full(shape_) : *this;
}

Mask Mask::expanded(const Extents& extents) const {
  check_extents(shape_, extents);
  ATTNLAB_CHECK(combined(extents_, extents) == extents, "expanded extents must hold every stored row");
  return !storage_ || extents == extents_ ? *this : copy(*this, extents, state_);
}

bool Mask::operator==(const Mask& other) const {
  if (shape_ != other.shape_ || active_count() != other.active_count()) return false;
  if (is_empty() || (is_full() && other.is_full())) return true;
  bool equal = true;
  for_each_stored_row(shape_, combined(extents_, other.extents_), [&](int64_t b, int64_t h, int64_t q) {
    if (!equal) return;
    for_each_union(row(b, h, q), other.row(b, h, q),
                   [&](const Entry& left, const Entry& right) { equal = equal && left == right; });
  });
  return equal;
}

std::optional<Difference> first_difference(const Mask& a, const Mask& b, float tolerance) {
  if (a.shape() != b.shape()) throw base::UserError("masks of different shapes cannot be compared");
  std::optional<Difference> difference;
  if ((a.is_full() && b.is_full()) || (a.is_empty() && b.is_empty())) return difference;
  for_each_stored_row(
      a.shape(), combined(a.extents(), b.extents()), [&](int64_t batch, int64_t head, int64_t query) {
        if (difference) return;
        for_each_union(
            a.row(batch, head, query), b.row(batch, head, query), [&](const Entry& left, const Entry& right) {
              const bool both = left.probability > 0 && right.probability > 0;
              if (difference || (both && std::abs(left.probability - right.probability) <= tolerance)) return;
              difference = Difference{batch, head, query, left.key, left.probability, right.probability};
            });
      });
  return difference;
}

}  // namespace attnlab::mask
