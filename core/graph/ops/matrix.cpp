// Matrices cut down to their largest singular values.
#include <Eigen/QR>
#include <Eigen/SVD>

#include <attnlab/philox.hpp>

#include <limits>

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

int64_t rank_of(const Attributes& attributes, int64_t most) {
  const int64_t rank = attributes.integer("rank", 0);
  if (rank < 1) throw OperandError("rank " + std::to_string(rank) + "; allowed: 1 or more");
  return std::min(rank, most);
}
int64_t rank_of(const Attributes& attributes, const Array& x) {
  return rank_of(attributes, std::min(x.extent(-2), x.extent(-1)));
}

/// Singular triples, largest first: thin, and for randomised factors as many as were looked for.
struct Factors {
  Dense u, v;
  Eigen::VectorXd s;

  explicit Factors(const Eigen::JacobiSVD<Dense>& svd)
      : u(svd.matrixU()), v(svd.matrixV()), s(svd.singularValues()) {}
  Dense truncated(int64_t rank) const {
    return u.leftCols(rank) * s.head(rank).asDiagonal() * v.leftCols(rank).transpose();
  }
};

Factors exact_factors(const Eigen::Map<const Dense>& a) {
  return Factors(Eigen::JacobiSVD<Dense>(a, Eigen::ComputeThinU | Eigen::ComputeThinV));
}

/// The gradient by A of a function whose gradient by A_r is G, stable where singular values are equal or zero
/// on one side of the cut:
///   P G + G R - P G R + sum_{i <= r < j} [s_j^2 G12 + s_i s_j G21^T]_ij / (s_i^2 - s_j^2) u_i v_j^T
///                                       + [s_j^2 G21 + s_i s_j G12^T]_ji / (s_i^2 - s_j^2) u_j v_i^T
/// with P = U1 U1^T, R = V1 V1^T, G12 = U1^T G V2, G21 = U2^T G V1. Vectors of s_j = 0 add nothing, so that
/// thin factors do.
Dense truncation_gradient(const Factors& f, const Eigen::Map<const Dense>& g, int64_t rank) {
  const int64_t rest = f.s.size() - rank;
  const Dense u1 = f.u.leftCols(rank), u2 = f.u.rightCols(rest);
  const Dense v1 = f.v.leftCols(rank), v2 = f.v.rightCols(rest);
  const Dense g_v1 = g * v1;
  Dense result = u1 * (u1.transpose() * g) + g_v1 * v1.transpose();
  result -= u1 * (u1.transpose() * g_v1) * v1.transpose();
  const Dense g12 = u1.transpose() * g * v2, g21 = u2.transpose() * g_v1;
  Dense c12 = Dense::Zero(rank, rest), c21 = Dense::Zero(rest, rank);
  for (int64_t i = 0; i < rank; ++i) {
    for (int64_t j = 0; j < rest; ++j) {
      const double s = f.s[i], t = f.s[rank + j], gap = (s - t) * (s + t);
      if (t == 0 || gap == 0) continue;  // at a tie the truncation has no derivative: the finite part remains
      c12(i, j) = (t * t * g12(i, j) + s * t * g21(j, i)) / gap;
      c21(j, i) = (t * t * g21(j, i) + s * t * g12(i, j)) / gap;
    }
  }
  result += u1 * c12 * v2.transpose() + u2 * c21 * v1.transpose();
  return result;
}

/// A_r of every matrix, from its factors.
template <class FactorsOf>
Array truncate(const Array& input, int64_t rank, const FactorsOf& factors_of) {
  const Matrices a(input);
  Array result(Element::f64, input.shape());
  base::parallel_for(a.count, [&](int64_t i, int) {
    check_finite(a[i]);
    matrix_at(result, i, a.rows, a.columns) = factors_of(a[i]).truncated(rank);
  });
  return result.as(input.element());
}

