// A part of a layer holds the bits that the whole layer has there.
#include <gtest/gtest.h>

#include <limits>

#include "core/base/error.hpp"
#include "core/data/archive_source.hpp"
#include "core/data/normals.hpp"
#include "core/data/trace.hpp"
#include "core/data/workload.hpp"
#include "core/io/atomic_file.hpp"
#include "core/io/npy.hpp"
#include "core/io/safetensors.hpp"
#include "tests/support/method_files.hpp"

namespace attnlab::data {
namespace {

/// Every [batch, head, token, channel] of `part` is what `whole` has from `head` and `token` on.
void expect_view(const tensor::HeadView& part, const tensor::HeadView& whole, int64_t head, int64_t heads,
                 int64_t token, int64_t tokens) {
  ASSERT_EQ(part.batch, whole.batch);
  ASSERT_EQ(part.heads, heads);
  ASSERT_EQ(part.tokens, tokens);
  ASSERT_EQ(part.channels, whole.channels);
  for (int64_t b = 0; b < part.batch; ++b) {
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t t = 0; t < tokens; ++t) {
        for (int64_t c = 0; c < part.channels; ++c) {
          ASSERT_EQ(part.row(b, h, t)[c], whole.row(b, head + h, token + t)[c])
              << "[" << b << ", " << h << ", " << t << ", " << c << "]";
        }
      }
    }
  }
}

void expect_parts(const Source& source) {
  const Geometry& g = source.geometry();
  const Part parts[] = {Part::all(g),
                        {0, 1, 0, g.keys, 0},
                        {g.kv_heads - 1, g.kv_heads, 0, g.keys, g.queries - 1},
                        {0, g.kv_heads, g.keys / 3, g.keys / 2, 1},
                        {g.kv_heads / 2, g.kv_heads, 1, g.keys, g.queries / 2},
                        {0, g.kv_heads, g.keys, g.keys, 0}};
  for (const int layer : source.layers()) {
    const LayerProblem whole = source.load(layer);
    for (const Part& p : parts) {
      SCOPED_TRACE(testing::Message() << "heads " << p.kv_head_begin << " keys " << p.key_begin << " to "
                                      << p.key_end << " queries " << p.query_begin);
      const LayerProblem part = source.load_part(layer, p);
      EXPECT_EQ(part.kv_head_begin, p.kv_head_begin);
      EXPECT_EQ(part.key_begin, p.key_begin);
      EXPECT_EQ(part.query_begin, p.query_begin);
      EXPECT_EQ(part.valid, whole.valid);
      EXPECT_EQ(part.sink_logit, whole.sink_logit);
      const int64_t head = p.kv_head_begin, heads = p.kv_heads(), queries = g.queries - p.query_begin;
      expect_view(part.key, whole.key, head, heads, p.key_begin, p.keys());
      expect_view(part.value, whole.value, head, heads, p.key_begin, p.keys());
      expect_view(part.query, whole.query, head * g.group(), heads * g.group(), p.query_begin, queries);
      EXPECT_EQ(part.expected_output.data != nullptr, whole.expected_output.data != nullptr);
      if (whole.expected_output.data != nullptr) {
        expect_view(part.expected_output, whole.expected_output, head * g.group(), heads * g.group(),
                    p.query_begin, queries);
      }
      EXPECT_EQ(part.bias.empty(), whole.bias.empty());
      if (!whole.bias.empty()) {
        const auto bias = view_bhsd(part.bias), all = view_bhsd(whole.bias);
        for (int64_t q = 0; q < queries; ++q) {
          for (int64_t k = 0; k < p.keys(); ++k) {
            ASSERT_EQ(bias.row(0, 0, q)[k], all.row(0, head * g.group(), p.query_begin + q)[p.key_begin + k]);
          }
        }
      }
    }
  }
}

TEST(Parts, OfEveryWorkload) {
  for (const char* kind : {"gaussian", "power_law", "cone", "needle", "aggregation", "drift"}) {
    SCOPED_TRACE(kind);
    config::WorkloadSpec spec;
    spec.kind = kind;
    spec.layers = 2, spec.batch = 2, spec.query_heads = 6, spec.kv_heads = 3, spec.queries = 5,
    spec.keys = 391;
    // Channels that no block of normals is a multiple of.
    spec.head_dim = 13, spec.value_dim = 35, spec.depths = {0, 0.4, 0.5}, spec.rank = 2;
    const auto source = open_workload(spec);
    expect_parts(*source);
    EXPECT_TRUE(source->load_part(0, {0, 1, 0, spec.keys, 0}).true_mass.empty());
  }
}

