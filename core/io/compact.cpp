#include "core/io/compact.hpp"

#include <zlib.h>

#include <algorithm>

#include "core/base/error.hpp"

namespace attnlab::io {
namespace {

std::string base64(const std::vector<uint8_t>& bytes) {
  static constexpr char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t at = 0; at < bytes.size(); at += 3) {
    const size_t count = std::min<size_t>(3, bytes.size() - at);
    uint32_t group = 0;
    for (size_t i = 0; i < 3; ++i) group = group << 8 | (i < count ? bytes[at + i] : 0);
    for (size_t i = 0; i < 4; ++i) text += i <= count ? digits[group >> (18 - 6 * i) & 63] : '=';
  }
  return text;
}

}  // namespace

int width_of(uint32_t largest) {
  return largest <= 0xFF ? 1 : largest <= 0xFFFF ? 2 : 4;
}

std::string compact(const std::vector<uint32_t>& numbers, int width) {
  std::vector<uint8_t> bytes;
  bytes.reserve(numbers.size() * static_cast<size_t>(width));
  for (const uint32_t number : numbers) {
    ATTNLAB_CHECK(width_of(number) <= width, "a number that does not fit");
    for (int i = 0; i < width; ++i) bytes.push_back(static_cast<uint8_t>(number >> (8 * i)));
  }
  uLongf size = compressBound(bytes.size());
  std::vector<uint8_t> packed(size);
  const int result = compress2(packed.data(), &size, bytes.data(), bytes.size(), Z_DEFAULT_COMPRESSION);
  ATTNLAB_CHECK(result == Z_OK, "zlib");
  packed.resize(size);
  return base64(packed);
}

}  // namespace attnlab::io
