// The attention of one AmxBlock over a policy for tile registers: AMX, or an emulation that any CPU can run.
//
// A policy is a class whose constructor configures eight tiles of 16 rows of 64 bytes and whose destructor
// releases them, with static zero<tile>(), load<tile>(from, stride in bytes), store<tile>(to, stride in
// bytes) and multiply<sum, a, b>(): sum[m][n] += a[m][2k] b[k][2n] + a[m][2k + 1] b[k][2n + 1] over k in [0,
// 16).
//
// This is compiled for AVX-512 in one file and for any CPU in another: all names are local to the file, and
// nothing here may call an inline function of the standard library, of which the linker would keep one file's
// copy for all.
#pragma once

#include <cstdint>

#include "core/kernels/amx/block.hpp"

namespace attnlab::kernels {
namespace {

constexpr int64_t kAmxBlockKeys = 256;
constexpr int64_t kAmxTile = 512;  ///< uint16_t in a tile
constexpr int64_t kAmxLargestDim = 256;

/// 16 lanes; the compiler splits them where registers are shorter.
using AmxFloats = float __attribute__((vector_size(64), may_alias));
using AmxInts = int32_t __attribute__((vector_size(64), may_alias));
using AmxHalves = uint16_t __attribute__((vector_size(32), may_alias));

constexpr int64_t kAmxLanes = 16;

inline AmxFloats amx_all(float x) {
  return x - AmxFloats{};
}

inline AmxFloats amx_larger(AmxFloats a, AmxFloats b) {
  return a > b ? a : b;
}

/// 2^x for -125 <= x <= 0 within a relative error of 3.2e-6 (a minimax polynomial), 2^-125 below.
inline AmxFloats amx_exp2(AmxFloats x) {
  x = amx_larger(x, amx_all(-125.0F));
  // 1.5 * 2^23: adding it rounds to an integer, in the low bits.
  const AmxFloats magic = amx_all(12582912.0F);
  const AmxFloats shifted = x + magic;
  const AmxFloats f = x - (shifted - magic);
  AmxFloats y = 9.58285299e-3F * f + 5.59064247e-2F;
  y = y * f + 2.40240986e-1F;
  y = y * f + 6.93124193e-1F;
  y = y * f + 1.0F;
  return (AmxFloats)((AmxInts)y + ((AmxInts)shifted << 23));
}

/// Rounded to nearest, ties to even; no NaN.
inline AmxHalves amx_rounded(AmxFloats x) {
  const AmxInts bits = (AmxInts)x;
  return __builtin_convertvector((bits + 0x7fff + ((bits >> 16) & 1)) >> 16, AmxHalves);
}

/// Lane i + distance, cyclic.
template <int kDistance>
inline AmxFloats amx_rotate(AmxFloats x) {
  return __builtin_shufflevector(
      x, x, (kDistance + 0) % 16, (kDistance + 1) % 16, (kDistance + 2) % 16, (kDistance + 3) % 16,
      (kDistance + 4) % 16, (kDistance + 5) % 16, (kDistance + 6) % 16, (kDistance + 7) % 16,
      (kDistance + 8) % 16, (kDistance + 9) % 16, (kDistance + 10) % 16, (kDistance + 11) % 16,
      (kDistance + 12) % 16, (kDistance + 13) % 16, (kDistance + 14) % 16, (kDistance + 15) % 16);
}

inline float amx_largest(AmxFloats x) {
  x = amx_larger(x, amx_rotate<8>(x));
  x = amx_larger(x, amx_rotate<4>(x));
  x = amx_larger(x, amx_rotate<2>(x));
  return amx_larger(x, amx_rotate<1>(x))[0];
}

inline float amx_sum(AmxFloats x) {
  x += amx_rotate<8>(x);
  x += amx_rotate<4>(x);
  x += amx_rotate<2>(x);
  return x[0] + x[1];
}

template <class Tiles>
class AmxAttend {
 public:
  explicit AmxAttend(const AmxBlock& block)
      : b_(block),
        channels_(amx_padded(block.head_dim)),
        values_(amx_padded(block.value_dim)),
        padded_rows_(amx_padded(block.rows)) {}