TEST(Parts, NormalsBeginAnywhere) {
  std::vector<float> whole(40000), part(23000);
  fill_normals_from(5, 0, whole);
  for (const size_t first : {0, 1, 2, 3, 4, 127, 16383, 16384, 16999}) {
    fill_normals_from(5, first, part);
    for (size_t i = 0; i < part.size(); ++i) ASSERT_EQ(part[i], whole[first + i]) << first << " + " << i;
  }
}

TEST(Parts, OfALayerThatNoMachineHolds) {
  config::WorkloadSpec spec;
  spec.kind = "gaussian";
  spec.query_heads = spec.kv_heads = 1024, spec.queries = 1, spec.keys = 1 << 28;
  EXPECT_THROW(open_workload(spec), base::UserError);
  const auto source = open_workload(spec, true);
  const LayerProblem part = source->load_part(0, {1000, 1001, (1 << 28) - 3, 1 << 28, 0});
  EXPECT_EQ(part.key.tokens, 3);
  EXPECT_NE(part.key.row(0, 0, 2)[0], 0);
}

/// A trace and an archive of the same shape, in element types that are mapped and that are converted.
tensor::Tensor numbers(tensor::DType dtype, const tensor::Shape& shape) {
  auto tensor = tensor::Tensor::zeros(dtype, shape);
  for (int64_t i = 0; i < tensor.size(); ++i) {
    if (dtype == tensor::DType::f32)
      tensor.mutable_values<float>()[static_cast<size_t>(i)] = static_cast<float>(i);
    // Normal numbers of float16.
    else
      tensor.mutable_values<uint16_t>()[static_cast<size_t>(i)] = static_cast<uint16_t>(0x400 + i % 20000);
  }
  return tensor;
}

TEST(Parts, OfTraces) {
  for (const auto dtype : {tensor::DType::f32, tensor::DType::f16}) {
    const test::TemporaryFiles files;
    const auto write = [&](const char* name, int64_t heads, int64_t channels) {
      io::write_npy(files.path(std::string("layer00_") + name + ".npy"),
                    numbers(dtype, {11, heads, channels}));
    };
    write("q", 6, 4), write("k", 3, 4), write("v", 3, 5), write("o", 6, 5);
    io::write_file_atomically(files.path("manifest.json"), R"({"layers": 1, "n_heads": 6, "n_kv_heads": 3,
      "head_dim": 4, "value_dim": 5, "tokens": 11})");
    expect_parts(*open_trace(files.path("")));
  }
}

TEST(Parts, OfArchivesWithBias) {
  for (const int64_t bias_heads : {1, 4}) {
    const test::TemporaryFiles files;
    const std::string path = files.path("problem.safetensors");
    const auto f32 = tensor::DType::f32;
    io::write_safetensors(path, std::vector<io::NamedTensor>{{"q", numbers(f32, {2, 4, 3, 6})},
                                                             {"k", numbers(f32, {2, 2, 9, 6})},
                                                             {"v", numbers(tensor::DType::f16, {2, 2, 9, 7})},
                                                             {"bias", numbers(f32, {1, bias_heads, 3, 9})},
                                                             {"sinks", numbers(f32, {4})}});
    if (bias_heads == 4) expect_parts(*open_archive(path));
    const auto source = open_archive(path);
    const LayerProblem part = source->load_part(0, {1, 2, 2, 5, 1});
    EXPECT_EQ(part.bias.shape(), (tensor::Shape{1, bias_heads == 1 ? 1 : 2, 2, 3}));
    EXPECT_EQ(part.bias.values<float>()[0], static_cast<float>((bias_heads == 1 ? 0 : 2 * 27) + 9 + 2));
  }
}

TEST(Parts, ErrorsNameThePart) {
  const test::TemporaryFiles files;
  auto k = numbers(tensor::DType::f32, {1, 2, 9, 6});
  k.mutable_values<float>()[(9 + 7) * 6 + 1] = std::numeric_limits<float>::infinity();
  const std::string path = files.path("problem.safetensors");
  const auto f32 = tensor::DType::f32;
  io::write_safetensors(path,
                        std::vector<io::NamedTensor>{
                            {"q", numbers(f32, {1, 2, 3, 6})}, {"k", k}, {"v", numbers(f32, {1, 2, 9, 6})}});
  const auto source = open_archive(path);
  source->load_part(0, {0, 1, 0, 9, 0});
  source->load_part(0, {0, 2, 0, 7, 0});
  try {
    source->load_part(0, {1, 2, 4, 9, 0});
    FAIL();
  } catch (const base::UserError& error) {
    EXPECT_EQ(error.summary(), "inf in k[:, 1:2, 4:9] at [0, 0, 3, 1]");
  }
}

}  // namespace
}  // namespace attnlab::data
