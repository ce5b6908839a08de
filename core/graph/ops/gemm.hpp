// Operands of the kernels' matrix products.
#pragma once

#include "core/graph/array.hpp"
#include "core/kernels/gemm/gemm.hpp"

namespace attnlab::graph {

/// A matrix operand of a product: elements with both strides.
struct Matrix {
  const float* data;
  int64_t row_stride, column_stride = 1;

  /// The last two axes of `x` where the others stand at `offset` elements.
  static Matrix of(const Array& x, int64_t offset = 0) {
    return {x.data<float>() + offset, x.stride()[x.rank() - 2], x.stride()[x.rank() - 1]};
  }
  Matrix transposed() const { return {data, column_stride, row_stride}; }
};

/// c = alpha a b, or added to c: a [rows, depth], b [depth, columns], c [rows, columns] with rows `c_stride`
/// apart.
inline kernels::GemmArguments product(const Matrix& a, const Matrix& b, int64_t rows, int64_t depth,
                                      int64_t columns, float* c, int64_t c_stride, double alpha = 1,
                                      bool accumulate = false) {
  kernels::GemmArguments p;
  p.rows = rows, p.depth = depth, p.columns = columns;
  p.a = a.data, p.a_row_stride = a.row_stride, p.a_column_stride = a.column_stride;
  p.b = b.data, p.b_row_stride = b.row_stride, p.b_column_stride = b.column_stride;
  p.c = c, p.c_stride = c_stride;
  p.alpha = static_cast<float>(alpha), p.accumulate = accumulate;
  return p;
}

}  // namespace attnlab::graph
