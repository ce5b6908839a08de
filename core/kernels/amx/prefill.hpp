// Dense attention of many query rows in bfloat16 on AMX tiles.
//
// No processor with AMX was at hand: the algorithm was run on emulated tiles
// (tests/unit/kernels_amx_test.cpp), the instructions themselves were only assembled.
#pragma once

#include <cstdint>
#include <limits>

#include "core/kernels/head_rows.hpp"

namespace attnlab::kernels {

/// Query rows of one AmxBlock at most, and rows and keys that are multiplied together.
inline constexpr int64_t kAmxBlockRows = 128;
inline constexpr int64_t kAmxStep = 32;

constexpr int64_t amx_padded(int64_t count) {
  return (count + kAmxStep - 1) / kAmxStep * kAmxStep;
}

/// Rows of one head against all keys of their KV head. Numbers are bfloat16 in the bits of uint16_t;
/// dimensions and key count are padded with zeros to multiples of kAmxStep.
struct AmxBlock {
  const uint16_t* query = nullptr;  ///< [amx_padded(rows), padded head_dim]
  const uint16_t* key = nullptr;    ///< [keys / 16][head_dim / 32][16 channel pairs][16 keys][2]
  const uint16_t* value = nullptr;  ///< [keys / 32][value_dim / 16][16 key pairs][16 channels][2]
  int64_t rows = 0;
  int64_t head_dim = 0;   ///< at most 256
  int64_t value_dim = 0;  ///< at most 256
  float scale = 1;
  const int64_t* seen = nullptr;  ///< [rows], never falling: row r sees the first seen[r] keys
  float sink_logit = -std::numeric_limits<float>::infinity();
  float* out = nullptr;  ///< [rows, value_dim], rows `out_stride` apart
  int64_t out_stride = 0;
  float* lse = nullptr;  ///< [rows]
};

struct AmxKernels {
  /// One thread, no allocation, 180 KiB of stack. Sums are float32, as is the softmax; weights are rounded to
  /// bfloat16.
  void (*amx_attend)(const AmxBlock&) = nullptr;
  /// to[i] = from[i], rounded to nearest, ties to even.
  void (*amx_round)(const float* from, int64_t count, uint16_t* to) = nullptr;
};

/// Null unless this CPU has AMX, the kernel lets the process use it and the compiler knew it. Asks once;
/// thread-safe.
const AmxKernels* amx_kernels();

/// out = softmax(scale q k^T) v; keys that row i sees are those of DenseBackwardArguments. Inputs are rounded
/// to bfloat16 and are finite. Rows that see nothing have out 0 and lse -inf, or the sink logit.
struct AmxPrefillArguments {
  int64_t batches = 0;
  int64_t query_heads = 0;  ///< a multiple of kv_heads
  int64_t kv_heads = 0;
  int64_t queries = 0;
  int64_t keys = 0;
  int64_t head_dim = 0;   ///< at most 256
  int64_t value_dim = 0;  ///< at most 256
  float scale = 1;
  bool causal = false;
  const int64_t* valid = nullptr;  ///< [batches], each in [0, keys]; null means `keys`
  HeadRows<const float> query;     ///< [batches, query_heads, queries, head_dim]
  HeadRows<const float> key;       ///< [batches, kv_heads, keys, head_dim], or
  HeadRows<const uint16_t> key_bfloat16;
  HeadRows<const float> value;  ///< [batches, kv_heads, keys, value_dim], or
  HeadRows<const uint16_t> value_bfloat16;
  const float* sink_logit = nullptr;  ///< [query_heads] or null
  HeadRows<float> out;                ///< [batches, query_heads, queries, value_dim]
  float* lse = nullptr;               ///< [batches, query_heads, queries], contiguous
};

/// Packs the keys and values of each KV head once, then attends block by block. The bits of a result do not
/// depend on the number of threads. Memory: the packed keys and values.
void amx_prefill(const AmxKernels& kernels, const AmxPrefillArguments& arguments);

}  // namespace attnlab::kernels
