#include "core/train/hash_net.hpp"

#include <Eigen/Core>
#include <array>
#include <cmath>

#include "core/base/error.hpp"

namespace attnlab::train {
namespace {

template <class Real>
using Plane = Eigen::Array<Real, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class Real>
using Rows = Eigen::Matrix<Real, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class Real>
using RowVector = Eigen::Matrix<Real, 1, Eigen::Dynamic>;

constexpr double inverse_sqrt_2 = 0.70710678118654752440, inverse_sqrt_2_pi = 0.39894228040143267794;

template <class Real>
Plane<Real> sigmoid(const Plane<Real>& x) {
  return Real{1} / (Real{1} + (-x).exp());
}

/// x becomes activation(x); `slope` its derivative.
template <class Real>
void activate(Activation activation, Plane<Real>& x, Plane<Real>& slope) {
  switch (activation) {
    case Activation::silu: {
      const Plane<Real> s = sigmoid<Real>(x);
      slope = s * (Real{1} + x * (Real{1} - s));
      x *= s;
      break;
    }
    case Activation::relu:
      slope = (x > Real{0}).template cast<Real>();
      x = x.max(Real{0});
      break;
    case Activation::gelu: {
      const Plane<Real> below = x.unaryExpr(
          [](Real v) { return static_cast<Real>(0.5 * (1 + std::erf(double{v} * inverse_sqrt_2))); });
      slope = below + x * (Real{-0.5} * x.square()).exp() * static_cast<Real>(inverse_sqrt_2_pi);
      x *= below;
      break;
    }
    case Activation::tanh:
      x = x.tanh();
      slope = Real{1} - x.square();
      break;
  }
}

/// One MLP with what its gradient needs. Parameters and gradient are spans of shape.mlp_size() numbers.
template <class Real>
class Mlp {
 public:
  Mlp(const NetShape& shape, std::span<const Real> parameters) : shape_(shape), parameters_(parameters) {}

  /// [rows, head_dim] -> tanh of the outputs, [rows, bits].
  const Plane<Real>& forward(const std::vector<Real>& x, int64_t rows) {
    inputs_[0] = Eigen::Map<const Plane<Real>>(x.data(), rows, shape_.head_dim);
    int64_t at = 0;
    for (int64_t layer = 0; layer < shape_.layers; ++layer) {
      const int64_t in = shape_.inputs(layer), out = shape_.outputs(layer);
      const Eigen::Map<const Rows<Real>> weight(parameters_.data() + at, in, out);
      const Eigen::Map<const RowVector<Real>> bias(parameters_.data() + at + in * out, out);
      const auto slot = static_cast<size_t>(layer);
      Plane<Real> next = ((inputs_[slot].matrix() * weight).rowwise() + bias).array();
      if (layer + 1 < shape_.layers) {
        activate(shape_.activation, next, slopes_[slot]);
        inputs_[slot + 1] = std::move(next);
      } else {
        code_ = next.tanh();
      }
      at += in * out + out;
    }
    return code_;
  }

  /// `code_gradient` [rows, bits] is the gradient by what `forward` returned; adds nothing, overwrites.
  void backward(const Plane<Real>& code_gradient, std::span<Real> gradient) const {
    Plane<Real> by_output = code_gradient * (Real{1} - code_.square());
    int64_t at = shape_.mlp_size();
    for (int64_t layer = shape_.layers - 1; layer >= 0; --layer) {
      const int64_t in = shape_.inputs(layer), out = shape_.outputs(layer);
      at -= in * out + out;
      const auto slot = static_cast<size_t>(layer);
      Eigen::Map<Rows<Real>>(gradient.data() + at, in, out) =
          inputs_[slot].matrix().transpose() * by_output.matrix();
      Eigen::Map<RowVector<Real>>(gradient.data() + at + in * out, out) = by_output.matrix().colwise().sum();
      if (layer == 0) break;
      const Eigen::Map<const Rows<Real>> weight(parameters_.data() + at, in, out);
      by_output = ((by_output.matrix() * weight.transpose()).array() * slopes_[slot - 1]).eval();
    }
  }

