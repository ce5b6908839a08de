#include "core/attention/columns.hpp"

#include <fmt/core.h>
#include <attnlab/philox.hpp>

#include <algorithm>
#include <numeric>

#include "core/base/parallel.hpp"

namespace attnlab::attention {
namespace {

size_t element_bytes(int32_t dtype) {
  switch (dtype) {
    case ATTNLAB_U8:
      return 1;
    case ATTNLAB_F32:
    case ATTNLAB_I32:
      return 4;
    default:
      return 8;
  }
}

int64_t record_count(const plugin::ColumnSpec& spec, int64_t keys) {
  if (spec.per == ATTNLAB_PER_SEQUENCE) return 1;
  return (keys + spec.page_size - 1) / spec.page_size;
}

/// Appending re-encodes from the last common boundary of all pages.
constexpr int64_t max_page_multiple = int64_t{1} << 20;

/// Keys encoded by one task. A multiple of the page size, so the split cannot matter.
constexpr int64_t encode_grain = 4096;

}  // namespace

KeyState::KeyState(const plugin::Masker& masker, const attnlab_geometry& geometry, uint64_t rng_key)
    : masker_(&masker) {
  for (auto& spec : masker.columns(geometry)) {
    ColumnData column;
    column.record_bytes = static_cast<size_t>(spec.width) * element_bytes(spec.dtype);
    // Both at most 2^20, so the product fits.
    if (spec.page_size > 0) page_multiple_ = std::lcm(page_multiple_, spec.page_size);
    if (page_multiple_ > max_page_multiple) {
      masker.fail(fmt::format("page sizes whose common multiple exceeds {} keys", max_page_multiple),
                  "columns");
    }
    column.spec = std::move(spec);
    columns_.push_back(std::move(column));
  }
  if (masker.has_state()) opaque_ = masker.create_state(geometry, rng_key);
  resize(0);
  for (size_t i = 0; i < columns_.size(); ++i) {
    if (!columns_[i].spec.normal) continue;
    Philox random(mix_key(rng_key, i));
    auto* values = reinterpret_cast<float*>(columns_[i].data.data());
    for (int64_t j = 0; j < columns_[i].spec.width; ++j) values[j] = static_cast<float>(random.normal());
  }
}

void KeyState::resize(int64_t key_count) {
  key_count_ = key_count;
  for (auto& column : columns_) {
    // Zeros, so that a record which `encode` leaves alone has defined content.
    column.data.resize(static_cast<size_t>(record_count(column.spec, key_count)) * column.record_bytes);
  }
  refresh_view();
}

void KeyState::refresh_view() {
  pointers_.clear();
  for (auto& column : columns_) {
    pointers_.push_back({{column.spec.name.data(), column.spec.name.size()},
                         column.data.data(),
                         record_count(column.spec, key_count_),
                         column.spec.width});
  }
  view_ = {sizeof view_, 0, pointers_.size(), pointers_.data()};
}

void KeyState::encode(attnlab_key_block block, int64_t begin, int64_t end) {
  if (columns_.empty() || begin >= end) return;
  // A page that grows or shrinks is encoded again from its first key, and from zeros. Token records keep what
  // is in them: some are not written by `encode` but by `feedback`.
  for (auto& column : columns_) {
    if (column.spec.per != ATTNLAB_PER_PAGE) continue;
    const auto first = static_cast<size_t>(begin / column.spec.page_size) * column.record_bytes;
    std::fill(column.data.begin() + static_cast<int64_t>(first), column.data.end(), std::byte{0});
  }
  const int64_t grain = (encode_grain + page_multiple_ - 1) / page_multiple_ * page_multiple_;
  base::parallel_for((end - begin + grain - 1) / grain, [&](int64_t i, int) {
    attnlab_key_block part = block;
    part.begin = begin + i * grain;
    part.end = std::min(end, part.begin + grain);
    masker_->encode(part, view_);
  });
}

void KeyState::append(attnlab_key_block block, int64_t end) {
  ATTNLAB_CHECK(end >= key_count_, "append cannot shrink");
  const int64_t begin = key_count_ / page_multiple_ * page_multiple_;
  const int64_t old_count = key_count_;
  resize(end);
  encode(block, begin, end);
  if (opaque_ != nullptr && end > old_count) {
    block.begin = old_count;
    block.end = end;
    masker_->append_state(opaque_.get(), block, view_);
  }
}

void KeyState::truncate(attnlab_key_block block, int64_t key_count) {
  ATTNLAB_CHECK(key_count <= key_count_, "truncate cannot grow");
  resize(key_count);
  encode(block, key_count / page_multiple_ * page_multiple_, key_count);
  if (opaque_ != nullptr) masker_->truncate_state(opaque_.get(), key_count);
}

KeyState KeyState::fork() const {
  KeyState copy(*masker_);
  copy.page_multiple_ = page_multiple_;
  copy.columns_ = columns_;
  copy.key_count_ = key_count_;
  copy.refresh_view();
  if (opaque_ != nullptr) copy.opaque_ = masker_->fork_state(opaque_.get());
  return copy;
}

void KeyState::end_prompt(const attnlab_prompt& prompt) {
  masker_->end_prompt(prompt, view_, opaque_.get());
}

void KeyState::feedback(const attnlab_feedback& feedback) {
  masker_->feedback(feedback, view_, opaque_.get());
}

IndexBytes& IndexBytes::operator+=(const IndexBytes& other) {
  tokens += other.tokens;
  sequence += other.sequence;
  opaque += other.opaque;
  return *this;
}

IndexBytes KeyState::bytes() const {
  IndexBytes bytes;
  if (opaque_ != nullptr) bytes.opaque = masker_->state_bytes(opaque_.get());
  for (const auto& column : columns_) {
    (column.spec.per == ATTNLAB_PER_SEQUENCE ? bytes.sequence : bytes.tokens) += column.data.size();
  }
  return bytes;
}

}  // namespace attnlab::attention
