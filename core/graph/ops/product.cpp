// Matrix products, batched and broadcast.
#include <vector>

#include "core/graph/op.hpp"
#include "core/graph/ops/gemm.hpp"
#include "core/graph/runs.hpp"
#include "core/kernels/table.hpp"

namespace attnlab::graph {
namespace {

/// The operands of each product of a batch.
struct Batch {
  Array a, b;  ///< leading axes broadcast
  Array result;
  int64_t rows, depth, columns, count = 1;

  Batch(const Array& x, const Array& y) {
    if (x.element() != y.element() || !x.floating())
      throw OperandError("operands must be numbers of one precision");
    if (x.rank() < 2 || y.rank() < 2 || x.extent(-1) != y.extent(-2))
      throw OperandError(to_string(x.shape()) + " times " + to_string(y.shape()));
    rows = x.extent(-2), depth = x.extent(-1), columns = y.extent(-1);
    Extents lead =
        broadcast_shape({x.shape().begin(), x.shape().end() - 2}, {y.shape().begin(), y.shape().end() - 2});
    auto with = [&](int64_t m, int64_t n) {
      Extents shape = lead;
      shape.push_back(m);
      shape.push_back(n);
      return shape;
    };
    a = x.broadcast_to(with(rows, depth));
    b = y.broadcast_to(with(depth, columns));
    result = Array(x.element(), with(rows, columns));
    count = element_count(lead);
  }

  /// Offset of product i in an array of the batch's leading axes.
  static int64_t offset(const Array& array, int64_t i) {
    int64_t result = 0;
    for (size_t axis = array.rank() - 2; axis-- > 0; i /= array.shape()[axis])
      result += i % array.shape()[axis] * array.stride()[axis];
    return result;
  }
};

int64_t row_stride(const Array& x) {
  return x.stride()[x.rank() - 2];
}
int64_t column_stride(const Array& x) {
  return x.stride()[x.rank() - 1];
}

void multiply_floats(Batch& batch) {
  std::vector<kernels::GemmArguments> products(static_cast<size_t>(batch.count));
  for (int64_t i = 0; i < batch.count; ++i) {
    products[static_cast<size_t>(i)] =
        product(Matrix::of(batch.a, Batch::offset(batch.a, i)),
                Matrix::of(batch.b, Batch::offset(batch.b, i)), batch.rows, batch.depth, batch.columns,
                batch.result.mutable_data<float>() + i * batch.rows * batch.columns, batch.columns);
  }
  kernels::gemm(kernels::active_table(), products);
}

/// For checks: sums in order, rows on several threads.
void multiply_doubles(Batch& batch) {
  const int64_t as = column_stride(batch.a), bs = column_stride(batch.b), br = row_stride(batch.b);
  auto row = [&](int64_t unit) {
    const int64_t i = unit / batch.rows, r = unit % batch.rows;
    const double* a = batch.a.data<double>() + Batch::offset(batch.a, i) + r * row_stride(batch.a);
    const double* b = batch.b.data<double>() + Batch::offset(batch.b, i);
    double* c = batch.result.mutable_data<double>() + unit * batch.columns;
    std::fill_n(c, batch.columns, 0.0);
    for (int64_t k = 0; k < batch.depth; ++k) {
      for (int64_t j = 0; j < batch.columns; ++j) c[j] += a[k * as] * b[k * br + j * bs];
    }
  };
  const int64_t units = batch.count * batch.rows;
  if (units * batch.columns * batch.depth <= kParallelElements) {
    for (int64_t u = 0; u < units; ++u) row(u);
  } else {
    base::parallel_for(units, [&](int64_t u, int) { row(u); });
  }
}

Array matmul(Evaluation& e) {
  Batch batch(e.input(0), e.input(1));
  if (batch.result.size() == 0) return batch.result;
  if (batch.a.element() == Element::f32) {
    multiply_floats(batch);
  } else {
    multiply_doubles(batch);
  }
  return batch.result;
}

}  // namespace

std::vector<Op> product_ops() {
  return {{.name = "matmul",
           .least_inputs = 2,
           .most_inputs = 2,
           .evaluate = matmul,
           .gradient = [](const GradientCall& g) {
             auto by = [&](size_t i, auto product) {
               return g.needed[i] ? sum_to(product(), g.inputs[i].shape()) : Var();
             };
             return std::vector<Var>{
                 by(0, [&] { return attnlab::matmul(g.gradient, transpose(g.inputs[1])); }),
                 by(1, [&] { return attnlab::matmul(transpose(g.inputs[0]), g.gradient); })};
           }}};
}

}  // namespace attnlab::graph
