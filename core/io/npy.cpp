#include "core/io/npy.hpp"

#include <fmt/core.h>

#include <bit>
#include <cstring>

#include "core/base/error.hpp"
#include "core/io/npy_header.hpp"
#include "core/io/raw_tensor.hpp"

namespace attnlab::io {
namespace {

using tensor::Shape;
using tensor::Tensor;

static_assert(std::endian::native == std::endian::little, "tensor files are little-endian");

uint8_t swap_bytes(uint8_t word) {
  return word;
}
uint16_t swap_bytes(uint16_t word) {
  return __builtin_bswap16(word);
}
uint32_t swap_bytes(uint32_t word) {
  return __builtin_bswap32(word);
}
uint64_t swap_bytes(uint64_t word) {
  return __builtin_bswap64(word);
}

/// Copies the elements at `from` (possibly misaligned) into C order, swapping their bytes when asked.
/// O(elements).
template <class Word>
void convert(const std::byte* from, const NpyHeader& header, Tensor& to) {
  const Shape& shape = header.shape;
  // Strides in elements of the source, per axis.
  Shape strides(shape.size(), 1);
  for (size_t axis = 1; axis < shape.size(); ++axis) {
    size_t right = shape.size() - axis;
    if (header.fortran_order) {
      strides[axis] = strides[axis - 1] * shape[axis - 1];
    } else {
      strides[right - 1] = strides[right] * shape[right];
    }
  }
  Shape index(shape.size(), 0);
  int64_t offset = 0;
  for (Word& value : to.mutable_values<Word>()) {
    std::memcpy(&value, from + offset * static_cast<int64_t>(sizeof(Word)), sizeof(Word));
    if (header.big_endian) value = swap_bytes(value);
    for (size_t axis = shape.size(); axis-- > 0;) {
      offset += strides[axis];
      if (++index[axis] < shape[axis]) break;
      offset -= strides[axis] * shape[axis];
      index[axis] = 0;
    }
  }
}

Tensor converted(const std::byte* elements, const NpyHeader& header, const Source& source) {
  Tensor result = allocate(header.dtype, header.shape, source);
  switch (tensor::size_of(header.dtype)) {
    case 1:
      convert<uint8_t>(elements, header, result);
      break;
    case 2:
      convert<uint16_t>(elements, header, result);
      break;
    case 4:
      convert<uint32_t>(elements, header, result);
      break;
    default:
      convert<uint64_t>(elements, header, result);
      break;
  }
  check_booleans(result, source);
  return result;
}

}  // namespace

Tensor parse_npy(std::shared_ptr<const void> storage, const std::byte* data, size_t size,
                 const std::string& name) {
  const Source source{name, ""};
  NpyHeader header = parse_npy_header(data, size, name);
  size_t expected = checked_byte_size(header.dtype, header.shape, source);
  size_t found = size - header.data_offset;
  if (found != expected) {
    throw base::UserError(
        found < expected ? "truncated npy file" : "npy file with bytes after the array",
        {.file = name,
         .found = fmt::format("{} bytes after the header", found),
         .allowed = fmt::format("{} bytes, as the header says {} {}", expected, tensor::name_of(header.dtype),
                                tensor::to_string(header.shape))});
  }
  const std::byte* elements = data + header.data_offset;
  if (header.fortran_order || header.big_endian) return converted(elements, header, source);
  return tensor_over(header.dtype, std::move(header.shape), std::move(storage), elements, source);
}

Tensor read_npy(const std::string& path) {
  auto file = base::MappedFile::open(path);
  return parse_npy(file, file->data(), file->size(), path);
}

void write_npy(const std::string& path, const Tensor& tensor) {
  Tensor written = as_numpy_type(tensor);
  AtomicFile file(path);
  file.write(format_npy_header(written.dtype(), written.shape()));
  file.write(written.bytes(), written.byte_size());
  file.commit();
}

NpyWriter::NpyWriter(const std::string& path, const Shape& shape) : pending_(path) {
  size_t bytes = checked_byte_size(tensor::DType::f32, shape, {path, ""});
  std::string header = format_npy_header(tensor::DType::f32, shape);
  file_ = base::MappedFile::create(pending_.temporary(), header.size() + bytes);
  std::memcpy(file_->mutable_data(), header.data(), header.size());
  values_ = {reinterpret_cast<float*>(file_->mutable_data() + header.size()), bytes / sizeof(float)};
}

void NpyWriter::commit() {
  ATTNLAB_CHECK(file_ != nullptr, "committed twice: " + pending_.path());
  values_ = {};
  file_.reset();
  pending_.commit();
}

}  // namespace attnlab::io
