// The register tile of every matrix product, compiled once per SIMD target.
#if defined(ATTNLAB_KERNELS_SIMD_REGISTER_TILE_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTNLAB_KERNELS_SIMD_REGISTER_TILE_INL
#undef ATTNLAB_KERNELS_SIMD_REGISTER_TILE_INL
#else
#define ATTNLAB_KERNELS_SIMD_REGISTER_TILE_INL
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <cstdint>
#include <utility>

#include "core/kernels/simd/vector_math-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace attnlab::kernels::HWY_NAMESPACE {

/// Rows and vectors of the register tile: 6 x 4 accumulators fit 32 registers, 6 x 2 fit 16.
inline constexpr bool kManyRegisters = HWY_TARGET <= HWY_AVX3 || HWY_ARCH_ARM;
inline constexpr int64_t kTileRows = 6;
inline constexpr int64_t kTileVectors = kManyRegisters ? 4 : 2;
inline constexpr int64_t kPanelColumns = kTileVectors * kLanes;

template <template <int64_t, int64_t> class Tile, int64_t kRows, int64_t... kVectors>
constexpr auto tile_function_of_rows(int64_t vectors, std::integer_sequence<int64_t, kVectors...>) {
  auto* function = Tile<kRows, 1>::run;
  ((function = vectors == kVectors + 1 ? Tile<kRows, kVectors + 1>::run : function), ...);
  return function;
}

/// Tile<rows, vectors>::run for 1 <= rows <= kTileRows and 1 <= vectors <= kTileVectors.
template <template <int64_t, int64_t> class Tile>
constexpr auto tile_function(int64_t rows, int64_t vectors) {
  constexpr std::make_integer_sequence<int64_t, kTileVectors> widths;
  switch (rows) {
    case 1: return tile_function_of_rows<Tile, 1>(vectors, widths);
    case 2: return tile_function_of_rows<Tile, 2>(vectors, widths);
    case 3: return tile_function_of_rows<Tile, 3>(vectors, widths);
    case 4: return tile_function_of_rows<Tile, 4>(vectors, widths);
    case 5: return tile_function_of_rows<Tile, 5>(vectors, widths);
    default: return tile_function_of_rows<Tile, 6>(vectors, widths);
  }
}

template <int64_t kRows, int64_t kVectors>
HWY_INLINE void set_zero(Vector (&sum)[kRows][kVectors]) {
#pragma GCC unroll 8
  for (int64_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int64_t v = 0; v < kVectors; ++v) sum[r][v] = hn::Zero(Floats());
  }
}

/// sum[r][v] += sum over k in [0, depth), ascending, of a[r * row_stride + k * step] * panel[k * panel_stride
/// + v * kLanes
/// + lane]. The panel need not be aligned; all its lanes are read.
/// Row k + kFetchAhead is fetched from memory while row k is used, unless 0.
template <int64_t kRows, int64_t kVectors, int64_t kFetchAhead = 0>
HWY_INLINE void multiply_add(const float* a, int64_t row_stride, int64_t step, const float* panel,
                             int64_t panel_stride, int64_t depth, Vector (&sum)[kRows][kVectors]) {
  const Floats d;
  for (int64_t k = 0; k < depth; ++k) {
    if constexpr (kFetchAhead != 0) {
#pragma GCC unroll 16
      for (int64_t v = 0; v < kVectors; ++v)
        hwy::Prefetch(panel + (k + kFetchAhead) * panel_stride + v * kLanes);
    }
    Vector b[kVectors];
#pragma GCC unroll 16
    for (int64_t v = 0; v < kVectors; ++v) b[v] = hn::LoadU(d, panel + k * panel_stride + v * kLanes);
#pragma GCC unroll 8
    for (int64_t r = 0; r < kRows; ++r) {
      const Vector x = hn::Set(d, a[r * row_stride + k * step]);
#pragma GCC unroll 16
      for (int64_t v = 0; v < kVectors; ++v) sum[r][v] = hn::MulAdd(x, b[v], sum[r][v]);
    }
  }
}

}  // namespace attnlab::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // target toggle
