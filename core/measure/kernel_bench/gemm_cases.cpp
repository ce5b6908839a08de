// Matrix products of the shapes of layers and of their gradients.
#include <fmt/core.h>

#include "core/kernels/gemm/gemm.hpp"
#include "core/measure/kernel_bench/kernel_case.hpp"

namespace attnlab::measure {
namespace {

/// C [rows, columns] = A [rows, depth] B [depth, columns].
struct Shape {
  int64_t rows, columns, depth;
};

KernelCase gemm_case(const Shape& shape, bool packed, bool transposed) {
  KernelCase gemm;
  gemm.name = fmt::format("gemm{}/f32/m{}n{}k{}",
                          packed       ? "_packed"
                          : transposed ? "_transposed"
                                       : "",
                          shape.rows, shape.columns, shape.depth);
  gemm.family = "gemm";
  gemm.flops = 2.0 * static_cast<double>(shape.rows * shape.columns * shape.depth);
  gemm.make = [=](CaseContext& context) {
    const auto a = normals(shape.rows * shape.depth, 2), b = normals(shape.depth * shape.columns, 3);
    const auto c = normals(shape.rows * shape.columns, 4);
    const int64_t row_stride = transposed ? 1 : shape.columns, column_stride = transposed ? shape.depth : 1;
    std::shared_ptr<const kernels::PackedMatrix> panels;
    if (packed) {
      panels = std::make_shared<const kernels::PackedMatrix>(*context.kernels, b.get(), row_stride,
                                                             column_stride, shape.depth, shape.columns);
    }
    const kernels::KernelTable* kernels = context.kernels;
    return PreparedCase{[=] {
                          kernels::GemmArguments product;
                          product.rows = shape.rows;
                          product.columns = product.c_stride = shape.columns;
                          product.depth = product.a_row_stride = shape.depth;
                          product.a = a.get();
                          product.b = b.get();
                          product.b_row_stride = row_stride;
                          product.b_column_stride = column_stride;
                          product.packed_b = panels.get();
                          product.c = c.get();
                          kernels::gemm(*kernels, product);
                        },
                        0,
                        packed       ? "B packed before"
                        : transposed ? "B given transposed"
                                     : ""};
  };
  return gemm;
}

}  // namespace

void add_gemm_cases(bool quick, std::vector<KernelCase>& cases) {
  const auto shapes =
      quick ? std::vector<Shape>{{7, 33, 17}}
            : std::vector<Shape>{{512, 512, 512}, {2048, 768, 768}, {2048, 3072, 768}, {1, 3072, 768}};
  for (const Shape& shape : shapes) {
    for (const bool packed : {false, true}) cases.push_back(gemm_case(shape, packed, false));
  }
  cases.push_back(gemm_case(shapes[0], false, true));
}

}  // namespace attnlab::measure