  void run() {
    for (int64_t r = 0; r < padded_rows_; ++r) {
      const bool sink = r < b_.rows && b_.sink_logit > kNone;
      maximum_[r] = sink ? b_.sink_logit * kLog2E : kNone;
      denominator_[r] = sink ? 1.0F : 0.0F;
      for (int64_t c = 0; c < values_; ++c) out_[r * values_ + c] = 0;
    }
    const int64_t end = b_.seen[b_.rows - 1];
    for (int64_t begin = 0; begin < end; begin += kAmxBlockKeys) {
      for (int64_t row = 0; row < padded_rows_; row += kAmxStep) {
        const int64_t keys = group_keys(row, begin);
        multiply_keys(row, begin, keys);
        for (int64_t r = row; r < row + kAmxStep; ++r) weigh(r, begin, keys);
        multiply_values(row, begin, keys);
      }
    }
    finish();
  }

 private:
  static constexpr float kNone = -1e30F;  ///< the maximum of a row that has seen no key
  static constexpr float kLog2E = 1.44269504F;

  /// Keys from `begin` on that row r sees in this block of keys.
  int64_t row_keys(int64_t r, int64_t begin) const {
    const int64_t seen = r < b_.rows ? b_.seen[r] - begin : 0;
    return seen < 0 ? 0 : seen < kAmxBlockKeys ? seen : kAmxBlockKeys;
  }

  /// The same for the kAmxStep rows from `row` on together, padded.
  int64_t group_keys(int64_t row, int64_t begin) const {
    const int64_t last = row + kAmxStep < b_.rows ? row + kAmxStep - 1 : b_.rows - 1;
    return amx_padded(row_keys(last, begin));
  }

  /// Logits of kAmxStep rows, without scale.
  void multiply_keys(int64_t row, int64_t begin, int64_t keys) {
    const uint16_t* query = b_.query + row * channels_;
    const int64_t stride = channels_ * 2;
    const int64_t key_tiles = channels_ / 32 * kAmxTile;  // of 16 keys
    for (int64_t j = 0; j < keys; j += kAmxStep) {
      const uint16_t* key = b_.key + (begin + j) / 16 * key_tiles;
      Tiles::template zero<0>();
      Tiles::template zero<1>();
      Tiles::template zero<2>();
      Tiles::template zero<3>();
      for (int64_t c = 0; c < channels_; c += 32) {
        Tiles::template load<4>(query + c, stride);
        Tiles::template load<5>(query + 16 * channels_ + c, stride);
        Tiles::template load<6>(key + c / 32 * kAmxTile, 64);
        Tiles::template load<7>(key + key_tiles + c / 32 * kAmxTile, 64);
        multiply_all();
      }
      store_all(logit_ + (row % kAmxStep) * kAmxBlockKeys + j, kAmxBlockKeys);
    }
  }

  /// Turns row r's logits into weights and joins its maximum and denominator. Weights of the other keys in
  /// the group's `keys` are 0.
  void weigh(int64_t r, int64_t begin, int64_t keys) {
    const int64_t count = row_keys(r, begin);
    float* logit = logit_ + r % kAmxStep * kAmxBlockKeys;
    uint16_t* weight = weight_ + r % kAmxStep * kAmxBlockKeys;
    const int64_t vectors = (count + kAmxLanes - 1) / kAmxLanes;
    // A key that is seen stands for those that are not: it leaves the maximum as it is.
    for (int64_t j = count; j < vectors * kAmxLanes; ++j) logit[j] = logit[0];
    const float scale = b_.scale * kLog2E;
    float maximum = maximum_[r];
    if (vectors > 0) {
      AmxFloats largest = amx_all(kNone);
      for (int64_t v = 0; v < vectors; ++v)
        largest = amx_larger(largest, scale * load(logit + v * kAmxLanes));
      const float found = amx_largest(largest);
      maximum = found > maximum ? found : maximum;
    }
    AmxFloats sum{};
    for (int64_t v = 0; v < keys / kAmxLanes; ++v) {
      AmxHalves rounded{};
      if (v < vectors) {
        AmxFloats p = amx_exp2(scale * load(logit + v * kAmxLanes) - maximum);
        if ((v + 1) * kAmxLanes > count) {
          for (int64_t i = count - v * kAmxLanes; i < kAmxLanes; ++i) p[i] = 0;
        }
        sum += p;
        rounded = amx_rounded(p);
      }
      *reinterpret_cast<AmxHalves*>(weight + v * kAmxLanes) = rounded;
    }
    if (vectors == 0) return;
    if (maximum > maximum_[r]) rescale(r, maximum);
    denominator_[r] += amx_sum(sum);
  }

