// Small pipelines of every masker of the build; ConformanceTable sees that none is missing.
#pragma once

namespace attnlab::test {

/// Pipelines of a method. "${FILE:kind}" stands for a weight or calibration file made for the shape at hand
/// (tests/support/method_files.hpp).
struct Method {
  const char* id;
  const char* pipelines;
};

inline const Method methods[] = {
    {"sink", R"({"share": [{"masker": "sink", "sink_size": "30%"}]})"},
    {"local", R"({"window": [{"masker": "local", "window_size": 4}]})"},
    {"causal", R"({"all": [{"masker": "causal"}]})"},
    {"strided", R"({"third": [{"masker": "strided", "stride": 3, "offset": 1}]})"},
    {"oracle_top_k", R"({
       "k": [{"masker": "oracle_top_k", "heavy_size": 5}],
       "group": [{"masker": "oracle_top_k", "heavy_size": 5, "share": "kv_group", "reduce": "mean"}],
       "importance": [{"masker": "oracle_top_k", "select": "importance", "sample_size": "20%"}],
       "importance_group": [{"masker": "sink", "sink_size": 2},
         {"masker": "oracle_top_k", "select": "importance", "sample_size": 6, "temperature": 2, "share": "kv_group"}]})"},
    {"oracle_top_p",
     R"({"p": [{"masker": "local", "window_size": 2}, {"masker": "oracle_top_p", "top_p": 0.7}]})"},
    {"random_sampling", R"({"sample": [{"masker": "sink", "sink_size": 2},
       {"masker": "random_sampling", "sampling_rate": 0.3}]})"},
    {"hash_attention", R"({
       "kv_head": [{"masker": "hash_attention", "heavy_size": 5, "hat_weight_file": "${FILE:hash}"}],
       "query_head": [{"masker": "sink", "sink_size": 2}, {"masker": "hash_attention", "heavy_size": "20%",
                      "share": "kv_group", "hat_weight_file": "${FILE:hash_of_query_heads}"}]})"},
    {"magic_pig", R"({
       "two_tables": [{"masker": "magic_pig", "lsh_k": 3, "lsh_l": 20}],
       "hub": [{"masker": "sink", "sink_size": 2}, {"masker": "magic_pig.hub"}],
       "wide_codes": [{"masker": "magic_pig", "lsh_k": 64, "lsh_l": 3, "min_tables": 1, "center": false}]})"},
    {"quest", R"({
       "pages": [{"masker": "quest", "heavy_size": 8, "page_size": 4}],
       "rounded": [{"masker": "sink", "sink_size": 3},
                   {"masker": "quest", "heavy_size": "30%", "page_size": 3, "label_bits": 3, "share": "kv_group"}],
       "importance": [{"masker": "quest", "page_size": 2, "select": "importance", "sample_size": 6}]})"},
    {"double_sparsity", R"({
       "labels": [{"masker": "double_sparsity", "heavy_size": 5, "group_factor": 2,
                   "sorted_channel_file": "${FILE:channels}"}],
       "exact": [{"masker": "double_sparsity", "heavy_size": "20%", "group_factor": 4, "label_bits": 16,
                  "channel_selection": "k_proj", "sorted_channel_file": "${FILE:channels}"}]})"},
    {"pq_cache", R"({
       "short": [{"masker": "pq_cache", "heavy_size": 5, "pq_bits": 3}],
       "long_ip": [{"masker": "sink", "sink_size": 2}, {"masker": "pq_cache", "select": "importance",
                    "sample_size": 6, "pq_bits": 9, "metric": "ip", "init_offset": 2}]})"},
    {"socket", R"({
       "short": [{"masker": "socket", "heavy_size": 5, "L": 3}],
       "long": [{"masker": "socket", "heavy_size": "20%", "share": "kv_group", "K": 9}],
       "without_table": [{"masker": "socket", "heavy_size": 4, "K": 14, "L": 2}]})"},
    {"adaptive_sampling", R"({
       "normal": [{"masker": "sink", "sink_size": 2}, {"masker": "oracle_top_k", "heavy_size": 4},
         {"masker": "adaptive_sampling", "base_rate_sampling": 3, "epsilon": 0.4, "delta": 0.4, "init_offset": 1, "target": "output"}],
       "hoeffding": [{"masker": "adaptive_sampling", "base_rate_sampling": "40%", "epsilon": 0.9, "delta": 0.9,
         "local_offset": 2, "bound": "hoeffding"}],
       "bernstein": [{"masker": "adaptive_sampling", "base_rate_sampling": "20%", "epsilon": 0.9, "delta": 0.9,
         "target": "numerator", "bound": "bernstein"}]})"},
    {"twilight",
     R"({"pruned": [{"masker": "oracle_top_k", "heavy_size": "60%"}, {"masker": "twilight", "top_p": 0.6}]})"},
    {"h2o", R"({
       "alone": [{"masker": "h2o", "budget": 5, "recent": 4}],
       "inside": [{"masker": "sink", "sink_size": 2}, {"masker": "h2o", "budget": 6, "recent": 3},
                  {"masker": "oracle_top_k", "heavy_size": 4}]})"},
    {"snap_kv", R"({
       "alone": [{"masker": "snap_kv", "budget": 5, "window": 4, "kernel_size": 3}],
       "inside": [{"masker": "snap_kv", "budget": "40%", "window": 3, "pooling": "mean"},
                  {"masker": "oracle_top_k", "heavy_size": 4}]})"},
};

}  // namespace attnlab::test
