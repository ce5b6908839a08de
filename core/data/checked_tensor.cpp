#include "core/data/checked_tensor.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>

#include "core/base/error.hpp"
#include "core/base/parallel.hpp"

namespace attnlab::data {
namespace {

constexpr uint32_t exponent_mask = 0x7f800000u;
constexpr uint32_t negative_infinity = 0xff800000u;

bool is_bad(float value, uint32_t allowed) {
  auto bits = std::bit_cast<uint32_t>(value);
  return (bits & exponent_mask) == exponent_mask && bits != allowed;
}

/// Index of the first NaN or infinity, or the number of values. `allowed`: bits of one value that may stand.
int64_t first_bad(std::span<const float> values, uint32_t allowed) {
  constexpr int64_t block = 1 << 16;
  auto count = static_cast<int64_t>(values.size());
  std::atomic<int64_t> first = count;
  base::parallel_for((count + block - 1) / block, [&](int64_t index, int) {
    int64_t begin = index * block;
    if (begin >= first.load()) return;
    auto part =
        values.subspan(static_cast<size_t>(begin), static_cast<size_t>(std::min(block, count - begin)));
    bool any = false;
    for (float value : part) any |= is_bad(value, allowed);  // no early exit: this loop vectorises
    if (!any) return;
    auto bad = std::find_if(part.begin(), part.end(), [&](float value) { return is_bad(value, allowed); });
    int64_t position = begin + (bad - part.begin());
    int64_t known = first.load();
    while (position < known && !first.compare_exchange_weak(known, position)) {
    }
  });
  return first.load();
}

/// Copies `count` pieces of `bytes` bytes; `offset(i)` is where piece i begins in `from`.
template <class Offset>
void copy_rows(const tensor::Tensor& from, const tensor::Tensor& to, int64_t count, size_t bytes,
               const Offset& offset) {
  if (bytes == 0) return;
  auto* out = const_cast<std::byte*>(to.bytes());
  for (int64_t i = 0; i < count; ++i) {
    std::memcpy(out + static_cast<size_t>(i) * bytes, from.bytes() + offset(i), bytes);
  }
}

/// "[b, h, s, d]" of the element with row-major index `flat`.
std::string index_text(const tensor::Shape& shape, int64_t flat) {
  tensor::Shape index(shape.size());
  for (size_t axis = shape.size(); axis-- > 0;) {
    index[axis] = flat % shape[axis];
    flat /= shape[axis];
  }
  return tensor::to_string(index);
}

}  // namespace

void check_floating(const FileTensor& source) {
  if (tensor::is_floating(source.tensor.dtype())) return;
  throw base::UserError("wrong element type of " + source.name,
                        {.file = source.file,
                         .found = std::string(tensor::name_of(source.tensor.dtype())),
                         .allowed = "float32, float16, bfloat16 or float64"});
}

void check_shape(const FileTensor& source, const tensor::Shape& expected, const std::string& meaning) {
  if (source.tensor.shape() == expected) return;
  throw base::UserError("wrong shape of " + source.name,
                        {.file = source.file,
                         .found = tensor::to_string(source.tensor.shape()),
                         .allowed = tensor::to_string(expected) + ", " + meaning});
}

FileTensor slice_thd(const FileTensor& source, const Slice& slice) {
  const tensor::Shape& shape = source.tensor.shape();
  const int64_t heads = slice.head_end - slice.head_begin, tokens = slice.token_end - slice.token_begin;
  if (tokens == shape[0] && heads == shape[1]) return source;
  auto copy = tensor::Tensor::zeros(source.tensor.dtype(), {tokens, heads, shape[2]});
  const auto row = static_cast<size_t>(shape[2]) * tensor::size_of(source.tensor.dtype());
  copy_rows(source.tensor, copy, tokens, static_cast<size_t>(heads) * row, [&](int64_t token) {
    return static_cast<size_t>((slice.token_begin + token) * shape[1] + slice.head_begin) * row;
  });
  return {copy, source.file,
          fmt::format("{}[{}:{}, {}:{}]", source.name, slice.token_begin, slice.token_end, slice.head_begin,
                      slice.head_end)};
}

FileTensor slice_bhsd(const FileTensor& source, const Slice& slice) {
  const tensor::Shape& shape = source.tensor.shape();
  const int64_t heads = slice.head_end - slice.head_begin, tokens = slice.token_end - slice.token_begin;
  if (heads == shape[1] && tokens == shape[2]) return source;
  auto copy = tensor::Tensor::zeros(source.tensor.dtype(), {shape[0], heads, tokens, shape[3]});
  const auto row = static_cast<size_t>(shape[3]) * tensor::size_of(source.tensor.dtype());
  copy_rows(source.tensor, copy, shape[0] * heads, static_cast<size_t>(tokens) * row, [&](int64_t index) {
    const int64_t head = index / heads * shape[1] + slice.head_begin + index % heads;
    return static_cast<size_t>(head * shape[2] + slice.token_begin) * row;
  });
  return {copy, source.file,
          fmt::format("{}[:, {}:{}, {}:{}]", source.name, slice.head_begin, slice.head_end, slice.token_begin,
                      slice.token_end)};
}

tensor::Tensor finite_f32(const FileTensor& source, Infinity infinity) {
  check_floating(source);
  tensor::Tensor result = source.tensor.to_f32();
  // Where no infinity is allowed, 0 stands for "none": its exponent is never bad.
  uint32_t allowed = infinity == Infinity::negative_allowed ? negative_infinity : 0;
  auto values = result.values<float>();
  int64_t bad = first_bad(values, allowed);
  if (bad == result.size()) return result;

  float value = values[static_cast<size_t>(bad)];
  std::string what = std::isnan(value) ? "NaN" : value > 0 ? "inf" : "-inf";
  std::string found;
  if (source.tensor.dtype() == tensor::DType::f64) {
    double original = source.tensor.values<double>()[static_cast<size_t>(bad)];
    if (std::isfinite(original)) {
      what = "value beyond float32's range";
      found = std::to_string(original);
    }
  }
  throw base::UserError(
      what + " in " + source.name + " at " + index_text(result.shape(), bad),
      {.file = source.file,
       .found = found,
       .allowed = infinity == Infinity::refused ? "finite numbers" : "finite numbers and -inf"});
}

}  // namespace attnlab::data
