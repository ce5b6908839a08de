#include "core/data/trace.hpp"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/io/npy.hpp"
#include "tests/unit/io_test_support.hpp"

namespace attnlab::data {
namespace {

using io::refusal;
using tensor::DType;
using tensor::Shape;
using tensor::Tensor;

/// 0, 1/2, 1, ...: exact in every floating-point type used here.
Tensor ramp(DType dtype, const Shape& shape) {
  auto tensor = Tensor::zeros(dtype, shape);
  for (int64_t i = 0; i < tensor.size(); ++i) {
    auto at = static_cast<size_t>(i);
    if (dtype == DType::f32) tensor.mutable_values<float>()[at] = static_cast<float>(i) / 2;
    if (dtype == DType::f64) tensor.mutable_values<double>()[at] = static_cast<double>(i) / 2;
  }
  return tensor;
}

/// A valid trace of two layers, 4/2 heads, 5 tokens, head_dim 3, in a temporary folder; tests then break it.
class Trace : public testing::Test {
 protected:
  Trace() {
    for (int layer : {0, 2}) {
      write(layer, 'q', ramp(DType::f32, {5, 4, 3}));
      write(layer, 'k', ramp(DType::f32, {5, 2, 3}));
      write(layer, 'v', ramp(DType::f32, {5, 2, 3}));
    }
    write(0, 'o', ramp(DType::f32, {5, 4, 3}));
    write_manifest();
  }

  void write(int layer, char name, const Tensor& tensor) {
    io::write_npy(folder_ / fmt::format("layer{:02}_{}.npy", layer, name), tensor);
  }
  void write_manifest() { io::write_bytes(folder_ / "manifest.json", manifest_.dump()); }
  std::unique_ptr<Source> open() { return open_trace(folder_.path()); }

  /// The message of opening and loading everything.
  std::string failure() {
    return refusal([&] {
      auto source = open();
      for (int layer : source->layers()) source->load(layer);
    });
  }
  void expect_failure(const std::vector<std::string>& parts) {
    std::string message = failure();
    for (const auto& part : parts)
      EXPECT_NE(message.find(part), std::string::npos) << part << " | " << message;
  }

