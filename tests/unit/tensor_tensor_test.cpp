// Half-precision conversions for every bit pattern, shapes, sharing and views.
#include "core/tensor/tensor.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

#include "tests/unit/io_test_support.hpp"

namespace attnlab::tensor {
namespace {

/// Value of a small IEEE format by the definition of the formats, in double: no bit of it is shared with the
/// code.
double value_of(uint32_t bits, int exponent_bits, int mantissa_bits) {
  const double sign = (bits >> (exponent_bits + mantissa_bits)) != 0 ? -1 : 1;
  const int exponent = static_cast<int>(bits >> mantissa_bits) & ((1 << exponent_bits) - 1);
  const int mantissa = static_cast<int>(bits) & ((1 << mantissa_bits) - 1);
  const int bias = (1 << (exponent_bits - 1)) - 1;
  if (exponent == (1 << exponent_bits) - 1) {
    return mantissa == 0 ? sign * std::numeric_limits<double>::infinity()
                         : std::numeric_limits<double>::quiet_NaN();
  }
  const double fraction = mantissa * std::ldexp(1.0, -mantissa_bits);
  return exponent == 0 ? sign * std::ldexp(fraction, 1 - bias)
                       : sign * std::ldexp(1 + fraction, exponent - bias);
}

void expect_conversion(float (*convert)(uint16_t), int exponent_bits, int mantissa_bits) {
  int wrong = 0;
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float got = convert(static_cast<uint16_t>(bits));
    const double expected = value_of(bits, exponent_bits, mantissa_bits);
    const bool sign = (bits & 0x8000) != 0;
    const bool same = std::isnan(expected) ? std::isnan(got) : static_cast<double>(got) == expected;
    if (!same || std::signbit(got) != sign) ++wrong;
  }
  EXPECT_EQ(wrong, 0);
}

TEST(TensorDType, EveryFloat16IsExact) {
  expect_conversion(from_f16, 5, 10);
}
TEST(TensorDType, EveryBfloat16IsExact) {
  expect_conversion(from_bf16, 8, 7);
}

TEST(TensorDType, NanKeepsItsKindAndPayload) {
  EXPECT_EQ(std::bit_cast<uint32_t>(from_f16(0x7e01)), 0x7fc02000u);  // quiet
  EXPECT_EQ(std::bit_cast<uint32_t>(from_f16(0xfc01)), 0xff802000u);  // signalling, negative
}

TEST(TensorDType, SizesAndNamesAreNumpys) {
  const std::pair<const char*, size_t> expected[] = {
      {"float16", 2}, {"bfloat16", 2}, {"float32", 4}, {"float64", 8}, {"int8", 1},
      {"int16", 2},   {"int32", 4},    {"int64", 8},   {"uint8", 1},   {"uint16", 2},
      {"uint32", 4},  {"uint64", 8},   {"bool", 1}};
  ASSERT_EQ(std::size(expected), io::all_dtypes().size());
  for (size_t i = 0; i < std::size(expected); ++i) {
    EXPECT_EQ(name_of(io::all_dtypes()[i]), expected[i].first);
    EXPECT_EQ(size_of(io::all_dtypes()[i]), expected[i].second);
    EXPECT_EQ(is_floating(io::all_dtypes()[i]), i < 4);
  }
}

TEST(TensorShape, CountsAndPrints) {
  EXPECT_EQ(element_count({}), 1);
  EXPECT_EQ(element_count({2, 3, 4}), 24);
  EXPECT_EQ(element_count({2, 0, 4}), 0);
  EXPECT_EQ(to_string({}), "[]");
  EXPECT_EQ(to_string({2, 8, 128}), "[2, 8, 128]");
}

TEST(TensorTest, ZerosAreAlignedZerosOfTheShape) {
  for (DType dtype : io::all_dtypes()) {
    const Tensor t = Tensor::zeros(dtype, {3, 5});
    EXPECT_FALSE(t.empty());
    EXPECT_EQ(t.rank(), 2);
    EXPECT_EQ(t.size(), 15);
    EXPECT_EQ(t.byte_size(), 15 * size_of(dtype));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(t.bytes()) % 64, 0u);
    for (size_t i = 0; i < t.byte_size(); ++i) EXPECT_EQ(t.bytes()[i], std::byte{0});
  }
  EXPECT_TRUE(Tensor().empty());
  EXPECT_FALSE(Tensor::zeros(DType::f32, {0, 4}).empty()) << "a tensor without elements is still a tensor";
}

