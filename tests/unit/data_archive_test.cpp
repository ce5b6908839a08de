#include "core/data/archive_source.hpp"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "core/io/npz.hpp"
#include "tests/unit/io_test_support.hpp"

namespace attnlab::data {
namespace {

using io::refusal;
using io::tensor_of;
using tensor::DType;
using tensor::Shape;
using tensor::Tensor;

Tensor zeros(Shape shape) {
  return Tensor::zeros(DType::f32, std::move(shape));
}

Tensor ramp(Shape shape) {
  Tensor tensor = zeros(std::move(shape));
  auto values = tensor.mutable_values<float>();
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  return tensor;
}

/// A valid archive: batch 2, 4/2 heads, 3 queries, 5 keys, head_dim 6, value_dim 7. Tests replace tensors.
class Archive : public testing::Test {
 protected:
  std::string write() {
    std::vector<io::NamedTensor> list(tensors_.begin(), tensors_.end());
    io::write_npz(folder_ / "x.npz", list);
    return folder_ / "x.npz";
  }
  std::string failure() {
    std::string path = write();
    return refusal([&] { open_archive(path)->load(0); });
  }
  void expect_failure(const std::vector<std::string>& parts) {
    std::string message = failure();
    EXPECT_NE(message.find("x.npz: "), std::string::npos) << message;
    for (const auto& part : parts)
      EXPECT_NE(message.find(part), std::string::npos) << part << " | " << message;
  }

