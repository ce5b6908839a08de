// The tile kernels of matrix products, built once for each SIMD target and chosen at run time.
#include "core/kernels/gemm/gemm_tile.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/gemm/gemm_tile.cpp"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "core/kernels/gemm/activation-inl.hpp"
#include "core/kernels/simd/register_tile-inl.hpp"
#include "core/kernels/simd/transpose-inl.hpp"
#include "core/kernels/simd/vector_math-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace attnlab::kernels::HWY_NAMESPACE {

/// Rows between the one in use and the one that is fetched from memory.
inline constexpr int64_t kFetchAhead = 4;

/// Whole rows of B, in the order of memory.
void pack_rows(const PackArguments& p, int64_t columns) {
  const Floats d;
  for (int64_t k = 0; k < p.depth; ++k) {
    const float* from = p.b + k * p.row_stride;
    float* to = p.to + k * kPanelColumns;
    for (int64_t first = 0; first < columns; first += kPanelColumns) {
#pragma GCC unroll 4
      for (int64_t v = 0; v < kTileVectors; ++v) {
        hwy::Prefetch(from + kFetchAhead * p.row_stride + first + v * kLanes);
        hn::StoreU(hn::LoadU(d, from + first + v * kLanes), d, to + first * p.depth + v * kLanes);
      }
    }
  }
}

void pack(const PackArguments& p) {
  int64_t first = 0;
  if (p.column_stride == 1) {
    first = p.columns / kPanelColumns * kPanelColumns;
    pack_rows(p, first);
  }
  for (; first < p.columns; first += kPanelColumns) {
    const int64_t columns = std::min(kPanelColumns, p.columns - first);
    const float* from = p.b + first * p.column_stride;
    float* to = p.to + first * p.depth;
    int64_t c = 0;
    if (p.row_stride == 1) {
      for (; c + kLanes <= columns; c += kLanes) {
        transpose_rows(from + c * p.column_stride, p.column_stride, p.depth, to + c, kPanelColumns);
      }
    }
    if (c == kPanelColumns) continue;
    for (int64_t k = 0; k < p.depth; ++k) {
      float* row = to + k * kPanelColumns;
      for (int64_t j = c; j < columns; ++j) row[j] = from[k * p.row_stride + j * p.column_stride];
      std::fill(row + columns, row + kPanelColumns, 0.0F);
    }
  }
}

/// The first `columns` columns, in (kVectors - 1) kLanes .. kVectors kLanes, of a register tile of C.
template <int64_t kRows, int64_t kVectors>
struct MultiplyTile {
  static HWY_NOINLINE void run(const GemmBlock& g, const float* a, int64_t a_row_stride, int64_t a_step,
                               const float* panel, float* c, int64_t columns) {
    const Floats d;
    const int64_t last = columns - (kVectors - 1) * kLanes;
    for (int64_t r = 0; r < kRows; ++r) {
      for (int64_t v = 0; v < kVectors; ++v) hwy::Prefetch(c + r * g.c_stride + v * kLanes);
    }
    Vector sum[kRows][kVectors];
    set_zero(sum);
    // Few rows use B up as fast as memory gives it.
    multiply_add<kRows, kVectors, (kRows < kTileRows ? 16 : 0)>(a, a_row_stride, a_step, panel,
                                                                g.panel_row_stride, g.depth, sum);
    const Vector alpha = hn::Set(d, g.alpha);
    if (last == kLanes) {
#pragma GCC unroll 8
      for (int64_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
        for (int64_t v = 0; v < kVectors; ++v) {
          float* to = c + r * g.c_stride + v * kLanes;
          hn::StoreU(g.add ? hn::MulAdd(alpha, sum[r][v], hn::LoadU(d, to)) : hn::Mul(alpha, sum[r][v]), d,
                     to);
        }
      }
      return;
    }
#pragma GCC unroll 8
    for (int64_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
      for (int64_t v = 0; v < kVectors; ++v) {
        const int64_t lanes = v + 1 < kVectors ? kLanes : last;
        float* to = c + r * g.c_stride + v * kLanes;
        store_first(g.add ? hn::MulAdd(alpha, sum[r][v], load_first(to, lanes)) : hn::Mul(alpha, sum[r][v]),
                    to, lanes);
      }
    }
  }
};