/// Gradients by the matrices of an op that cannot be differentiated twice: body(A, G) of each.
template <class Body>
Var matrix_gradients(const GradientCall& call, const char* op, const Body& body) {
  if (from_handle(call.inputs[0].node())->watched())
    throw OperandError(std::string(op) + " cannot be differentiated twice");
  const Array& input = value_of(call.inputs[0]);
  const Matrices a(input), g(value_of(call.gradient));
  Array result(Element::f64, input.shape());
  base::parallel_for(a.count,
                     [&](int64_t i, int) { matrix_at(result, i, a.rows, a.columns) = body(a[i], g[i]); });
  return leaf(call.gradient, result.as(input.element()));
}

/// The nearest matrix of at most this rank, sum_{i <= r} s_i u_i v_i^T (Eckart and Young 1936).
Array low_rank(Evaluation& e) {
  return truncate(e.input(0), rank_of(e.attributes, e.input(0)), exact_factors);
}

std::vector<Var> low_rank_gradients(const GradientCall& call) {
  const int64_t rank = rank_of(call.attributes, value_of(call.inputs[0]));
  return {matrix_gradients(call, "low_rank", [&](const auto& a, const auto& g) {
    return truncation_gradient(exact_factors(a), g, rank);
  })};
}

Dense orthonormal(const Dense& x) {
  return Eigen::HouseholderQR<Dense>(x).householderQ() *
         Dense::Identity(x.rows(), std::min(x.rows(), x.cols()));
}

/// Halko, Martinsson and Tropp's randomised SVD (arXiv:0909.4061): the range of A is found from A Omega by
/// power iterations that stay orthonormal, then A projected onto it is decomposed. All matrices of an operand
/// share Omega [columns, rank + oversampling], normal numbers from the key or the second operand.
struct RandomisedSvd {
  int64_t rank, power_iterations;
  Dense omega;

  RandomisedSvd(const Attributes& attributes, const Array& input, const Array& given) {
    const Matrices a(input);
    rank = rank_of(attributes, input), power_iterations = attributes.integer("power_iterations", 1);
    const int64_t oversampling = attributes.integer("oversampling", 8);
    if (oversampling < 0 || power_iterations < 0 || power_iterations > 100)
      throw OperandError("oversampling of 0 or more and 0 to 100 power iterations are allowed");
    if (!given.empty()) {
      const Matrices o(given);
      if (o.count != 1 || o.rows != a.columns || o.columns < rank)
        throw OperandError("omega " + to_string(given.shape()) + " for " + to_string(input.shape()));
      omega = o[0];
      return;
    }
    omega.resize(a.columns, std::min({rank + oversampling, a.rows, a.columns}));
    attnlab::Philox random(static_cast<uint64_t>(attributes.integer("key", 0)));
    for (int64_t i = 0; i < omega.size(); ++i) omega.data()[i] = random.normal();
  }

  Factors operator()(const Eigen::Map<const Dense>& a) const {
    Dense range = orthonormal(a * omega);
    for (int64_t i = 0; i < power_iterations; ++i)
      range = orthonormal(a * orthonormal(a.transpose() * range));
    Factors f(Eigen::JacobiSVD<Dense>(range.transpose() * a, Eigen::ComputeThinU | Eigen::ComputeThinV));
    f.u = range * f.u;
    return f;
  }
};

Array randomised_low_rank(Evaluation& e) {
  const RandomisedSvd svd(e.attributes, e.input(0), e.has(1) ? e.input(1) : Array());
  return truncate(e.input(0), svd.rank, svd);
}

/// The gradient of the exact truncation with the randomised factors in place of the exact ones: right up to
/// their error where the spectrum has a gap at the cut, and finite everywhere, which the gradient through the
/// iterations is not. Of terms across the cut it has those of the singular triples that were looked for.
std::vector<Var> randomised_low_rank_gradients(const GradientCall& call) {
  const Array given = call.inputs.size() > 1 && call.inputs[1] ? value_of(call.inputs[1]) : Array();
  const RandomisedSvd svd(call.attributes, value_of(call.inputs[0]), given);
  return {matrix_gradients(
              call, "randomised_low_rank",
              [&](const auto& a, const auto& g) { return truncation_gradient(svd(a), g, svd.rank); }),
          Var()};
}

/// All right singular vectors, those of the null space too.
struct RowSpace {
  Dense v;
  Eigen::VectorXd s;  ///< padded by zeros to the columns
  bool spanned;       ///< the matrix has at least `rank` directions above rounding, and more could be left