TEST(TensorTest, CopiesAndReshapesShareTheBytes) {
  Tensor t = Tensor::zeros(DType::f32, {2, 6});
  std::iota(t.mutable_values<float>().begin(), t.mutable_values<float>().end(), 0.0f);
  const Tensor copy = t;
  const Tensor reshaped = t.reshaped({3, 4});
  t = Tensor();
  EXPECT_EQ(copy.bytes(), reshaped.bytes());
  EXPECT_EQ(reshaped.shape(), (Shape{3, 4}));
  EXPECT_EQ(copy.values<float>()[11], 11.0f);
  EXPECT_EQ(copy.to_f32().bytes(), copy.bytes()) << "float32 needs no conversion";
}

TEST(TensorDeathTest, MisuseIsABrokenInvariant) {
  Tensor t = Tensor::zeros(DType::f32, {2, 6});
  EXPECT_DEATH(static_cast<void>(t.reshaped({5})), "reshape of \\[2, 6\\] to \\[5\\]");
  EXPECT_DEATH(static_cast<void>(t.values<double>()), "read as another type than float32");
  EXPECT_DEATH(view_bhsd(t), "expected float32");
  EXPECT_DEATH(view_thd(Tensor::zeros(DType::f64, {2, 3, 4})), "expected float32");
}

template <class T>
void expect_converts(DType dtype, const std::vector<T>& values) {
  const Tensor converted = io::tensor_of<T>(dtype, {static_cast<int64_t>(values.size())}, values).to_f32();
  ASSERT_EQ(converted.dtype(), DType::f32);
  for (size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(converted.values<float>()[i], static_cast<float>(values[i])) << name_of(dtype) << " " << i;
  }
}

TEST(TensorTest, EveryTypeConvertsToFloat32) {
  expect_converts<double>(DType::f64, {0.0, -1.5, 1e-300, 1e300, 0.1});
  expect_converts<int8_t>(DType::i8, {0, 127, -128});
  expect_converts<int16_t>(DType::i16, {0, 32767, -32768});
  expect_converts<int32_t>(DType::i32, {0, INT32_MAX, INT32_MIN, 16777217});
  expect_converts<int64_t>(DType::i64, {0, INT64_MAX, INT64_MIN});
  expect_converts<uint8_t>(DType::u8, {0, 255});
  expect_converts<uint8_t>(DType::boolean, {0, 1});
  expect_converts<uint16_t>(DType::u16, {0, 65535});
  expect_converts<uint32_t>(DType::u32, {0, UINT32_MAX});
  expect_converts<uint64_t>(DType::u64, {0, UINT64_MAX});
  EXPECT_EQ(io::tensor_of<uint16_t>(DType::f16, {1}, {0x3e00}).to_f32().values<float>()[0], 1.5f);
  EXPECT_EQ(io::tensor_of<uint16_t>(DType::bf16, {1}, {0x3fc0}).to_f32().values<float>()[0], 1.5f);
}

TEST(TensorHeadView, AddressesRowsOfBothLayouts) {
  Tensor t = Tensor::zeros(DType::f32, {2, 3, 4, 5});
  std::iota(t.mutable_values<float>().begin(), t.mutable_values<float>().end(), 0.0f);
  const HeadView bhsd = view_bhsd(t);
  EXPECT_EQ(bhsd.batch, 2);
  EXPECT_EQ(bhsd.heads, 3);
  EXPECT_EQ(bhsd.tokens, 4);
  EXPECT_EQ(bhsd.channels, 5);
  for (int64_t b = 0; b < 2; ++b) {
    for (int64_t h = 0; h < 3; ++h) {
      for (int64_t s = 0; s < 4; ++s) {
        EXPECT_EQ(bhsd.row(b, h, s)[1], static_cast<float>(((b * 3 + h) * 4 + s) * 5 + 1));
      }
    }
  }
  const Tensor packed = t.reshaped({8, 3, 5});
  const HeadView thd = view_thd(packed);
  EXPECT_EQ(thd.batch, 1);
  EXPECT_EQ(thd.tokens, 8);
  EXPECT_EQ(thd.heads, 3);
  EXPECT_EQ(thd.row(0, 2, 7)[4], static_cast<float>((7 * 3 + 2) * 5 + 4));
}

}  // namespace
}  // namespace attnlab::tensor