 private:
  NetShape shape_;
  std::span<const Real> parameters_;
  std::array<Plane<Real>, 3> inputs_;
  std::array<Plane<Real>, 2> slopes_;
  Plane<Real> code_;
};

}  // namespace

const std::vector<std::string>& activation_names() {
  static const std::vector<std::string> names = {"silu", "relu", "gelu", "tanh"};
  return names;
}

const std::string& name_of(Activation activation) {
  return activation_names().at(static_cast<size_t>(activation));
}

int64_t NetShape::mlp_size() const {
  int64_t size = 0;
  for (int64_t layer = 0; layer < layers; ++layer) size += (inputs(layer) + 1) * outputs(layer);
  return size;
}

template <class Real>
Real loss_and_gradient(const NetShape& shape, std::span<const Real> parameters, const Batch<Real>& batch,
                       std::span<Real> gradient) {
  ATTNLAB_CHECK(
      static_cast<int64_t>(parameters.size()) == shape.size() && gradient.size() == parameters.size(),
      "parameters of another shape");
  const auto mlp_size = static_cast<size_t>(shape.mlp_size());
  Mlp<Real> query_mlp(shape, parameters.first(mlp_size)),
      key_mlp(shape, parameters.subspan(mlp_size, mlp_size));
  const Plane<Real>& query = query_mlp.forward(batch.query, batch.queries);
  const Plane<Real>& key = key_mlp.forward(batch.key, batch.keys);
  const Real scale = std::exp(parameters[2 * mlp_size]) / std::sqrt(static_cast<Real>(shape.bits));
  const Real offset = parameters[2 * mlp_size + 1];
  const Plane<Real> dot = (query.matrix() * key.matrix().transpose()).array();

  // by_score holds the gradient by each pair's score. Sums in double, in the order of the pairs.
  Plane<Real> by_score(batch.queries, batch.keys);
  double loss = 0, by_log_scale = 0, by_offset = 0;
  int64_t pairs = 0;
  for (int64_t i = 0; i < batch.queries; ++i) {
    const Real positive = batch.positive_weight[static_cast<size_t>(i)];
    for (int64_t j = 0; j < batch.keys; ++j) {
      const uint8_t label = batch.label[static_cast<size_t>(i * batch.keys + j)];
      if (label == Batch<Real>::hidden) {
        by_score(i, j) = 0;
        continue;
      }
      ++pairs;
      const Real s = scale * dot(i, j) + offset;
      // The margin's sign makes both labels the loss log(1 + exp(-margin)), without overflow.
      const Real sign = label == Batch<Real>::heavy ? Real{1} : Real{-1};
      const Real weight = label == Batch<Real>::heavy ? positive : Real{1};
      const Real margin = sign * s, small = std::exp(-std::abs(margin));
      loss += weight * (std::max(-margin, Real{0}) + std::log1p(small));
      const Real wrong = (margin >= 0 ? small : Real{1}) / (1 + small);
      by_score(i, j) = -sign * weight * wrong;
      by_log_scale += by_score(i, j) * scale * dot(i, j);
      by_offset += by_score(i, j);
    }
  }
  const double share = 1 / static_cast<double>(std::max<int64_t>(pairs, 1));
  by_score *= static_cast<Real>(share) * scale;
  query_mlp.backward((by_score.matrix() * key.matrix()).array(), gradient.first(mlp_size));
  key_mlp.backward((by_score.matrix().transpose() * query.matrix()).array(),
                   gradient.subspan(mlp_size, mlp_size));
  gradient[2 * mlp_size] = static_cast<Real>(by_log_scale * share);
  gradient[2 * mlp_size + 1] = static_cast<Real>(by_offset * share);
  return static_cast<Real>(loss * share);
}

template float loss_and_gradient(const NetShape&, std::span<const float>, const Batch<float>&,
                                 std::span<float>);
template double loss_and_gradient(const NetShape&, std::span<const double>, const Batch<double>&,
                                  std::span<double>);

void dot_products(std::span<const float> query, std::span<const float> key, int64_t width, float scale,
                  std::span<float> out) {
  const auto queries = static_cast<int64_t>(query.size()) / width,
             keys = static_cast<int64_t>(key.size()) / width;
  const Eigen::Map<const Rows<float>> q(query.data(), queries, width), k(key.data(), keys, width);
  Eigen::Map<Rows<float>>(out.data(), queries, keys).noalias() = (scale * q) * k.transpose();
}

void adam_step(std::span<float> parameters, std::span<const float> gradient, std::span<float> first_moment,
               std::span<float> second_moment, int64_t step, double learning_rate) {
  constexpr float beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-8f;
  const double correction1 = 1 - std::pow(double{beta1}, static_cast<double>(step));
  const double correction2 = 1 - std::pow(double{beta2}, static_cast<double>(step));
  const auto rate = static_cast<float>(learning_rate / correction1);
  const auto rescale = static_cast<float>(1 / std::sqrt(correction2));
  for (size_t i = 0; i < parameters.size(); ++i) {
    first_moment[i] = beta1 * first_moment[i] + (1 - beta1) * gradient[i];
    second_moment[i] = beta2 * second_moment[i] + (1 - beta2) * gradient[i] * gradient[i];
    parameters[i] -= rate * first_moment[i] / (std::sqrt(second_moment[i]) * rescale + epsilon);
  }
}

}  // namespace attnlab::train
