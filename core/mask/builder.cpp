#include "core/mask/builder.hpp"

#include "core/base/error.hpp"

namespace attnlab::mask {
namespace {

void check_entries(int64_t rows, int64_t entries_per_row) {
  int64_t entries = 0;
  if (!__builtin_mul_overflow(rows, entries_per_row, &entries) && entries <= max_stored_entries) return;
  throw base::UserError(
      "the mask is too large to be written out",
      {.found = std::to_string(rows) + " rows of " + std::to_string(entries_per_row) + " entries",
       .allowed = "at most " + std::to_string(max_stored_entries) + " entries",
       .suggestion = "dump fewer heads or query rows"},
      base::Exit::failed);
}

}  // namespace

Builder::Builder(const Shape& shape, const Extents& extents, State target)
    : shape_(shape), extents_(extents), dense_(target == State::dense) {
  ATTNLAB_CHECK(target == State::dense || target == State::sparse, "Full and Empty need no builder");
  check_extents(shape, extents);
  const int64_t rows = extents.batch * extents.heads * shape.queries;
  if (dense_) {
    check_entries(rows, shape.keys);
    probability_.resize(static_cast<size_t>(rows * shape.keys));
  } else {
    check_entries(rows, 1);
    row_ptr_.push_back(0);
  }
}

void Builder::reserve(int64_t entries) {
  check_entries(1, entries);
  if (!dense_) column_.reserve(static_cast<size_t>(entries));
}

void Builder::add(const Entry& entry) {
  if (dense_) {
    const auto position = static_cast<size_t>(row_ * shape_.keys + entry.key);
    probability_[position] = entry.probability;
    if (!entry.sampled()) return;
    if (log_weight_.empty()) log_weight_.resize(probability_.size());
    log_weight_[position] = entry.log_weight;
    return;
  }
  if (column_.size() == column_.capacity()) check_entries(1, static_cast<int64_t>(column_.size()) + 1);
  // Deterministic masks never allocate the two arrays of numbers.
  if (entry.sampled() && log_weight_.empty()) {
    probability_.resize(column_.size(), 1.0f);
    log_weight_.resize(column_.size(), 0.0f);
  }
  column_.push_back(entry.key);
  if (log_weight_.empty() && !entry.sampled()) return;
  probability_.push_back(entry.probability);
  log_weight_.push_back(entry.log_weight);
}

void Builder::end_row() {
  ++row_;
  if (!dense_) row_ptr_.push_back(static_cast<int64_t>(column_.size()));
}

Mask Builder::finish() {
  if (dense_) return Mask::dense(shape_, extents_, std::move(probability_), std::move(log_weight_));
  return Mask::sparse(shape_, extents_, std::move(row_ptr_), std::move(column_), std::move(log_weight_),
                      std::move(probability_));
}

}  // namespace attnlab::mask
