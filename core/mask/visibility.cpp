#include "core/mask/visibility.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "core/base/error.hpp"
#include "core/mask/seen_keys.hpp"

namespace attnlab::mask {

Visibility::Visibility(const Shape& shape, bool causal, std::vector<int64_t> valid, tensor::Tensor bias)
    : shape_(shape), causal_(causal), valid_(std::move(valid)), bias_(std::move(bias)) {
  check_shape(shape);
  if (valid_.empty()) valid_.assign(static_cast<size_t>(shape.batch), shape.keys);
  if (static_cast<int64_t>(valid_.size()) != shape.batch) {
    throw base::UserError("valid lengths do not match the batch",
                          {.pointer = "valid",
                           .found = fmt::format("{} lengths", valid_.size()),
                           .allowed = fmt::format("{}, one for each sequence", shape.batch)});
  }
  for (size_t b = 0; b < valid_.size(); ++b) {
    if (valid_[b] >= 0 && valid_[b] <= shape.keys) continue;
    throw base::UserError("a valid length lies outside the sequence",
                          {.pointer = fmt::format("valid[{}]", b),
                           .found = std::to_string(valid_[b]),
                           .allowed = fmt::format("0 to {}", shape.keys)});
  }
  const bool lengths_differ =
      std::adjacent_find(valid_.begin(), valid_.end(), std::not_equal_to<>()) != valid_.end();
  extents_.batch = lengths_differ ? shape.batch : 1;
  if (bias_.empty()) return;
  const auto& extent = bias_.shape();
  if (bias_.dtype() != tensor::DType::f32 || bias_.rank() != 4 || extent[2] != shape.queries ||
      extent[3] != shape.keys) {
    throw base::UserError(
        "an additive bias does not fit its mask",
        {.pointer = "bias",
         .found = fmt::format("{} {}", tensor::name_of(bias_.dtype()), tensor::to_string(extent)),
         .allowed = fmt::format("float32 [batch, heads, {}, {}]", shape.queries, shape.keys)});
  }
  bias_extents_ = {extent[0], extent[1]};
  check_extents(shape, bias_extents_);
  extents_ = combined(extents_, bias_extents_);
}

bool Visibility::hides_nothing() const {
  if (has_bias()) return false;
  for (int64_t b = 0; b < shape_.batch; ++b) {
    // Row 0 sees least.
    if (end(b, 0) != shape_.keys) return false;
  }
  return true;
}

int64_t Visibility::end(int64_t b, int64_t q) const {
  ATTNLAB_CHECK(b >= 0 && b < shape_.batch && q >= 0 && q < shape_.queries, "row outside the shape");
  return seen_keys(q, shape_.queries, valid_[b], causal_);
}

const float* Visibility::bias_row(int64_t b, int64_t h, int64_t q) const {
  ATTNLAB_CHECK(h >= 0 && h < shape_.heads, "head outside the shape");
  const int64_t batch = bias_extents_.batch == 1 ? 0 : b;
  const int64_t head = h / (shape_.heads / bias_extents_.heads);
  return bias_.values<float>().data() +
         ((batch * bias_extents_.heads + head) * shape_.queries + q) * shape_.keys;
}

bool Visibility::visible(int64_t b, int64_t h, int64_t q, int64_t k) const {
  if (k < 0 || k >= end(b, q)) return false;
  return !has_bias() || !hides(bias_row(b, h, q)[k]);
}

int64_t Visibility::visible_count(int64_t b, int64_t h, int64_t q) const {
  return visible_count(b, h, q, 0, shape_.keys);
}

int64_t Visibility::visible_count(int64_t b, int64_t h, int64_t q, int64_t key_begin, int64_t key_end) const {
  key_begin = std::max<int64_t>(key_begin, 0);
  key_end = std::min(key_end, end(b, q));
  if (key_begin >= key_end) return 0;
  if (!has_bias()) return key_end - key_begin;
  const float* bias = bias_row(b, h, q);
  return std::count_if(bias + key_begin, bias + key_end, [](float value) { return !hides(value); });
}

}  // namespace attnlab::mask
