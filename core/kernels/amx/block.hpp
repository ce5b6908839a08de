// Dense attention of a block of query rows in bfloat16 on AMX tiles.
//
// No processor with AMX was at hand: the algorithm was run on emulated tiles
// (tests/unit/kernels_amx_test.cpp), the instructions themselves were only assembled.
#pragma once

#include <cstdint>
#include <limits>

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

}  // namespace attnlab::kernels