template <Activation kActivation>
void finish_row(const GemmEpilogue& e, int64_t row, int64_t columns, float* c) {
  for (int64_t j = 0; j < columns; j += kLanes) {
    const int64_t lanes = std::min(kLanes, columns - j);
    Vector x = load_first(c + j, lanes);
    if (e.bias != nullptr) x = hn::Add(x, load_first(e.bias + j, lanes));
    if (e.pre_activation != nullptr)
      store_first(x, e.pre_activation + row * e.pre_activation_stride + j, lanes);
    x = activate<kActivation>(x);
    if (e.residual != nullptr) x = hn::Add(x, load_first(e.residual + row * e.residual_stride + j, lanes));
    store_first(x, c + j, lanes);
  }
}

void finish_rows(const GemmEpilogue& e, int64_t first, int64_t rows, int64_t columns, float* c,
                 int64_t c_stride) {
  for (int64_t r = 0; r < rows; ++r) {
    float* row = c + r * c_stride;
    switch (e.activation) {
      case Activation::none:
        finish_row<Activation::none>(e, first + r, columns, row);
        break;
      case Activation::relu:
        finish_row<Activation::relu>(e, first + r, columns, row);
        break;
      case Activation::gelu_tanh:
        finish_row<Activation::gelu_tanh>(e, first + r, columns, row);
        break;
      case Activation::gelu_erf:
        finish_row<Activation::gelu_erf>(e, first + r, columns, row);
        break;
      case Activation::silu:
        finish_row<Activation::silu>(e, first + r, columns, row);
        break;
    }
  }
}

/// Rows of a transposed A that are copied at once: some cache lines of each of its columns.
inline constexpr int64_t kCopiedRows = 8 * kTileRows;

/// Copies rows [row, row + rows) of A into stripes of kTileRows rows, stripe s at to + s * kTileRows * depth,
/// whose row stride is 1 and column stride kTileRows. Broadcasts of a transposed A would each touch another
/// page.
void copy_stripes(const GemmBlock& g, int64_t row, int64_t rows, float* to) {
  const float* a = g.a + row * g.a_row_stride;
  for (int64_t k = 0; k < g.depth; ++k) {
    const float* from = a + k * g.a_column_stride;
    float* column = to + k * kTileRows;
    for (int64_t r = 0; r < rows; r += 16) hwy::Prefetch(from + kFetchAhead * g.a_column_stride + r);
    int64_t r = 0;
    if (g.a_row_stride == 1) {
      for (; r + kTileRows <= rows; r += kTileRows) {
        std::memcpy(column + r * g.depth, from + r, kTileRows * sizeof(float));
      }
    }
    for (; r < rows; ++r) {
      column[r / kTileRows * kTileRows * g.depth + r % kTileRows] = from[r * g.a_row_stride];
    }
  }
}

/// A stripe of at most kTileRows rows of C, the first of them row `row`.
void multiply_stripe(const GemmBlock& g, int64_t row, const float* a, int64_t a_row_stride, int64_t a_step) {
  const int64_t rows = std::min(kTileRows, g.rows - row);
  float* c = g.c + row * g.c_stride;
  int64_t j = 0;
  if (g.panel_stride == kPanelColumns) {
    for (; rows == 1 && j + 4 * kPanelColumns <= g.columns; j += 4 * kPanelColumns) {
      MultiplyTile<1, 4 * kTileVectors>::run(g, a, a_row_stride, a_step, g.panels + j, c + j,
                                             4 * kPanelColumns);
    }
    for (; rows == 2 && j + 2 * kPanelColumns <= g.columns; j += 2 * kPanelColumns) {
      MultiplyTile<2, 2 * kTileVectors>::run(g, a, a_row_stride, a_step, g.panels + j, c + j,
                                             2 * kPanelColumns);
    }
  }
  for (; j < g.columns; j += kPanelColumns) {
    const int64_t columns = std::min(kPanelColumns, g.columns - j);
    const float* panel = g.panels + j / kPanelColumns * g.panel_stride;
    tile_function<MultiplyTile>(rows, (columns + kLanes - 1) / kLanes)(g, a, a_row_stride, a_step, panel,
                                                                       c + j, columns);
  }
  if (g.epilogue != nullptr) finish_rows(*g.epilogue, row, rows, g.columns, c, g.c_stride);
}