  void rescale(int64_t r, float maximum) {
    const float decay = amx_exp2(amx_all(maximum_[r] - maximum))[0];
    maximum_[r] = maximum;
    denominator_[r] *= decay;
    for (int64_t c = 0; c < values_; c += kAmxLanes) {
      auto* out = reinterpret_cast<AmxFloats*>(out_ + r * values_ + c);
      *out *= decay;
    }
  }

  /// out += weights times values.
  void multiply_values(int64_t row, int64_t begin, int64_t keys) {
    const int64_t value_tiles = values_ / 16 * kAmxTile;  // of 32 keys
    for (int64_t c = 0; c < values_ && keys > 0; c += 32) {
      float* out = out_ + row * values_ + c;
      Tiles::template load<0>(out, values_ * 4);
      Tiles::template load<1>(out + 16, values_ * 4);
      Tiles::template load<2>(out + 16 * values_, values_ * 4);
      Tiles::template load<3>(out + 16 * values_ + 16, values_ * 4);
      for (int64_t j = 0; j < keys; j += 32) {
        const uint16_t* value = b_.value + (begin + j) / 32 * value_tiles + c / 16 * kAmxTile;
        Tiles::template load<4>(weight_ + j, kAmxBlockKeys * 2);
        Tiles::template load<5>(weight_ + 16 * kAmxBlockKeys + j, kAmxBlockKeys * 2);
        Tiles::template load<6>(value, 64);
        Tiles::template load<7>(value + kAmxTile, 64);
        multiply_all();
      }
      store_all(out, values_);
    }
  }

  static void multiply_all() {
    Tiles::template multiply<0, 4, 6>();
    Tiles::template multiply<1, 4, 7>();
    Tiles::template multiply<2, 5, 6>();
    Tiles::template multiply<3, 5, 7>();
  }

  /// 32 x 32 sums, rows `stride` floats apart.
  static void store_all(float* to, int64_t stride) {
    Tiles::template store<0>(to, stride * 4);
    Tiles::template store<1>(to + 16, stride * 4);
    Tiles::template store<2>(to + 16 * stride, stride * 4);
    Tiles::template store<3>(to + 16 * stride + 16, stride * 4);
  }

  static AmxFloats load(const float* from) { return *reinterpret_cast<const AmxFloats*>(from); }

  void finish() const {
    for (int64_t r = 0; r < b_.rows; ++r) {
      const float denominator = denominator_[r];
      const float inverse = denominator == 0 ? 0 : 1 / denominator;
      for (int64_t c = 0; c < b_.value_dim; ++c)
        b_.out[r * b_.out_stride + c] = out_[r * values_ + c] * inverse;
      b_.lse[r] =
          denominator == 0
              ? -__builtin_inff()
              : static_cast<float>(double{maximum_[r]} / 1.4426950408889634 + __builtin_log(denominator));
    }
  }

  const AmxBlock& b_;
  const int64_t channels_;
  const int64_t values_;
  const int64_t padded_rows_;
  alignas(64) float out_[kAmxBlockRows * kAmxLargestDim];  ///< [padded_rows_, values_]
  alignas(64) float logit_[kAmxStep * kAmxBlockKeys];
  alignas(64) uint16_t weight_[kAmxStep * kAmxBlockKeys];
  float maximum_[kAmxBlockRows];      ///< of log2(e) times the logits so far
  float denominator_[kAmxBlockRows];  ///< sum of 2^(log2(e) logit - maximum)
};

template <class Tiles>
void amx_attend(const AmxBlock& block) {
  const Tiles tiles;
  AmxAttend<Tiles>(block).run();
}

/// AmxKernels::amx_round.
inline void amx_round(const float* from, int64_t count, uint16_t* to) {
  for (int64_t i = 0; i < count; i += kAmxLanes) {
    AmxFloats x{};
    if (count - i >= kAmxLanes) {
      __builtin_memcpy(&x, from + i, sizeof x);
      const AmxHalves halves = amx_rounded(x);
      __builtin_memcpy(to + i, &halves, sizeof halves);
    } else {
      for (int64_t lane = 0; lane < count - i; ++lane) x[lane] = from[i + lane];
      const AmxHalves halves = amx_rounded(x);
      for (int64_t lane = 0; lane < count - i; ++lane) to[i + lane] = halves[lane];
    }
  }
}

}  // namespace
}  // namespace attnlab::kernels