  io::TemporaryFolder folder_;
  std::map<std::string, Tensor> tensors_ = {
      {"q", ramp({2, 4, 3, 6})}, {"k", ramp({2, 2, 5, 6})}, {"v", ramp({2, 2, 5, 7})}};
};

TEST_F(Archive, IsReadAsWritten) {
  auto source = open_archive(write());
  const Geometry& g = source->geometry();
  EXPECT_EQ(g.batch, 2);
  EXPECT_EQ(g.query_heads, 4);
  EXPECT_EQ(g.kv_heads, 2);
  EXPECT_EQ(g.queries, 3);
  EXPECT_EQ(g.keys, 5);
  EXPECT_EQ(g.head_dim, 6);
  EXPECT_EQ(g.value_dim, 7);
  EXPECT_EQ(source->layers(), (std::vector<int>{0}));
  EXPECT_EQ(source->files(), (std::vector<std::string>{folder_ / "x.npz"}));
  EXPECT_EQ(source->scale(), std::nullopt);
  EXPECT_EQ(source->causal(), std::nullopt);
  LayerProblem problem = source->load(0);
  EXPECT_EQ(problem.query.row(1, 3, 2)[5], 143.0f);
  EXPECT_EQ(problem.key.row(1, 1, 4)[5], 119.0f);
  EXPECT_EQ(problem.value.row(1, 1, 4)[6], 139.0f);
  EXPECT_EQ(problem.valid, (std::vector<int64_t>{5, 5}));
  EXPECT_TRUE(problem.bias.empty());
  EXPECT_TRUE(problem.sink_logit.empty());
}

TEST_F(Archive, OptionalTensorsAreRead) {
  auto bias = ramp({2, 4, 3, 5});
  bias.mutable_values<float>()[7] = -std::numeric_limits<float>::infinity();
  tensors_["bias"] = bias;
  tensors_["kv_valid_len"] = tensor_of<uint8_t>(DType::u8, {2}, {1, 5});
  tensors_["sinks"] = tensor_of<double>(DType::f64, {4}, {0, -1, 2, 3.5});
  tensors_["notes"] = zeros({1});
  auto source = open_archive(write());
  LayerProblem problem = source->load(0);
  EXPECT_EQ(problem.bias.shape(), (Shape{2, 4, 3, 5}));
  EXPECT_EQ(problem.bias.values<float>()[7], -std::numeric_limits<float>::infinity());
  EXPECT_EQ(problem.valid, (std::vector<int64_t>{1, 5}));
  EXPECT_EQ(problem.sink_logit, (std::vector<float>{0, -1, 2, 3.5}));
  EXPECT_EQ(source->description(),
            "archive x.npz (bias, k, kv_valid_len, q, sinks, v), batch 2, 4/2 heads, head_dim 6, 3 queries, "
            "5 keys; "
            "ignored: notes");
}

TEST_F(Archive, BiasMayBroadcast) {
  for (const Shape& shape : {Shape{1, 1, 3, 5}, Shape{2, 1, 3, 5}, Shape{1, 4, 3, 5}}) {
    tensors_["bias"] = zeros(shape);
    EXPECT_EQ(open_archive(write())->load(0).bias.shape(), shape);
  }
}

TEST_F(Archive, ThreeAxesMeanBatchOne) {
  tensors_ = {{"q", ramp({4, 3, 6})}, {"k", ramp({2, 5, 6})}, {"v", ramp({1, 2, 5, 7})}};
  auto source = open_archive(write());
  EXPECT_EQ(source->geometry().batch, 1);
  EXPECT_EQ(source->load(0).query.row(0, 3, 2)[5], 71.0f);
}

TEST_F(Archive, IntegerLengthsOfAnyTypeAreRead) {
  auto expect_lengths = [&](const Tensor& lengths) {
    tensors_["kv_valid_len"] = lengths;
    EXPECT_EQ(open_archive(write())->load(0).valid, (std::vector<int64_t>{2, 4}));
  };
  expect_lengths(tensor_of<int8_t>(DType::i8, {2}, {2, 4}));
  expect_lengths(tensor_of<int16_t>(DType::i16, {2}, {2, 4}));
  expect_lengths(tensor_of<int32_t>(DType::i32, {2}, {2, 4}));
  expect_lengths(tensor_of<int64_t>(DType::i64, {2}, {2, 4}));
  expect_lengths(tensor_of<uint8_t>(DType::u8, {2}, {2, 4}));
  expect_lengths(tensor_of<uint16_t>(DType::u16, {2}, {2, 4}));
  expect_lengths(tensor_of<uint32_t>(DType::u32, {2}, {2, 4}));
  expect_lengths(tensor_of<uint64_t>(DType::u64, {2}, {2, 4}));
}

TEST_F(Archive, BadTensorsAreRefused) {
  auto with = [](Tensor tensor, size_t at, float value) {
    tensor.mutable_values<float>()[at] = value;
    return tensor;
  };
  const float infinity = std::numeric_limits<float>::infinity();
  struct Case {
    const char* name;
    Tensor tensor;  ///< empty: the tensor is missing
    std::vector<std::string> parts;
  };
  const Case cases[] = {
      {"k", {}, {"tensor k is missing", "found: q, v", "optional: bias, kv_valid_len, sinks"}},
      {"q", Tensor::zeros(DType::i32, {2, 4, 3, 6}), {"element type of q", "int32", "float32, float16"}},
      {"q", zeros({3, 6}), {"wrong shape of q", "[3, 6]", "[batch, heads, tokens, dim]"}},
      {"q", zeros({2, 4, 0, 6}), {"wrong shape of q", "[2, 4, 0, 6]"}},
      {"q", zeros({1, 4, 3, 6}), {"batch sizes differ", "q [1, 4, 3, 6], k [2, 2, 5, 6], v [2, 2, 5, 7]"}},
      {"v", zeros({1, 2, 5, 7}), {"batch sizes differ"}},
      {"q", zeros({2, 3, 3, 6}), {"KV heads do not divide", "q [2, 3, 3, 6]", "k [2, 2, 5, 6]"}},
      {"q", zeros({2, 4, 3, 8}), {"different head_dim", "q [2, 4, 3, 8]", "k [2, 2, 5, 6]"}},
      {"q", zeros({2, 4, 6, 6}), {"more queries than keys", "q [2, 4, 6, 6]", "last positions"}},
      {"v", zeros({2, 1, 5, 7}), {"different heads", "v [2, 1, 5, 7]"}},
      {"v", zeros({2, 2, 4, 7}), {"different lengths", "v [2, 2, 4, 7]"}},
      {"k", with(ramp({2, 2, 5, 6}), 119, std::nanf("")), {"NaN in k at [1, 1, 4, 5]"}},
      {"v", with(ramp({2, 2, 5, 7}), 0, -infinity), {"-inf in v at [0, 0, 0, 0]"}},
      {"bias",
       zeros({2, 4, 3, 6}),
       {"wrong shape of bias", "[2, 4, 3, 6]", "[2, 4, 3, 5], that is [batch or 1"}},
      {"bias", zeros({2, 2, 3, 5}), {"wrong shape of bias", "[2, 2, 3, 5]", "[2, 4, 3, 5]"}},
      {"bias", zeros({3, 5}), {"wrong shape of bias", "[3, 5]"}},
      {"bias", Tensor::zeros(DType::boolean, {2, 4, 3, 5}), {"element type of bias", "bool"}},
      {"bias", with(zeros({1, 1, 3, 5}), 5, std::nanf("")), {"NaN in bias at [0, 0, 1, 0]"}},
      {"bias", with(zeros({1, 1, 3, 5}), 5, infinity), {"inf in bias at [0, 0, 1, 0]", "and -inf"}},
      {"sinks", zeros({2}), {"wrong shape of sinks", "[2]", "[4], one per query head"}},
      {"sinks", with(zeros({4}), 1, -infinity), {"-inf in sinks at [1]"}},
      {"kv_valid_len", zeros({2}), {"element type of kv_valid_len", "float32", "an integer type"}},
      {"kv_valid_len", Tensor::zeros(DType::boolean, {2}), {"element type of kv_valid_len", "bool"}},
      {"kv_valid_len",
       tensor_of<int32_t>(DType::i32, {1}, {5}),
       {"wrong shape of kv_valid_len", "[1]", "[2]"}},
      {"kv_valid_len", tensor_of<int32_t>(DType::i32, {2}, {5, 6}), {"at [1]", "found: 6", "from 1 to 5"}},
      {"kv_valid_len", tensor_of<int32_t>(DType::i32, {2}, {0, 5}), {"at [0]", "found: 0"}},
      {"kv_valid_len", tensor_of<uint64_t>(DType::u64, {2}, {5, ~uint64_t{0}}), {"at [1]", "from 1 to 5"}},
  };
  const auto good = tensors_;
  for (const Case& c : cases) {
    SCOPED_TRACE(testing::Message() << c.name << " " << c.parts.front());
    tensors_ = good;
    tensors_[c.name] = c.tensor;
    if (c.tensor.empty()) tensors_.erase(c.name);
    expect_failure(c.parts);
  }
}

TEST_F(Archive, SafetensorsWithBfloat16AreRead) {
  // q, k, v of shape [1, 1, 1, 2], bfloat16 1.0 and -2.5 each.
  std::string header = "{";
  for (int i = 0; i < 3; ++i) {
    header += fmt::format("{}\"{}\":{{\"dtype\":\"BF16\",\"shape\":[1,1,1,2],\"data_offsets\":[{},{}]}}",
                          i > 0 ? "," : "", "qkv"[i], 4 * i, 4 * i + 4);
  }
  header += "}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  std::string bytes(8, '\0');
  for (size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(header.size() >> (8 * i) & 0xff);
  bytes += header;
  for (int i = 0; i < 3; ++i) bytes += std::string("\x80\x3f\x20\xc0", 4);
  io::write_bytes(folder_ / "x.safetensors", bytes);
  LayerProblem problem = open_archive(folder_ / "x.safetensors")->load(0);
  EXPECT_EQ(problem.query.row(0, 0, 0)[0], 1.0f);
  EXPECT_EQ(problem.value.row(0, 0, 0)[1], -2.5f);
}

TEST_F(Archive, OpenSourceChoosesByKind) {
  config::InputSpec spec{.kind = config::InputSpec::Kind::archive, .path = write()};
  EXPECT_EQ(open_source(spec)->geometry().keys, 5);
  spec.kind = config::InputSpec::Kind::trace;
  EXPECT_NE(refusal([&] { open_source(spec); }).find("not a trace"), std::string::npos);
  spec.kind = config::InputSpec::Kind::workload;
  spec.workload.kind = "gaussian";
  spec.workload.keys = 77;
  EXPECT_EQ(open_source(spec)->geometry().keys, 77);
}

}  // namespace
}  // namespace attnlab::data