void multiply(const GemmBlock& g) {
  if (g.a_column_stride == 1 || g.columns <= kPanelColumns) {
    for (int64_t r = 0; r < g.rows; r += kTileRows) {
      multiply_stripe(g, r, g.a + r * g.a_row_stride, g.a_row_stride, g.a_column_stride);
    }
    return;
  }
  float copied[kCopiedRows * kGemmDepthBlock];
  for (int64_t first = 0; first < g.rows; first += kCopiedRows) {
    const int64_t rows = std::min(kCopiedRows, g.rows - first);
    copy_stripes(g, first, rows, copied);
    for (int64_t r = 0; r < rows; r += kTileRows) {
      multiply_stripe(g, first + r, copied + r * g.depth, 1, kTileRows);
    }
  }
}

template <Activation kActivation>
void multiply_by_slope(const ActivationGradientArguments& a) {
  for (int64_t r = 0; r < a.rows; ++r) {
    const float* pre_activation = a.pre_activation + r * a.pre_activation_stride;
    const float* d_out = a.d_out + r * a.d_out_stride;
    float* d_in = a.d_in + r * a.d_in_stride;
    for (int64_t j = 0; j < a.columns; j += kLanes) {
      const int64_t lanes = std::min(kLanes, a.columns - j);
      const Vector slope = activation_slope<kActivation>(load_first(pre_activation + j, lanes));
      store_first(hn::Mul(load_first(d_out + j, lanes), slope), d_in + j, lanes);
    }
  }
}

void activation_gradient(const ActivationGradientArguments& a) {
  switch (a.activation) {
    case Activation::none:
      return multiply_by_slope<Activation::none>(a);
    case Activation::relu:
      return multiply_by_slope<Activation::relu>(a);
    case Activation::gelu_tanh:
      return multiply_by_slope<Activation::gelu_tanh>(a);
    case Activation::gelu_erf:
      return multiply_by_slope<Activation::gelu_erf>(a);
    case Activation::silu:
      return multiply_by_slope<Activation::silu>(a);
  }
}

/// `columns` columns, in (kVectors - 1) kLanes .. kVectors kLanes, from `column` on.
template <int64_t kVectors>
void sum_columns(const ColumnSumArguments& a, int64_t column, int64_t columns) {
  constexpr int64_t block_rows = 64;
  const auto lanes = [columns](int64_t v) { return std::min(kLanes, columns - v * kLanes); };
  Vector total[1][kVectors];
  set_zero(total);
  for (int64_t v = 0; a.accumulate && v < kVectors; ++v) {
    total[0][v] = load_first(a.sums + column + v * kLanes, lanes(v));
  }
  for (int64_t begin = 0; begin < a.rows; begin += block_rows) {
    Vector sum[1][kVectors];
    set_zero(sum);
    for (int64_t r = begin; r < std::min(begin + block_rows, a.rows); ++r) {
      const float* row = a.values + r * a.stride + column;
      for (int64_t v = 0; v < kVectors; ++v)
        sum[0][v] = hn::Add(sum[0][v], load_first(row + v * kLanes, lanes(v)));
    }
    for (int64_t v = 0; v < kVectors; ++v) total[0][v] = hn::Add(total[0][v], sum[0][v]);
  }
  for (int64_t v = 0; v < kVectors; ++v) store_first(total[0][v], a.sums + column + v * kLanes, lanes(v));
}

void column_sums(const ColumnSumArguments& a) {
  int64_t j = 0;
  for (; j + kPanelColumns <= a.columns; j += kPanelColumns) sum_columns<kTileVectors>(a, j, kPanelColumns);
  for (; j < a.columns; j += kLanes) sum_columns<1>(a, j, std::min(kLanes, a.columns - j));
}

const GemmKernels& gemm_table() {
  static constexpr GemmKernels table{kTileRows, kPanelColumns,       pack,
                                     multiply,  activation_gradient, column_sums};
  return table;
}

}  // namespace attnlab::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attnlab::kernels {

HWY_EXPORT(gemm_table);

const GemmKernels& gemm_kernels(SimdTarget target) {
  return for_target(HWY_DISPATCH_TABLE(gemm_table), target)();
}

}  // namespace attnlab::kernels
#endif  // HWY_ONCE