  io::TemporaryFolder folder_;
  nlohmann::json manifest_ = {{"layers", 3},     {"dumped_layers", {0, 2}}, {"n_heads", 4},
                              {"n_kv_heads", 2}, {"head_dim", 3},           {"tokens", 5},
                              {"scale", 0.25},   {"causal", true},          {"dtype", "<f4"}};
};

TEST_F(Trace, IsReadAsWritten) {
  auto source = open();
  const Geometry& g = source->geometry();
  EXPECT_EQ(g.batch, 1);
  EXPECT_EQ(g.query_heads, 4);
  EXPECT_EQ(g.kv_heads, 2);
  EXPECT_EQ(g.queries, 5);
  EXPECT_EQ(g.keys, 5);
  EXPECT_EQ(g.head_dim, 3);
  EXPECT_EQ(g.value_dim, 3);
  EXPECT_EQ(source->layers(), (std::vector<int>{0, 2}));
  EXPECT_EQ(source->scale(), 0.25);
  EXPECT_EQ(source->causal(), true);
  EXPECT_EQ(source->files().size(), 8u);
  LayerProblem problem = source->load(0);
  EXPECT_EQ(problem.valid, (std::vector<int64_t>{5}));
  // [token, head, dim]: query (head 3, token 2, dim 1) is element 2*12 + 3*3 + 1.
  EXPECT_EQ(problem.query.row(0, 3, 2)[1], 17.0f);
  EXPECT_EQ(problem.key.row(0, 1, 4)[2], 14.5f);
  EXPECT_EQ(problem.value.heads, 2);
  EXPECT_EQ(problem.expected_output.row(0, 3, 2)[1], 17.0f);
  EXPECT_EQ(source->load(2).expected_output.data, nullptr);
}

TEST_F(Trace, OptionalMembersMayBeMissing) {
  manifest_ = {{"layers", 1}, {"n_heads", 4}, {"n_kv_heads", 2}, {"head_dim", 3}, {"tokens", 5}};
  write_manifest();
  auto source = open();
  EXPECT_EQ(source->layers(), (std::vector<int>{0}));
  EXPECT_EQ(source->scale(), std::nullopt);
  EXPECT_EQ(source->causal(), std::nullopt);
}

TEST_F(Trace, Float64IsConvertedAndValueDimMayDiffer) {
  manifest_["dtype"] = "float64";
  manifest_["dumped_layers"] = {1};
  manifest_["value_dim"] = 6;
  write_manifest();
  write(1, 'q', ramp(DType::f64, {5, 4, 3}));
  write(1, 'k', ramp(DType::f64, {5, 2, 3}));
  write(1, 'v', ramp(DType::f64, {5, 2, 6}));
  LayerProblem problem = open()->load(1);
  EXPECT_EQ(problem.query.row(0, 3, 2)[1], 17.0f);
  EXPECT_EQ(problem.value.channels, 6);
  EXPECT_EQ(problem.value.row(0, 1, 1)[5], 11.5f);
}

TEST_F(Trace, LiesOfTheManifestAreCaught) {
  struct Case {
    const char* pointer;
    nlohmann::json value;
    std::vector<std::string> parts;
  };
  const nlohmann::json remove = nlohmann::json::value_t::discarded;
  const Case cases[] = {
      {"/tokens",
       6,
       {"layer00_q.npy: wrong shape", "found: [5, 4, 3]", "allowed: [6, 4, 3]", "manifest.json"}},
      {"/n_heads", 8, {"layer00_q.npy", "[5, 4, 3]", "[5, 8, 3]"}},
      {"/n_kv_heads", 4, {"layer00_k.npy", "[5, 2, 3]", "[5, 4, 3]", "n_kv_heads"}},
      {"/n_kv_heads", 3, {"/n_kv_heads", "do not divide", "3 KV heads, 4 query heads"}},
      {"/head_dim", 4, {"layer00_q.npy", "[5, 4, 4]"}},
      {"/value_dim", 4, {"layer00_v.npy", "[5, 2, 4]", "value_dim"}},
      {"/dtype", "<f8", {"layer00_q.npy", "found: float32", "float64, as /dtype"}},
      {"/dtype", "<c8", {"/dtype", "\"<c8\"", "\"<f4\""}},
      {"/dtype", 4, {"/dtype", "found: 4"}},
      {"/layers", remove, {"manifest.json: /layers: missing"}},
      {"/tokens", remove, {"manifest.json: /tokens: missing"}},
      {"/tokens", 0, {"/tokens", "found: 0", "an integer from 1"}},
      {"/tokens", -5, {"/tokens", "found: -5"}},
      {"/tokens", 5.0, {"/tokens", "found: 5.0"}},
      {"/tokens", "5", {"/tokens", "found: \"5\""}},
      {"/tokens", true, {"/tokens", "found: true"}},
      {"/tokens", std::numeric_limits<uint64_t>::max(), {"/tokens", "found: 18446744073709551615"}},
      {"/layers", 2000000000, {"/layers", "from 1 to 100000"}},
      {"/layers", 2, {"/dumped_layers/1", "found: 2", "from 0 to 1"}},
      {"/dumped_layers", {0, 0}, {"/dumped_layers/1", "twice"}},
      {"/dumped_layers", nlohmann::json::array(), {"/dumped_layers", "an empty list"}},
      {"/dumped_layers", 0, {"/dumped_layers", "found: 0"}},
      {"/dumped_layers", {0, "2"}, {"/dumped_layers/1", "\"2\""}},
      {"/dumped_layers", {0, 1}, {"layer01_q.npy", "cannot open"}},
      {"/scale", 0, {"/scale", "a number > 0"}},
      {"/scale", "x", {"/scale", "\"x\""}},
      {"/causal", 1, {"/causal", "found: 1", "true or false"}},
      {"", nlohmann::json::array(), {"not a manifest", "an array"}},
  };
  const auto good = manifest_;
  for (const Case& c : cases) {
    SCOPED_TRACE(c.pointer);
    manifest_ = good;
    if (c.value.is_discarded()) {
      manifest_.erase(c.pointer + 1);
    } else {
      manifest_[nlohmann::json::json_pointer(c.pointer)] = c.value;
    }
    write_manifest();
    expect_failure(c.parts);
  }
}

TEST_F(Trace, BadArraysAreNamed) {
  write(2, 'k', Tensor::zeros(DType::i32, {5, 2, 3}));
  expect_failure({"layer02_k.npy: wrong element type of layer02_k", "int32", "float32"});
  manifest_.erase("dtype");
  write_manifest();
  EXPECT_THROW(open(), base::UserError);
  write(2, 'k', ramp(DType::f32, {5, 6}));
  expect_failure({"layer02_k.npy", "[5, 6]", "[5, 2, 3]"});

  auto broken = ramp(DType::f32, {5, 2, 3});
  broken.mutable_values<float>()[2 * 6 + 1 * 3 + 2] = std::nanf("");
  write(2, 'k', broken);
  EXPECT_NO_THROW(open());  // contents are read by load
  expect_failure({"layer02_k.npy: NaN in layer02_k at [2, 1, 2]"});
  write(2, 'k', ramp(DType::f32, {5, 2, 3}));
  EXPECT_EQ(failure(), "");

  write(0, 'o', ramp(DType::f32, {5, 2, 3}));
  expect_failure({"layer00_o.npy", "[5, 2, 3]", "[5, 4, 3]"});
}

TEST_F(Trace, FoldersThatAreNoTraceAreExplained) {
  auto expect = [](const std::string& path, const std::string& found) {
    std::string message = refusal([&] { open_trace(path); });
    EXPECT_NE(message.find(path + ": not a trace"), std::string::npos) << message;
    EXPECT_NE(message.find("found: " + found), std::string::npos) << message;
    EXPECT_NE(message.find("a trace is a folder with manifest.json"), std::string::npos) << message;
  };
  expect(folder_ / "nowhere", "no such folder");
  expect(folder_ / "layer00_q.npy", "a file");
  std::filesystem::remove(folder_ / "manifest.json");
  expect(folder_.path(), "a folder without manifest.json");
}

TEST_F(Trace, HostileManifestsAreRefused) {
  auto expect = [&](const std::string& text, const std::string& part) {
    io::write_bytes(folder_ / "manifest.json", text);
    std::string message = failure();
    EXPECT_NE(message.find(part), std::string::npos) << message;
    EXPECT_LT(message.size(), 1000u);
  };
  expect("", "not valid JSON");
  expect("{\"layers\": 1", "not valid JSON");
  expect("{\"layers\": 1e999}", "not valid JSON");
  expect(std::string(300000, '['), "not valid JSON");
  std::string deep = std::string(300000, '[') + std::string(300000, ']');
  expect("{\"layers\": " + deep + "}", "/layers: bad value\n  found: an array");
  expect(std::string(17 << 20, ' '), "manifest.json");
}

/// Rows of the real trace against dense attention in double: out = softmax(scale q.k) v over the keys so far.
TEST(RealTrace, DenseAttentionReproducesTheModelsOwnOutput) {
  const char* shared = std::getenv("ATTNLAB_SHARED");
  std::string path =
      std::string(shared != nullptr ? shared : ATTNLAB_SHARED_DIR) + "/data/traces/stories260K-long1769";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no trace at " << path << " (set ATTNLAB_SHARED)";
  auto source = open_trace(path + "/");
  EXPECT_EQ(source->description(),
            "trace stories260K-long1769, 5 layers, 8/4 heads, head_dim 8, 1769 tokens");
  EXPECT_EQ(source->layers(), (std::vector<int>{0, 1, 2, 3, 4}));
  EXPECT_EQ(source->files().size(), 21u);
  const Geometry& g = source->geometry();
  LayerProblem problem = source->load(0);
  ASSERT_NE(problem.expected_output.data, nullptr);
  for (int64_t h = 0; h < g.query_heads; ++h) {
    for (int64_t i : {0, 1, 17, 512, 1000, 1768}) {
      std::vector<double> out(8);
      double denominator = 0;
      for (int64_t j = 0; j <= i; ++j) {
        double dot = 0;
        for (int64_t c = 0; c < 8; ++c) {
          dot += static_cast<double>(problem.query.row(0, h, i)[c]) * problem.key.row(0, h / g.group(), j)[c];
        }
        double weight = std::exp(*source->scale() * dot);
        denominator += weight;
        for (size_t c = 0; c < 8; ++c) out[c] += weight * problem.value.row(0, h / g.group(), j)[c];
      }
      for (size_t c = 0; c < 8; ++c) {
        EXPECT_NEAR(out[c] / denominator, problem.expected_output.row(0, h, i)[c], 1e-5)
            << "[" << h << ", " << i << ", " << c << "]";
      }
    }
  }
}

}  // namespace
}  // namespace attnlab::data