  RowSpace(const Eigen::Map<const Dense>& a, int64_t rank, Element element) {
    const Eigen::JacobiSVD<Dense> svd(a, Eigen::ComputeFullV);
    v = svd.matrixV();
    s = Eigen::VectorXd::Zero(a.cols());
    s.head(svd.singularValues().size()) = svd.singularValues();
    const double epsilon = element == Element::f32
                               ? static_cast<double>(std::numeric_limits<float>::epsilon())
                               : std::numeric_limits<double>::epsilon();
    const double rounding = 8 * epsilon * static_cast<double>(std::max(a.rows(), a.cols()));
    spanned = rank < a.cols() && s[rank - 1] > rounding * s[0];
  }
};

/// The orthogonal projector [..., columns, columns] onto the first `rank` right singular vectors. The
/// identity for a matrix that has fewer directions: it does not say which others to keep.
Array row_projector(Evaluation& e) {
  const Matrices a(e.input(0));
  const int64_t rank = rank_of(e.attributes, a.columns);
  Extents shape = e.input(0).shape();
  shape[shape.size() - 2] = a.columns;
  Array result = Array::zeros(Element::f64, shape);
  base::parallel_for(a.count, [&](int64_t i, int) {
    check_finite(a[i]);
    const RowSpace rows(a[i], rank, e.input(0).element());
    auto out = matrix_at(result, i, a.columns, a.columns);
    if (rows.spanned) {
      out = rows.v.leftCols(rank) * rows.v.leftCols(rank).transpose();
    } else {
      out.setIdentity();
    }
  });
  return result.as(e.input(0).element());
}

/// A (W + W^T) with W = V1 K V2^T, K_ij = v_i^T (G + G^T) v_j / (s_i^2 - s_j^2): only gaps across the cut
/// matter.
std::vector<Var> row_projector_gradients(const GradientCall& call) {
  const Array& input = value_of(call.inputs[0]);
  const int64_t rank = rank_of(call.attributes, input.extent(-1));
  return {matrix_gradients(call, "row_projector", [&](const auto& a, const auto& g) -> Dense {
    const RowSpace rows(a, rank, input.element());
    if (!rows.spanned) return Dense::Zero(a.rows(), a.cols());
    const Dense v1 = rows.v.leftCols(rank), v2 = rows.v.rightCols(a.cols() - rank);
    Dense k = v1.transpose() * (g + g.transpose()) * v2;
    for (int64_t i = 0; i < k.rows(); ++i) {
      for (int64_t j = 0; j < k.cols(); ++j) {
        const double s = rows.s[i], t = rows.s[rank + j], gap = (s - t) * (s + t);
        k(i, j) = gap == 0 ? 0 : k(i, j) / gap;
      }
    }
    const Dense w = v1 * k * v2.transpose();
    return a * (w + w.transpose());
  })};
}

/// The first `rank` of them as columns, [..., columns, rank].
Array right_singular_vectors(Evaluation& e) {
  const Matrices a(e.input(0));
  const int64_t rank = rank_of(e.attributes, a.columns);
  Extents shape = e.input(0).shape();
  shape[shape.size() - 2] = a.columns, shape.back() = rank;
  Array result(Element::f64, shape);
  base::parallel_for(a.count, [&](int64_t i, int) {
    check_finite(a[i]);
    matrix_at(result, i, a.columns, rank) =
        Eigen::JacobiSVD<Dense>(a[i], Eigen::ComputeFullV).matrixV().leftCols(rank);
  });
  return result.as(e.input(0).element());
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
      {.name = "randomised_low_rank",
       .least_inputs = 1,
       .most_inputs = 2,
       .attributes = {"rank", "oversampling", "power_iterations", "key"},
       .evaluate = randomised_low_rank,
       .gradient = randomised_low_rank_gradients},
      {.name = "row_projector",
       .attributes = {"rank"},
       .evaluate = row_projector,
       .gradient = row_projector_gradients},
      {.name = "singular_values", .evaluate = singular_values},
      {.name = "right_singular_vectors", .attributes = {"rank"}, .evaluate = right_singular_vectors},
  };
}

}  // namespace attnlab::graph
