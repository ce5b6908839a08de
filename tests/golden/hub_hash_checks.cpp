// Golden cases of hash_attention: its codes and scores are the reference's, its keys those of the highest
// scores.
#include <gtest/gtest.h>

#include <algorithm>

#include "core/io/npy.hpp"
#include "core/train/hash_weights.hpp"
#include "tests/golden/hub_checks.hpp"
#include "tests/golden/hub_compare.hpp"

namespace attnlab::golden {
namespace {

using io::Json;

/// The case's dumped MLPs, one pair for each query head.
train::HashWeights dumped_weights(const HubCase& golden) {
  const auto number = [&](const char* key) { return golden.parameter("hash_attention", key).get<int64_t>(); };
  const auto activation = golden.parameter("hash_attention", "hat_mlp_activation").get<std::string>();
  const auto& names = train::activation_names();
  train::HashWeights weights;
  weights.shape = {
      golden.shape().head_dim, number("hat_mlp_layers"), number("hat_mlp_hidden_size"), number("hat_bits"),
      static_cast<train::Activation>(std::find(names.begin(), names.end(), activation) - names.begin())};
  weights.per_query_head = true;
  weights.heads = golden.shape().query_heads;
  train::HashLayer& layer = weights.layers.emplace_back();
  const auto rows = [&](const char* side) {
    std::vector<std::vector<float>> heads(static_cast<size_t>(weights.heads));
    for (int64_t i = 0; i < weights.shape.layers; ++i) {
      for (const char* kind : {"matrix", "bias"}) {
        const auto tensor = io::read_npy(
            golden.path(std::string("hat_") + side + "_" + kind + "_" + std::to_string(i) + ".npy"));
        const auto values = tensor.values<float>();
        const size_t size = values.size() / heads.size();
        for (size_t h = 0; h < heads.size(); ++h) {
          const auto part = values.subspan(h * size, size);
          heads[h].insert(heads[h].end(), part.begin(), part.end());
        }
      }
    }
    return heads;
  };
  layer.query = rows("query");
  layer.key = rows("key");
  return weights;
}

/// The codes of `view` [1, heads, tokens, bits] dumped as signs, against ours.
void expect_signatures(const HubCase& golden, const train::HashWeights& weights, const std::string& side) {
  const auto signs = io::read_npy(golden.path(side + "_signatures.npy")).to_f32();
  const auto& inputs = golden.inputs().at(side == "query" ? "q" : "k");
  const auto view = tensor::view_bhsd(inputs);
  const auto& mlps = side == "query" ? weights.layers[0].query : weights.layers[0].key;
  const int64_t bits = weights.shape.bits;
  for (int64_t h = 0; h < weights.heads; ++h) {
    for (int64_t t = 0; t < view.tokens; ++t) {
      const float* x = view.row(0, h * view.heads / weights.heads, t);
      const auto code = train::hash_code(weights.shape, mlps[static_cast<size_t>(h)],
                                         {x, static_cast<size_t>(weights.shape.head_dim)});
      const float* sign = signs.values<float>().data() + (h * view.tokens + t) * bits;
      for (int64_t b = 0; b < bits; ++b)
        EXPECT_EQ((code[static_cast<size_t>(b / 64)] >> (b % 64)) & 1, sign[b] < 0 ? 0u : 1u)
            << side << " head " << h << " token " << t << " bit " << b;
    }
  }
}

}  // namespace

void highest_hash_scores(const TableRow& row) {
  const HubCase golden(row.name);
  const train::HashWeights weights = dumped_weights(golden);
  ASSERT_EQ(golden.shape().batch, 1);
  expect_signatures(golden, weights, "query");
  expect_signatures(golden, weights, "key");

  io::TemporaryFolder folder;
  write_hash_weights(folder / "weights.safetensors", weights);
  Json stages = golden.stages();
  stages[0]["hat_weight_file"] = folder / "weights.safetensors";
  const Outcome ours = Product(golden, {{"case", stages}}).run().at("case");
  EXPECT_TRUE(lawful(golden, ours));

  // The reference adds its bias of less than 0.01 to the integer scores, and leaves ties to torch. Ours has
  // the integers alone; ties go to the lower index.
  const Plane scores = Plane::read(golden.path("scores.npy")), reference = golden.mask();
  Plane expected(golden.shape().rows(), golden.shape().keys, 0);
  for (int64_t r = 0; r < expected.rows(); ++r) {
    std::vector<double> integers;
    for (float score : scores.row(r)) integers.push_back(std::floor(double{score} + 1e-4));
    const auto count = golden.manifest()["k"].get<int64_t>();
    const auto keys = largest(integers, golden.visible_end(r), count);
    double lowest = integers[static_cast<size_t>(keys[0])];
    for (int64_t key : keys) {
      expected.row(r)[static_cast<size_t>(key)] = 1;
      lowest = std::min(lowest, integers[static_cast<size_t>(key)]);
    }
    // Above the last score there is no choice: there the reference's mask is ours.
    for (size_t key = 0; key < integers.size(); ++key) {
      if (integers[key] > lowest) {
        EXPECT_EQ(reference.row(r)[key], 1) << "row " << r << " key " << key;
      }
      if (integers[key] < lowest) {
        EXPECT_EQ(reference.row(r)[key], 0) << "row " << r << " key " << key;
      }
    }
  }
  EXPECT_TRUE(same_mask(golden, expected, ours.mask));
}

}  // namespace attnlab::golden
