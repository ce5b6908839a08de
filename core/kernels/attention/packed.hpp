// Keys and values of one KV head packed for many rows, and attention to them: dense prefill.
#pragma once

#include <cstdint>

#include "core/kernels/attention/arguments.hpp"
#include "core/kernels/simd/target.hpp"

namespace attnlab::kernels {

/// Keys of a packed block; also a block of the online softmax.
inline constexpr int64_t kPackedKeys = 128;
/// Keys, or columns of values, of a panel.
inline constexpr int64_t kPanelWidth = 64;

/// Floats of a packed block of keys: panels [head_dim][kPanelWidth].
constexpr int64_t packed_key_floats(int64_t head_dim) {
  return kPackedKeys * head_dim;
}
/// Floats of a packed block of values: panels [kPackedKeys][kPanelWidth], the last one padded.
constexpr int64_t packed_value_floats(int64_t value_dim) {
  return kPackedKeys * ((value_dim + kPanelWidth - 1) / kPanelWidth) * kPanelWidth;
}

/// Packs `count` <= kPackedKeys keys and values into one block each. Both outputs are aligned to 64 bytes.
template <class Element>
struct PackArgumentsOf {
  const Element* key = nullptr;  ///< first key of the block
  int64_t key_stride = 0;
  const Element* value = nullptr;
  int64_t value_stride = 0;
  int64_t count = 0;
  int64_t head_dim = 0;
  int64_t value_dim = 0;
  float* packed_key = nullptr;
  float* packed_value = nullptr;
  uint8_t* finite = nullptr;  ///< set to 1 when all values are finite, else to 0
};

/// Dense attention: row r attends to keys [0, key_end[r]). Equations and bits as AttendArgumentsOf with that
/// run.
struct AttendPackedArguments {
  const float* query = nullptr;  ///< [rows, head_dim], rows `query_stride` apart
  int64_t query_stride = 0;
  int64_t rows = 0;
  int64_t head_dim = 0;
  int64_t value_dim = 0;
  float scale = 1;
  const int64_t* key_end = nullptr;  ///< [rows]
  const float* key = nullptr;        ///< packed blocks, one after the other
  const float* value = nullptr;
  const uint8_t* finite = nullptr;     ///< [blocks]
  const float* const* bias = nullptr;  ///< [rows] pointers indexed by key; the array or an entry may be null
  const float* sink_logit = nullptr;   ///< [rows] or null
  float* out = nullptr;                ///< [rows, value_dim], rows `out_stride` apart
  int64_t out_stride = 0;
  float* lse = nullptr;  ///< [rows]
};

/// One SIMD target's kernels: one thread, no allocation, about 60 KiB of stack.
struct PackedKernels {
  void (*pack_kv)(const PackArgumentsOf<float>&) = nullptr;
  void (*pack_kv_bfloat16)(const PackArgumentsOf<BFloat16>&) = nullptr;
  void (*pack_kv_float16)(const PackArgumentsOf<Float16>&) = nullptr;
  void (*attend_packed)(const AttendPackedArguments&) = nullptr;
};

const PackedKernels& packed_kernels(SimdTarget target);

}  // namespace attnlab::kernels
