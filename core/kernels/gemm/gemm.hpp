// Matrix products over all cores, forward and backward of layers.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "core/kernels/gemm/arguments.hpp"
#include "core/kernels/gemm/gemm_tile.hpp"

namespace attnlab::kernels {

/// B laid out for the kernels of one SIMD target, for weights that many products share: 1.0 to 1.3 times the
/// bytes of B for 64 or more columns. Immutable, so concurrent reads are safe.
class PackedMatrix {
 public:
  /// Copies B [depth, columns]; element (k, j) is b[k * row_stride + j * column_stride]. Runs on all cores.
  PackedMatrix(const GemmKernels& kernels, const float* b, int64_t row_stride, int64_t column_stride,
               int64_t depth, int64_t columns);

  const GemmKernels& kernels() const { return *kernels_; }
  int64_t depth() const { return depth_; }
  int64_t columns() const { return columns_; }
  /// The panel of column `column`, a multiple of panel_columns, that starts at row `k`, a multiple of
  /// kGemmDepthBlock.
  const float* panel(int64_t k, int64_t column) const;

 private:
  const GemmKernels* kernels_;
  int64_t depth_;
  int64_t columns_;
  std::shared_ptr<float[]> panels_;
};

/// One product, or many at once (a batch of heads or experts: an element of `products` each; no C may overlap
/// another). An element of C has the same bits for any number of threads, however rows and columns are split
/// into products, whatever the strides, and whether B is packed. Backward of C = A B: dA = dC B^T and dB =
/// A^T dC are such products. 2 rows columns depth floating-point operations each. Scratch memory, at most 512
/// KiB a thread, is kept for the next call.
void gemm(const GemmKernels& kernels, const GemmArguments& product);
void gemm(const GemmKernels& kernels, std::span<const GemmArguments> products);

/// As the kernels of the same name, over all cores; the same bits for any number of threads.
void activation_gradient(const GemmKernels& kernels, const ActivationGradientArguments& arguments);
void column_sums(const GemmKernels& kernels, const ColumnSumArguments& arguments);

}  // namespace attnlab::kernels
