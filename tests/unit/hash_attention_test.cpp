// hash_attention against its definition in double precision, and what it says of weight files that do not
// fit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/io/archive.hpp"
#include "core/io/safetensors.hpp"
#include "tests/support/catalog.hpp"
#include "tests/support/hash_weights.hpp"
#include "tests/support/small_problem.hpp"
#include "tests/unit/io_test_support.hpp"

namespace attnlab::test {
namespace {

using io::Json;
using train::Activation;
using train::NetShape;

std::vector<double> outputs(const NetShape& shape, const std::vector<float>& mlp, const float* x) {
  std::vector<double> now(x, x + shape.head_dim);
  const float* numbers = mlp.data();
  for (int64_t layer = 0; layer < shape.layers; ++layer) {
    const int64_t in = shape.inputs(layer), out = shape.outputs(layer);
    std::vector<double> next;
    for (int64_t o = 0; o < out; ++o) {
      double sum = numbers[in * out + o];
      for (int64_t i = 0; i < in; ++i) sum += now[static_cast<size_t>(i)] * double{numbers[i * out + o]};
      if (layer + 1 < shape.layers) {
        sum = shape.activation == Activation::silu   ? sum / (1 + std::exp(-sum))
              : shape.activation == Activation::relu ? std::max(sum, 0.0)
              : shape.activation == Activation::gelu ? 0.5 * sum * (1 + std::erf(sum / std::sqrt(2.0)))
                                                     : std::tanh(sum);
      }
      next.push_back(sum);
    }
    numbers += (in + 1) * out;
    now = next;
  }
  return now;
}

/// bits - 2 * Hamming distance of the codes of one query and one key.
int64_t score(const NetShape& shape, const std::vector<double>& query, const std::vector<double>& key) {
  int64_t equal = 0;
  for (size_t b = 0; b < query.size(); ++b) {
    // Closer to 0 the two precisions could disagree about the sign, and the test would say nothing.
    EXPECT_GT(std::min(std::abs(query[b]), std::abs(key[b])), 1e-6);
    equal += (query[b] < 0) == (key[b] < 0) ? 1 : 0;
  }
  return 2 * equal - shape.bits;
}

struct Case {
  NetShape net;
  bool per_query_head;
  Shape problem;
};

std::string document_text(const std::string& file, const std::string& more) {
  const std::string stage =
      R"({"masker": "hash_attention", "hat_weight_file": ")" + file + "\", " + more + "}";
  return R"({"main": [)" + stage + "]}";
}

class HashAttention : public testing::TestWithParam<Case> {};

TEST_P(HashAttention, SelectsWhatTheDefinitionDoes) {
  const auto& [net, per_query_head, shape] = GetParam();
  const SmallProblem problem = make_problem(shape, 11);
  const data::Geometry& g = problem.geometry;
  const auto weights = random_hash_weights(net, per_query_head ? g.query_heads : g.kv_heads, per_query_head,
                                           {problem.layer.layer}, 12);
  io::TemporaryFolder folder;
  write_hash_weights(folder / "w.safetensors", weights);
  constexpr int64_t heavy = 5;
  const auto bound = bind(document_with(document_text(folder / "w.safetensors", R"("heavy_size": 5)")));
  const attention::AttentionOptions options{
      .causal = shape.causal, .scale = 0.5f, .on_empty_row = config::EmptyRow::zeros};
  const Planes ours = run_pipelines(bound, problem, options)[0];
  EXPECT_EQ(run_pipelines(bound, problem, options, {.tile_bytes = 1})[0], ours);
  if (shape.causal && !shape.shorter_sequences) {
    EXPECT_EQ(run_pipelines(bound, problem, options, {.one_by_one = true})[0], ours);
  }

  for (int64_t b = 0; b < g.batch; ++b) {
    for (int64_t h = 0; h < g.query_heads; ++h) {
      const auto mlp = static_cast<size_t>(per_query_head ? h : h / g.group());
      std::vector<std::vector<double>> keys;
      for (int64_t j = 0; j < g.keys; ++j)
        keys.push_back(outputs(net, weights.layers[0].key[mlp], problem.layer.key.row(b, h / g.group(), j)));
      for (int64_t i = 0; i < g.queries; ++i) {
        const auto query = outputs(net, weights.layers[0].query[mlp], problem.layer.query.row(b, h, i));
        const int64_t valid = problem.layer.valid[static_cast<size_t>(b)], position = i + valid - g.queries;
        const int64_t end = shape.causal ? position + 1 : position < 0 ? 0 : valid;
        std::vector<std::pair<int64_t, int64_t>> ranked;
        for (int64_t j = 0; j < end; ++j) {
          const bool hidden =
              !problem.layer.bias.empty() &&
              std::isinf(problem.layer.bias.values<float>()[static_cast<size_t>(i * g.keys + j)]);
          if (!hidden) ranked.emplace_back(-score(net, query, keys[static_cast<size_t>(j)]), j);
        }
        std::sort(ranked.begin(), ranked.end());
        ranked.resize(std::min<size_t>(ranked.size(), heavy));
        std::vector<float> expected(static_cast<size_t>(g.keys));
        for (const auto& entry : ranked) expected[static_cast<size_t>(entry.second)] = 1;
        const float* row = ours.probability.data() + ((b * g.query_heads + h) * g.queries + i) * g.keys;
        EXPECT_EQ(std::vector<float>(row, row + g.keys), expected) << b << " " << h << " " << i;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    OddShapes, HashAttention,
    testing::Values(Case{{3, 3, 5, 32, Activation::silu},
                         false,
                         {.query_heads = 4, .kv_heads = 2, .queries = 9, .keys = 21, .head_dim = 3}},
                    Case{{1, 2, 20, 65, Activation::gelu},
                         true,
                         {.query_heads = 4, .kv_heads = 2, .queries = 9, .keys = 9, .head_dim = 1}},
                    Case{{4, 1, 1, 1, Activation::relu},
                         true,
                         {.batch = 2,
                          .query_heads = 3,
                          .kv_heads = 1,
                          .queries = 5,
                          .keys = 30,
                          .causal = false,
                          .shorter_sequences = true}},
                    Case{{3, 2, 17, 64, Activation::tanh},
                         false,
                         {.batch = 2,
                          .query_heads = 2,
                          .kv_heads = 2,
                          .queries = 7,
                          .keys = 40,
                          .head_dim = 3,
                          .bias = Shape::Bias::holes}},
                    Case{{6, 3, 33, 130, Activation::relu},
                         true,
                         {.query_heads = 2, .kv_heads = 1, .queries = 1, .keys = 3, .head_dim = 6}}));

/// A file that fits make_problem({}) of one head, 4 channels and layer 3.
class HashWeightFile : public testing::Test {
 protected:
  /// What attending with this file says, "" when it is accepted.
  std::string refusal(const std::string& more = R"("heavy_size": 2)",
                      const std::string& name = "w.safetensors") {
    return io::refusal([&] {
      const auto bound = bind(document_with(document_text(folder_ / name, more)));
      run_pipelines(bound, make_problem({.queries = 2, .keys = 4}, 1), {.scale = 0.5f});
    });
  }
  void write(const NetShape& shape, int64_t heads = 1, const std::vector<int>& layers = {3}) {
    write_hash_weights(folder_ / "w.safetensors", random_hash_weights(shape, heads, false, layers, 1));
  }
  /// The valid file with some tensors or metadata changed.
  template <class Change>
  void write_changed(const Change& change) {
    write({4, 2, 3, 8, Activation::silu});
    const auto file = io::Archive::open(folder_ / "w.safetensors");
    std::vector<std::pair<std::string, tensor::Tensor>> tensors;
    for (const auto& name : file.names()) tensors.emplace_back(name, file.read(name));
    auto metadata = file.metadata();
    change(tensors, metadata);
    io::write_safetensors(folder_ / "changed.safetensors", tensors, metadata);
  }
  void expect_refused(const std::string& text, const std::vector<std::string>& parts) {
    for (const auto& part : parts) EXPECT_NE(text.find(part), std::string::npos) << part << " | " << text;
    EXPECT_NE(text.find("/pipelines/main/0/hat_weight_file"), std::string::npos) << text;
  }
  std::string changed_refusal() { return refusal(R"("heavy_size": 2)", "changed.safetensors"); }

  io::TemporaryFolder folder_;
};

TEST_F(HashWeightFile, ThatFitsIsRead) {
  write({4, 2, 3, 8, Activation::silu});
  EXPECT_EQ(refusal(), "");
  EXPECT_EQ(refusal(R"("heavy_size": 2, "hat_bits": 8, "hat_mlp_layers": 2, "hat_mlp_hidden_size": 3,
                       "hat_mlp_activation": "silu")"),
            "");
}

TEST_F(HashWeightFile, OfAnotherGeometryIsRefusedWithBothShapes) {
  write({5, 2, 3, 8, Activation::silu});
  expect_refused(refusal(), {"[1, 5, 3]", "[1, 4, 3]", "head_dim"});
  write({4, 1, 3, 8, Activation::silu}, 2);
  expect_refused(refusal(), {"[2, 4, 8]", "[1, 4, 8]", "KV heads"});
  write({4, 2, 3, 8, Activation::silu}, 1, {0, 2});
  expect_refused(refusal(), {"layers 0, 2", "layer 3"});
}

TEST_F(HashWeightFile, OfAnotherConfigIsRefusedWithBothValues) {
  write({4, 2, 3, 8, Activation::silu});
  expect_refused(refusal(R"("heavy_size": 2, "hat_bits": 32)"), {"hat_bits", "32", "8"});
  expect_refused(refusal(R"("heavy_size": 2, "hat_mlp_layers": 3)"), {"hat_mlp_layers", "3", "2"});
  expect_refused(refusal(R"("heavy_size": 2, "hat_mlp_hidden_size": 128)"),
                 {"hat_mlp_hidden_size", "128", "3"});
  expect_refused(refusal(R"("heavy_size": 2, "hat_mlp_activation": "gelu")"),
                 {"hat_mlp_activation", "gelu", "silu"});
}

TEST_F(HashWeightFile, ThatIsNoneIsRefused) {
  expect_refused(refusal(R"("heavy_size": 2)", "gone.safetensors"), {"gone.safetensors"});
  io::write_bytes(folder_ / "text.safetensors", "not a header");
  expect_refused(refusal(R"("heavy_size": 2)", "text.safetensors"), {"safetensors"});
  io::write_bytes(folder_ / "w.pkl", std::string("\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00}", 12));
  expect_refused(refusal(R"("heavy_size": 2)", "w.pkl"), {"pickle", "never read", "convert_weights.py"});
  io::write_bytes(
      folder_ / "w.pt",
      std::string("PK\3\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10\0\0\0archive/data.pkl", 46));
  expect_refused(refusal(R"("heavy_size": 2)", "w.pt"), {"pickle", "never read", "convert_weights.py"});
  io::write_safetensors(folder_ / "other.safetensors", {});
  expect_refused(refusal(R"("heavy_size": 2)", "other.safetensors"), {"metadata", "format"});
}

TEST_F(HashWeightFile, OfADamagedLayoutIsRefused) {
  write_changed([](auto&, auto& metadata) { metadata["format"] = "other/1"; });
  expect_refused(changed_refusal(), {"other/1", "attnlab.hash_weights/1"});
  for (const char* layers : {"", "1,", "x", "2,1", "99999999999"}) {
    write_changed([&](auto&, auto& metadata) { metadata["layers"] = layers; });
    expect_refused(changed_refusal(), {"\"layers\""});
  }
  write_changed([](auto&, auto& metadata) { metadata["per"] = "head"; });
  expect_refused(changed_refusal(), {"\"per\"", "query_head"});
  write_changed([](auto&, auto& metadata) { metadata["mlp_layers"] = "4"; });
  expect_refused(changed_refusal(), {"\"mlp_layers\"", "1, 2 or 3"});
  write_changed([](auto&, auto& metadata) { metadata["mlp_layers"] = "3"; });
  expect_refused(changed_refusal(), {"layers.3.query.2.weight"});
  write_changed([](auto&, auto& metadata) { metadata["activation"] = "swish"; });
  expect_refused(changed_refusal(), {"swish", "silu, relu, gelu or tanh"});
  write_changed([](auto& tensors, auto&) { tensors[4].second = tensors[4].second.reshaped({1, 3, 4}); });
  expect_refused(changed_refusal(), {"layers.3.key.0"});
  write_changed([](auto& tensors, auto&) { tensors[0].second = tensors[0].second.reshaped({12}); });
  expect_refused(changed_refusal(), {"layers.3.query.0.weight is [12]"});
  write_changed([](auto& tensors, auto&) {
    tensors[1].second = io::tensor_of<float>(tensor::DType::f32, {1, 3}, {0, NAN, 0});
  });
  expect_refused(changed_refusal(), {"layers.3.query.0", "NaN"});
}

}  // namespace
}  // namespace attnlab::test
