// Blocks of matrix products, one thread.
#pragma once

#include "core/kernels/gemm/arguments.hpp"
#include "core/kernels/simd/target.hpp"

namespace attnlab::kernels {

/// Rows of B that are summed in registers before they are added to C. The order of a sum over k follows from
/// it alone: a chain of multiply-adds over each block, ascending from 0, and the blocks added one after the
/// other.
inline constexpr int64_t kGemmDepthBlock = 256;

/// B[depth, columns] to panels of panel_columns columns: panel p, [depth][panel_columns], starts at
/// to + p * depth * panel_columns and is padded with zeros.
struct PackArguments {
  int64_t depth = 0;
  int64_t columns = 0;
  const float* b = nullptr;
  int64_t row_stride = 0;
  int64_t column_stride = 1;
  float* to = nullptr;
};

/// C = alpha A B, or += with `add`, for a block of at most kGemmDepthBlock of depth. Row k of panel p starts
/// at panels + p * panel_stride + k * panel_row_stride; all panel_columns floats of a row are read.
struct GemmBlock {
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t depth = 0;
  const float* a = nullptr;
  int64_t a_row_stride = 0;
  int64_t a_column_stride = 1;
  const float* panels = nullptr;
  int64_t panel_stride = 0;
  int64_t panel_row_stride = 0;
  float* c = nullptr;
  int64_t c_stride = 0;
  float alpha = 1;
  bool add = false;
  const GemmEpilogue* epilogue =
      nullptr;  ///< of the block's first element; applied after the product unless null
};

/// One SIMD target's kernels. They run on the calling thread and allocate nothing. Arguments are not checked.
struct GemmKernels {
  int64_t tile_rows = 0;  ///< rows of a block are best a multiple of it
  int64_t panel_columns = 0;
  void (*pack)(const PackArguments&) = nullptr;
  void (*multiply)(const GemmBlock&) = nullptr;
  void (*activation_gradient)(const ActivationGradientArguments&) = nullptr;
  void (*column_sums)(const ColumnSumArguments&) = nullptr;
};

const GemmKernels& gemm_kernels(SimdTarget target);

}  // namespace attnlab::kernels
