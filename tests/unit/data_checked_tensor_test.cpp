#include "core/data/checked_tensor.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/base/parallel.hpp"
#include "tests/unit/io_test_support.hpp"

namespace attnlab::data {
namespace {

using io::refusal;
using io::tensor_of;
using tensor::DType;

constexpr float infinity = std::numeric_limits<float>::infinity();
const float nan_value = std::nanf("");

FileTensor file_tensor(tensor::Tensor tensor) {
  return {std::move(tensor), "folder/x.npz", "k"};
}

TEST(CheckedTensor, Float32IsNotCopied) {
  auto tensor = tensor_of<float>(DType::f32, {2, 2}, {1, -2, 1e38f, 1e-45f});
  EXPECT_EQ(finite_f32(file_tensor(tensor)).bytes(), tensor.bytes());
}

TEST(CheckedTensor, OtherFloatsAreConverted) {
  auto half = finite_f32(file_tensor(tensor_of<uint16_t>(DType::f16, {2}, {0x3c00, 0xc100})));
  EXPECT_EQ(half.values<float>()[0], 1.0f);
  EXPECT_EQ(half.values<float>()[1], -2.5f);
  auto brain = finite_f32(file_tensor(tensor_of<uint16_t>(DType::bf16, {2}, {0x3f80, 0xc020})));
  EXPECT_EQ(brain.values<float>()[1], -2.5f);
  auto wide = finite_f32(file_tensor(tensor_of<double>(DType::f64, {2}, {1, -2.5})));
  EXPECT_EQ(wide.values<float>()[1], -2.5f);
}

TEST(CheckedTensor, NamesTheFirstBadElementForAnyThreads) {
  for (int threads : {1, 2, 7}) {
    base::ThreadLimit limit(threads);
    for (int64_t flat : {0, 1, 65535, 65536, 65537, 399999}) {
      auto tensor = tensor::Tensor::zeros(DType::f32, {2, 4, 500, 100});
      auto values = tensor.mutable_values<float>();
      std::fill(values.begin() + flat, values.end(), nan_value);
      EXPECT_EQ(refusal([&] { finite_f32(file_tensor(tensor)); }),
                "folder/x.npz: NaN in k at " +
                    tensor::to_string({flat / 200000, flat / 50000 % 4, flat / 100 % 500, flat % 100}) +
                    "\n  allowed: finite numbers");
    }
  }
}

TEST(CheckedTensor, InfinitiesAreRefusedExceptTheNegativeOneOfABias) {
  auto with = [](float value) { return file_tensor(tensor_of<float>(DType::f32, {2}, {0, value})); };
  EXPECT_NE(refusal([&] { finite_f32(with(infinity)); }).find(": inf in k at [1]"), std::string::npos);
  EXPECT_NE(refusal([&] { finite_f32(with(-infinity)); }).find(": -inf in k at [1]"), std::string::npos);
  EXPECT_EQ(refusal([&] { finite_f32(with(-infinity), Infinity::negative_allowed); }), "");
  EXPECT_NE(refusal([&] { finite_f32(with(infinity), Infinity::negative_allowed); }), "");
  EXPECT_NE(refusal([&] { finite_f32(with(nan_value), Infinity::negative_allowed); }), "");
}

TEST(CheckedTensor, ValuesBeyondFloat32AreCalledThat) {
  auto wide = file_tensor(tensor_of<double>(DType::f64, {2}, {0, 1e39}));
  EXPECT_NE(refusal([&] { finite_f32(wide); }).find("value beyond float32's range in k at [1]"),
            std::string::npos);
  wide = file_tensor(tensor_of<double>(DType::f64, {2}, {0, std::nan("")}));
  EXPECT_NE(refusal([&] { finite_f32(wide); }).find("NaN in k at [1]"), std::string::npos);
}

TEST(CheckedTensor, OnlyFloatsPass) {
  for (DType dtype : io::all_dtypes()) {
    auto source = file_tensor(tensor::Tensor::zeros(dtype, {3}));
    std::string message = refusal([&] { finite_f32(source); });
    if (tensor::is_floating(dtype)) {
      EXPECT_EQ(message, "");
    } else {
      EXPECT_NE(message.find("wrong element type of k\n  found: " + std::string(tensor::name_of(dtype))),
                std::string::npos)
          << message;
    }
  }
}

}  // namespace
}  // namespace attnlab::data
