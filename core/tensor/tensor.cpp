#include "core/tensor/tensor.hpp"

#include <fmt/core.h>
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <new>

#include "core/base/error.hpp"

namespace attnlab::tensor {

int64_t element_count(const Shape& shape) {
  int64_t count = 1;
  for (int64_t extent : shape) count *= extent;
  return count;
}

std::string to_string(const Shape& shape) {
  std::vector<std::string> words;
  for (int64_t extent : shape) words.push_back(std::to_string(extent));
  return fmt::format("[{}]", base::join(words));
}

Tensor::Tensor(DType dtype, Shape shape, std::shared_ptr<const void> storage, const std::byte* data)
    : dtype_(dtype), shape_(std::move(shape)), storage_(std::move(storage)), data_(data) {
  ATTNLAB_CHECK(reinterpret_cast<uintptr_t>(data_) % size_of(dtype_) == 0, "misaligned tensor");
}

Tensor Tensor::zeros(DType dtype, Shape shape) {
  size_t bytes = static_cast<size_t>(element_count(shape)) * size_of(dtype);
  // An empty tensor still has an address: `empty()` means "no tensor".
  size_t capacity = (bytes + 4095) / 4096 * 4096 + (bytes == 0 ? 4096 : 0);
  // Anonymous pages are zero and untouched until written: large tensors cost nothing before use.
  void* memory = ::mmap(nullptr, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
  // Sparse attention reads rows at random, each from a page of its own: with pages of 4 KiB, finding the
  // pages takes as long as reading the rows. A refusal changes nothing.
  constexpr size_t large = size_t{4} << 20;
  if (capacity >= large) ::madvise(memory, capacity, MADV_HUGEPAGE);
#endif
  std::shared_ptr<const void> storage(memory, [capacity](void* p) { ::munmap(p, capacity); });
  return Tensor(dtype, std::move(shape), std::move(storage), static_cast<const std::byte*>(memory));
}

void Tensor::check_element_size(size_t bytes) const {
  ATTNLAB_CHECK(bytes == size_of(dtype_),
                std::string("read as another type than ") + std::string(name_of(dtype_)));
}

namespace {

template <class T>
void convert(const Tensor& from, std::span<float> to) {
  auto values = from.values<T>();
  for (size_t i = 0; i < to.size(); ++i) to[i] = static_cast<float>(values[i]);
}

}  // namespace

Tensor Tensor::to_f32() const {
  if (dtype_ == DType::f32) return *this;
  Tensor result = zeros(DType::f32, shape_);
  auto out = result.mutable_values<float>();
  switch (dtype_) {
    case DType::f16:
      for (size_t i = 0; i < out.size(); ++i) out[i] = from_f16(values<uint16_t>()[i]);
      break;
    case DType::bf16:
      for (size_t i = 0; i < out.size(); ++i) out[i] = from_bf16(values<uint16_t>()[i]);
      break;
    case DType::f32:
      break;
    case DType::f64:
      convert<double>(*this, out);
      break;
    case DType::i8:
      convert<int8_t>(*this, out);
      break;
    case DType::i16:
      convert<int16_t>(*this, out);
      break;
    case DType::i32:
      convert<int32_t>(*this, out);
      break;
    case DType::i64:
      convert<int64_t>(*this, out);
      break;
    case DType::u8:
    case DType::boolean:
      convert<uint8_t>(*this, out);
      break;
    case DType::u16:
      convert<uint16_t>(*this, out);
      break;
    case DType::u32:
      convert<uint32_t>(*this, out);
      break;
    case DType::u64:
      convert<uint64_t>(*this, out);
      break;
  }
  return result;
}

Tensor Tensor::reshaped(Shape shape) const {
  ATTNLAB_CHECK(element_count(shape) == size(),
                "reshape of " + to_string(shape_) + " to " + to_string(shape));
  Tensor result = *this;
  result.shape_ = std::move(shape);
  return result;
}

HeadView view_bhsd(const Tensor& t) {
  ATTNLAB_CHECK(t.dtype() == DType::f32 && t.rank() == 4, "expected float32 [B, H, S, D]");
  const auto& s = t.shape();
  return {t.values<float>().data(), s[0], s[1], s[2], s[3], s[1] * s[2] * s[3], s[2] * s[3], s[3]};
}

HeadView view_thd(const Tensor& t) {
  ATTNLAB_CHECK(t.dtype() == DType::f32 && t.rank() == 3, "expected float32 [token, head, dim]");
  const auto& s = t.shape();
  return {t.values<float>().data(), 1, s[1], s[0], s[2], 0, s[2], s[1] * s[2]};
}

}  // namespace attnlab::tensor
