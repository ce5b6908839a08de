// Traces: q, k, v of a real model's layers, dumped to a folder.
#pragma once

#include <memory>
#include <string>

#include "core/data/problem.hpp"

namespace attnlab::data {

/// Opens a trace: a folder with `manifest.json` and, for each dumped layer NN (at least two digits),
///   layerNN_q.npy [tokens, n_heads, head_dim]        layerNN_k.npy [tokens, n_kv_heads, head_dim]
///   layerNN_v.npy [tokens, n_kv_heads, value_dim]    layerNN_o.npy [tokens, n_heads, value_dim], optional:
///   the
///                                                    model's own attention output before Wo
/// of float32, float16 or float64; float32 is mapped, never copied. Query head h reads KV head
/// h / (n_heads / n_kv_heads). The manifest holds `layers`, `n_heads`, `n_kv_heads`, `head_dim`, `tokens` and
/// may hold `value_dim` (default: head_dim), `dumped_layers` (default: all), `dtype` ("<f4" or "float32"),
/// `scale` and `causal`; other members are ignored. Every array's header is checked against the manifest
/// here, its contents by `load`. Throws UserError.
std::unique_ptr<Source> open_trace(const std::string& path);

}  // namespace attnlab::data
