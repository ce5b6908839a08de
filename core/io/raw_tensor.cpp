#include "core/io/raw_tensor.hpp"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <nlohmann/json.hpp>
#include <string_view>
#include <unordered_set>

#include "core/base/error.hpp"
#include "core/base/utf8.hpp"

namespace attnlab::io {
namespace {

constexpr size_t max_name_bytes = 1024;

bool has_control_character(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

size_t physical_memory() {
  return static_cast<size_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace

std::string printable(std::string_view text) {
  constexpr size_t shown = 60;
  nlohmann::json string = std::string(text.substr(0, shown));
  auto result = string.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  return text.size() > shown ? result + "..." : result;
}

void check_names(const std::vector<std::string>& names, const std::string& file) {
  std::unordered_set<std::string_view> seen;
  for (const auto& name : names) {
    if (name.empty() || name.size() > max_name_bytes || has_control_character(name) || !base::is_utf8(name)) {
      throw base::UserError("bad tensor name",
                            {.file = file,
                             .found = fmt::format("{} ({} bytes)", printable(name), name.size()),
                             .allowed = "1 to 1024 bytes of UTF-8 without control characters"});
    }
    if (!seen.insert(name).second) {
      throw base::UserError("two tensors of one name", {.file = file, .found = printable(name)});
    }
  }
}

size_t checked_byte_size(tensor::DType dtype, const tensor::Shape& shape, const Source& source) {
  auto refuse = [&](const char* summary, std::string found, std::string allowed) {
    throw base::UserError(summary, {.file = source.file,
                                    .pointer = source.pointer,
                                    .found = std::move(found),
                                    .allowed = std::move(allowed)});
  };
  if (shape.size() > max_rank) {
    refuse("too many axes", std::to_string(shape.size()), "at most " + std::to_string(max_rank));
  }
  auto bytes = static_cast<int64_t>(tensor::size_of(dtype));
  for (int64_t extent : shape) {
    if (extent < 0) refuse("negative extent", tensor::to_string(shape), "");
    if (extent > 0 && __builtin_mul_overflow(bytes, extent, &bytes)) {
      refuse("absurd shape", tensor::to_string(shape), "less than 2^63 bytes");
    }
  }
  return std::find(shape.begin(), shape.end(), 0) == shape.end() ? static_cast<size_t>(bytes) : 0;
}

tensor::Tensor allocate(tensor::DType dtype, tensor::Shape shape, const Source& source) {
  size_t bytes = checked_byte_size(dtype, shape, source);
  // Overcommit would grant the pages and kill the process when they are filled.
  if (bytes <= physical_memory()) {
    try {
      return tensor::Tensor::zeros(dtype, std::move(shape));
    } catch (const std::bad_alloc&) {
    }
  }
  throw base::UserError(
      "does not fit in memory",
      {.file = source.file,
       .pointer = source.pointer,
       .found = fmt::format("{} bytes to decode", bytes),
       .suggestion = "store it uncompressed, little-endian and in C order: then it is mapped"},
      base::Exit::failed);
}

tensor::Tensor tensor_over(tensor::DType dtype, tensor::Shape shape, std::shared_ptr<const void> storage,
                           const std::byte* data, const Source& source) {
  tensor::Tensor result;
  if (reinterpret_cast<uintptr_t>(data) % tensor::size_of(dtype) == 0) {
    result = tensor::Tensor(dtype, std::move(shape), std::move(storage), data);
  } else {
    result = allocate(dtype, std::move(shape), source);
    std::memcpy(const_cast<std::byte*>(result.bytes()), data, result.byte_size());
  }
  check_booleans(result, source);
  return result;
}

void check_booleans(const tensor::Tensor& tensor, const Source& source) {
  if (tensor.dtype() != tensor::DType::boolean) return;
  auto bytes = tensor.values<uint8_t>();
  uint8_t any = 0;
  for (uint8_t byte : bytes) any |= byte;
  if (any <= 1) return;
  auto bad = std::find_if(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte > 1; });
  throw base::UserError("bad boolean",
                        {.file = source.file,
                         .pointer = source.pointer,
                         .found = fmt::format("byte {} at element {}", *bad, bad - bytes.begin()),
                         .allowed = "0 or 1"});
}

}  // namespace attnlab::io
