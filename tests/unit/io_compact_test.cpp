// Compact text of numbers reads back as the same numbers.
#include "core/io/compact.hpp"

#include <gtest/gtest.h>
#include <zlib.h>

#include <cstring>

namespace attnlab::io {
namespace {

std::string from_base64(const std::string& text) {
  static const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  EXPECT_EQ(text.size() % 4, 0u);
  std::string bytes;
  uint32_t group = 0;
  int bits = 0;
  for (const char c : text.substr(0, text.find('='))) {
    EXPECT_NE(digits.find(c), std::string::npos) << c;
    group = group << 6 | static_cast<uint32_t>(digits.find(c));
    bits += 6;
    if (bits >= 8) bytes += static_cast<char>(group >> (bits -= 8) & 0xFF);
  }
  return bytes;
}

std::vector<uint32_t> read(const std::string& text, int width, size_t count) {
  const std::string packed = from_base64(text);
  std::vector<uint8_t> bytes(count * static_cast<size_t>(width) + 1);
  uLongf size = bytes.size();
  EXPECT_EQ(uncompress(bytes.data(), &size, reinterpret_cast<const Bytef*>(packed.data()), packed.size()),
            Z_OK);
  EXPECT_EQ(size, count * static_cast<size_t>(width));
  std::vector<uint32_t> numbers(count);
  for (size_t i = 0; i < count; ++i) {
    for (int b = width; b-- > 0;)
      numbers[i] = numbers[i] << 8 | bytes[i * static_cast<size_t>(width) + static_cast<size_t>(b)];
  }
  return numbers;
}

TEST(IoCompactTest, ReadsBackInEveryWidthAndLength) {
  for (const int width : {1, 2, 4}) {
    for (size_t count = 0; count < 40; ++count) {
      std::vector<uint32_t> numbers;
      for (size_t i = 0; i < count; ++i) {
        numbers.push_back(static_cast<uint32_t>(i * 2654435761u) &
                          (width == 4 ? ~0u : (1u << 8 * width) - 1));
      }
      EXPECT_EQ(read(compact(numbers, width), width, count), numbers) << width << " bytes, " << count;
    }
  }
}

TEST(IoCompactTest, WhatPythonWrites) {
  // base64.b64encode(zlib.compress(bytes([1, 2, 3]))), the same for numpy's "<u1".
  EXPECT_EQ(compact({1, 2, 3}, 1), "eJxjZGIGAAANAAc=");
}

TEST(IoCompactTest, WidthIsTheSmallestThatHolds) {
  EXPECT_EQ(width_of(0), 1);
  EXPECT_EQ(width_of(255), 1);
  EXPECT_EQ(width_of(256), 2);
  EXPECT_EQ(width_of(65535), 2);
  EXPECT_EQ(width_of(65536), 4);
  EXPECT_EQ(width_of(~0u), 4);
}

TEST(IoCompactTest, RunsOfEqualNumbersAreShort) {
  EXPECT_LT(compact(std::vector<uint32_t>(1 << 18, 9), 1).size(), 1000u);
}

}  // namespace
}  // namespace attnlab::io
