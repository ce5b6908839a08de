// Matrices cut down to their largest singular values.
#include <Eigen/SVD>

#include "core/graph/graph.hpp"
#include "core/graph/op.hpp"
#include "core/graph/runs.hpp"

namespace attnlab::graph {
namespace {

using Dense = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// The matrices [..., rows, columns] of an array in double precision.
struct Matrices {
  Array array;
  int64_t rows, columns, count;

  explicit Matrices(const Array& x) : rows(0), columns(0), count(0) {
    if (!x.floating() || x.rank() < 2) throw OperandError("needs matrices, found " + to_string(x.shape()));
    array = x.as(Element::f64).packed();
    rows = x.extent(-2), columns = x.extent(-1);
    count = rows * columns == 0 ? 0 : x.size() / (rows * columns);
  }
  Eigen::Map<const Dense> operator[](int64_t i) const {
    return {array.data<double>() + i * rows * columns, rows, columns};
  }
};

Eigen::Map<Dense> matrix_at(Array& array, int64_t i, int64_t rows, int64_t columns) {
  return {array.mutable_data<double>() + i * rows * columns, rows, columns};
}

void check_finite(const Eigen::Map<const Dense>& a) {
  if (!a.allFinite()) throw OperandError("a matrix with NaN or infinite elements has no singular values");
}

int64_t rank_of(const Attributes& attributes, const Matrices& a) {
  const int64_t rank = attributes.integer("rank", 0);
  if (rank < 1) throw OperandError("rank " + std::to_string(rank) + "; allowed: 1 or more");
  return std::min({rank, a.rows, a.columns});
}

/// Orthonormal bases of all singular vectors: the gradient needs those beyond the cut too.
Eigen::JacobiSVD<Dense> decomposition(const Eigen::Map<const Dense>& a) {
  return Eigen::JacobiSVD<Dense>(a, Eigen::ComputeFullU | Eigen::ComputeFullV);
}

/// The nearest matrix of at most this rank, sum_{i <= r} s_i u_i v_i^T (Eckart and Young 1936).
Array low_rank(Evaluation& e) {
  const Matrices a(e.input(0));
  const int64_t rank = rank_of(e.attributes, a);
  Array result(Element::f64, e.input(0).shape());
  base::parallel_for(a.count, [&](int64_t i, int) {
    check_finite(a[i]);
    const Eigen::JacobiSVD<Dense> svd(a[i], Eigen::ComputeThinU | Eigen::ComputeThinV);
    matrix_at(result, i, a.rows, a.columns) = svd.matrixU().leftCols(rank) *
                                              svd.singularValues().head(rank).asDiagonal() *
                                              svd.matrixV().leftCols(rank).transpose();
  });
  return result.as(e.input(0).element());
}

/// The gradient by A of a function whose gradient by A_r is G, stable where singular values are equal or zero
/// on one side of the cut:
///   P G + G R - P G R + sum_{i <= r < j} [s_j^2 G12 + s_i s_j G21^T]_ij / (s_i^2 - s_j^2) u_i v_j^T
///                                       + [s_j^2 G21 + s_i s_j G12^T]_ji / (s_i^2 - s_j^2) u_j v_i^T
/// with P = U1 U1^T, R = V1 V1^T, G12 = U1^T G V2, G21 = U2^T G V1.
Dense low_rank_gradient(const Eigen::Map<const Dense>& a, const Eigen::Map<const Dense>& g, int64_t rank) {
  const auto svd = decomposition(a);
  const int64_t rows = a.rows(), columns = a.cols();
  const Dense u1 = svd.matrixU().leftCols(rank), u2 = svd.matrixU().rightCols(rows - rank);
  const Dense v1 = svd.matrixV().leftCols(rank), v2 = svd.matrixV().rightCols(columns - rank);
  const Dense left = u1 * (u1.transpose() * g), right = (g * v1) * v1.transpose();
  Dense result = left + right - u1 * ((u1.transpose() * g * v1) * v1.transpose());
  const Dense g12 = u1.transpose() * g * v2, g21 = u2.transpose() * g * v1;
  auto singular = [&](int64_t i) { return i < svd.singularValues().size() ? svd.singularValues()[i] : 0.0; };
  Dense c12 = Dense::Zero(rank, columns - rank), c21 = Dense::Zero(rows - rank, rank);
  for (int64_t i = 0; i < rank; ++i) {
    const double s = singular(i);
    for (int64_t j = 0; j < std::max(rows, columns) - rank; ++j) {
      const double t = singular(rank + j), gap = (s - t) * (s + t);
      if (t == 0 || gap == 0) continue;  // at a tie the truncation has no derivative: the finite part remains
      const double by_row = j < columns - rank ? g12(i, j) : 0, by_column = j < rows - rank ? g21(j, i) : 0;
      if (j < columns - rank) c12(i, j) = (t * t * by_row + s * t * by_column) / gap;
      if (j < rows - rank) c21(j, i) = (t * t * by_column + s * t * by_row) / gap;
    }
  }
  result += u1 * c12 * v2.transpose() + u2 * c21 * v1.transpose();
  return result;
}

std::vector<Var> low_rank_gradients(const GradientCall& call) {
  if (call.inputs[0].node() != nullptr && from_handle(call.inputs[0].node())->watched())
    throw OperandError("low_rank cannot be differentiated twice");
  const Array& input = value_of(call.inputs[0]);
  const Matrices a(input), g(value_of(call.gradient));
  const int64_t rank = rank_of(call.attributes, a);
  Array result(Element::f64, input.shape());
  base::parallel_for(a.count, [&](int64_t i, int) {
    matrix_at(result, i, a.rows, a.columns) = low_rank_gradient(a[i], g[i], rank);
  });
  return {leaf(call.gradient, result.as(input.element()))};
}

/// Largest first.
Array singular_values(Evaluation& e) {
  const Matrices a(e.input(0));
  Extents shape(e.input(0).shape().begin(), e.input(0).shape().end() - 2);
  const int64_t count = std::min(a.rows, a.columns);
  shape.push_back(count);
  Array result(Element::f64, shape);
  base::parallel_for(a.count, [&](int64_t i, int) {
    check_finite(a[i]);
    const Eigen::JacobiSVD<Dense> svd(a[i]);
    std::copy_n(svd.singularValues().data(), count, result.mutable_data<double>() + i * count);
  });
  return result.as(e.input(0).element());
}

}  // namespace

std::vector<Op> matrix_ops() {
  return {
      {.name = "low_rank", .attributes = {"rank"}, .evaluate = low_rank, .gradient = low_rank_gradients},
      {.name = "singular_values", .evaluate = singular_values},
  };
}

}  // namespace attnlab::graph
