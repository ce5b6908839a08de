// The table of schemes that every promise of a scheme is checked for. A new plugin gets its tests by
// existing: schemes that have no entry run with their defaults.
#pragma once

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "tests/support/scheme_layer.hpp"

namespace attnlab::test {

struct SchemeSample {
  std::string name;
  io::Json attention;
  bool causal = true;          ///< outputs depend on no later token
  bool steps = true;           ///< it decodes; else it refuses
  bool differentiable = true;  ///< everywhere: no step function such as an argmax in its way
  int64_t tokens = 9;
  int64_t state_per_token = -1;  ///< numbers that it should keep per token and sequence; -1: not said
};

inline void PrintTo(const SchemeSample& sample, std::ostream* out) {
  *out << sample.name;
}

/// Extents in which all samples run: 4 query heads of 4 channels.
inline plugin::SchemeGeometry sample_geometry() {
  plugin::SchemeGeometry g;
  g.embed_dim = 16;
  g.query_heads = 4, g.kv_heads = 2;
  g.head_dim = g.value_dim = 4;
  return g;
}

inline std::vector<SchemeSample> scheme_samples() {
  std::vector<SchemeSample> samples = {
      {"mha", {{"scheme", "mha"}}, true, true, true, 9, 2 * 2 * 4},
      {"mha_all_heads",
       {{"scheme", "mha"}, {"num_heads", 4}, {"bias", true}},
       true,
       true,
       true,
       9,
       2 * 4 * 4},
      {"mha_one_kv_head",
       {{"scheme", "mha"}, {"num_kv_heads", 1}, {"rope", true}},
       true,
       true,
       true,
       9,
       2 * 4},
      {"mha_odd_dims",
       {{"scheme", "mha"},
        {"key_dim", 6},
        {"value_dim", 5},
        {"norm", "post"},
        {"residual", true},
        {"activation", "silu"}}},
      {"mha_pre_norm", {{"scheme", "mha"}, {"norm", "pre"}, {"report_scores", true}}},
      {"mha_padded", {{"scheme", "mha"}, {"expected_dim", 24}, {"dim_policy", "pad"}, {"key_dim", 4}}},
      {"mha_truncated", {{"scheme", "mha"}, {"expected_dim", 12}, {"dim_policy", "truncate"}}},
      {"mha_projected", {{"scheme", "mha"}, {"expected_dim", 24}, {"dim_policy", "project"}}},
      {"mla_seed", {{"scheme", "mla"}, {"latent_dim", 2}, {"bias", true}}, true, true, true, 9, 2 * 4 * 2},
      {"mla_seed_weight", {{"scheme", "mla"}, {"latent_dim", 4}, {"svd", "weight"}, {"svd_rank", 2}}},
      {"mla_seed_prefix",
       {{"scheme", "mla"}, {"latent_dim", 4}, {"svd", "prefix"}, {"svd_rank", 2}, {"svd_block", 4}}},
      {"mla_seed_fixed_basis",
       {{"scheme", "mla"}, {"latent_dim", 4}, {"svd", "fixed_basis"}, {"svd_rank", 2}}},
      {"mla_deepseek",
       {{"scheme", "mla"},
        {"kind", "deepseek"},
        {"latent_dim", 6},
        {"query_latent_dim", 7},
        {"nope_dim", 4},
        {"rope_dim", 4},
        {"value_dim", 5}},
       true,
       true,
       true,
       9,
       6 + 4},
      {"mla_svd",
       {{"scheme", "mla"}, {"latent_dim", 4}, {"svd", "reference_noncausal"}, {"svd_rank", 2}},
       false,
       false},
      {"moas_static", {{"scheme", "moas"}, {"mix", "static"}}, true, true, true, 9, 2 * 4 * (4 + 2 + 1)},
      {"moas_routed", {{"scheme", "moas"}, {"mix", "routed"}}, true, true, true, 9, 2 * 4 * (4 + 2 + 1)},
      {"moas_top1", {{"scheme", "moas"}, {"mix", "top1"}}, true, true, false, 9, 2 * 4 * (4 + 2 + 1)},
      {"moas_key_routed", {{"scheme", "moas"}, {"mix", "key_routed"}}, true, true, false},
      {"softmax", {{"scheme", "softmax"}}, true, true, true, 9, 2 * 2 * 4},
      {"linear", {{"scheme", "linear"}}},
      {"linear_exp_plain",
       {{"scheme", "linear"}, {"feature_map", "exp"}, {"normalise", false}, {"scale", 0.5}}},
      {"linear_epsilon", {{"scheme", "linear"}, {"feature_map", "exp_clamped"}, {"epsilon", 1e-6}}},
      {"linear_long", {{"scheme", "linear"}, {"feature_map", "elu+1"}}, true, true, true, 70},
      {"sparse",
       {{"scheme", "sparse"},
        {"pipeline", {{{"masker", "sink"}, {"sink_size", 1}}, {{"masker", "local"}, {"window_size", 3}}}}},
       true,
       true,
       true,
       9,
       2 * 2 * 4},
      {"sparse_top_k",
       {{"scheme", "sparse"},
        {"pipeline",
         {{{"masker", "sink"}, {"sink_size", 1}}, {{"masker", "oracle_top_k"}, {"heavy_size", 2}}}}}},
      {"sparse_sampled",
       {{"scheme", "sparse"},
        {"pipeline",
         {{{"masker", "local"}, {"window_size", 2}},
          {{"masker", "random_sampling"}, {"sampling_rate", 0.5}}}}}},
      {"mhla", {{"scheme", "mhla"}, {"block_size", 4}, {"blocks", 4}}},
      {"mhla_one_block", {{"scheme", "mhla"}}},
      {"mhla_per_head_softmax",
       {{"scheme", "mhla"},
        {"block_size", 2},
        {"blocks", 5},
        {"per_head", true},
        {"normalise_mixing", "softmax"}}},
      {"mhla_paper_lm",
       {{"scheme", "mhla"},
        {"block_size", 4},
        {"blocks", 3},
        {"feature_map", "relu"},
        {"init", "uniform"},
        {"parametrisation", "clamp"},
        {"normaliser", "none"}},
       true,
       true,
       false},
      {"mhla_local", {{"scheme", "mhla"}, {"block_size", 4}, {"mixing", "local"}}},
      {"mhla_low_rank", {{"scheme", "mhla"}, {"block_size", 2}, {"blocks", 5}, {"mixing", "low_rank"}}},
      {"mhla_relative",
       {{"scheme", "mhla"}, {"block_size", 2}, {"mixing", "relative"}, {"rank", 2}, {"normaliser", "none"}}},
      {"mhla_token_heads", {{"scheme", "mhla"}, {"token_heads", 3}}, true, false},
      {"mhla_strided", {{"scheme", "mhla"}, {"grouping", "strided"}, {"token_heads", 2}}},
      {"mha_svd", {{"scheme", "mha"}, {"svd", "reference_noncausal"}, {"svd_rank", 2}}, false, false},
  };
  std::set<std::string> named;
  for (const SchemeSample& sample : samples) named.insert(sample.attention["scheme"].get<std::string>());
  for (const auto& [id, entry] : catalog().entries()) {
    if (entry.descriptor.facet != plugin::Facet::scheme || named.contains(id)) continue;
    std::string name = id;
    std::replace(name.begin(), name.end(), '.', '_');
    samples.push_back({name, {{"scheme", id}}});
  }
  return samples;
}

}  // namespace attnlab::test
