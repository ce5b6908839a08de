#include "core/train/hash_weights.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/base/error.hpp"
#include "core/io/safetensors.hpp"

namespace attnlab::train {
namespace {

void activate(Activation activation, std::vector<float>& x) {
  for (float& v : x) {
    switch (activation) {
      case Activation::silu:
        v = v / (1 + std::exp(-v));
        break;
      case Activation::relu:
        v = std::max(v, 0.0f);
        break;
      case Activation::gelu:
        v = 0.5f * v * (1 + std::erf(v * 0.70710678f));
        break;
      case Activation::tanh:
        v = std::tanh(v);
        break;
    }
  }
}

}  // namespace

std::vector<std::pair<std::string, tensor::Tensor>> layer_tensors(const HashWeights& weights,
                                                                  const HashLayer& layer) {
  std::vector<std::pair<std::string, tensor::Tensor>> tensors;
  const NetShape& shape = weights.shape;
  for (const auto& [side, heads] : {std::pair{"query", &layer.query}, std::pair{"key", &layer.key}}) {
    ATTNLAB_CHECK(static_cast<int64_t>(heads->size()) == weights.heads, "a set of weights for each head");
    int64_t at = 0;
    for (int64_t i = 0; i < shape.layers; ++i) {
      const int64_t in = shape.inputs(i), out = shape.outputs(i);
      const std::string name = fmt::format("layers.{}.{}.{}", layer.layer, side, i);
      auto weight = tensor::Tensor::zeros(tensor::DType::f32, {weights.heads, in, out});
      auto bias = tensor::Tensor::zeros(tensor::DType::f32, {weights.heads, out});
      for (int64_t head = 0; head < weights.heads; ++head) {
        const float* from = (*heads)[static_cast<size_t>(head)].data() + at;
        std::copy_n(from, in * out, weight.mutable_values<float>().begin() + head * in * out);
        std::copy_n(from + in * out, out, bias.mutable_values<float>().begin() + head * out);
      }
      tensors.emplace_back(name + ".weight", weight);
      tensors.emplace_back(name + ".bias", bias);
      at += in * out + out;
    }
  }
  return tensors;
}

void write_hash_weights(const std::string& path, const HashWeights& weights) {
  std::vector<std::pair<std::string, tensor::Tensor>> tensors;
  std::vector<std::string> layers;
  for (const auto& layer : weights.layers) {
    auto more = layer_tensors(weights, layer);
    std::move(more.begin(), more.end(), std::back_inserter(tensors));
    layers.push_back(std::to_string(layer.layer));
  }
  io::write_safetensors(path, tensors,
                        {{"format", "attnlab.hash_weights/1"},
                         {"layers", base::join(layers, ",")},
                         {"per", weights.per_query_head ? "query_head" : "kv_head"},
                         {"mlp_layers", std::to_string(weights.shape.layers)},
                         {"activation", name_of(weights.shape.activation)}});
}

std::vector<uint64_t> hash_code(const NetShape& shape, std::span<const float> mlp, std::span<const float> x) {
  std::vector<float> now(x.begin(), x.end()), next;
  const float* weight = mlp.data();
  for (int64_t layer = 0; layer < shape.layers; ++layer) {
    const int64_t in = shape.inputs(layer), out = shape.outputs(layer);
    const float* bias = weight + in * out;
    next.assign(bias, bias + out);
    for (int64_t i = 0; i < in; ++i) {
      for (int64_t o = 0; o < out; ++o)
        next[static_cast<size_t>(o)] += now[static_cast<size_t>(i)] * weight[i * out + o];
    }
    if (layer + 1 < shape.layers) activate(shape.activation, next);
    now.swap(next);
    weight = bias + out;
  }
  std::vector<uint64_t> code(static_cast<size_t>((shape.bits + 63) / 64));
  for (size_t b = 0; b < now.size(); ++b) code[b / 64] |= uint64_t{now[b] < 0 ? 0u : 1u} << (b % 64);
  return code;
}

int64_t hamming_distance(std::span<const uint64_t> a, std::span<const uint64_t> b) {
  int64_t distance = 0;
  for (size_t i = 0; i < a.size(); ++i) distance += std::popcount(a[i] ^ b[i]);
  return distance;
}

}  // namespace attnlab::train
