#include "core/train/adamw.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/base/error.hpp"
#include "core/kernels/layer/layer.hpp"
#include "core/kernels/table.hpp"

namespace attnlab::train {
namespace {

using graph::Array;
using graph::Element;

double sum_of_squares(const Array& x) {
  if (x.element() == Element::f32)
    return kernels::sum_of_squares(kernels::active_table(), {x.size(), x.data<float>()});
  double sum = 0;
  for (int64_t i = 0; i < x.size(); ++i) sum += x.data<double>()[i] * x.data<double>()[i];
  return sum;
}

/// What is the same for all elements of a tensor.
struct Update {
  double learning_rate, weight_decay, beta1, beta2, epsilon, correction1, correction2, gradient_scale;
};

void update_doubles(Array& p, Array& m, Array& v, const Array& g, const Update& u) {
  for (int64_t i = 0; i < p.size(); ++i) {
    const double gradient = u.gradient_scale * g.data<double>()[i];
    double& first = m.mutable_data<double>()[i];
    double& second = v.mutable_data<double>()[i];
    first = u.beta1 * first + (1 - u.beta1) * gradient;
    second = u.beta2 * second + (1 - u.beta2) * gradient * gradient;
    double& x = p.mutable_data<double>()[i];
    x = x * (1 - u.learning_rate * u.weight_decay) -
        u.learning_rate * (first / u.correction1) / (std::sqrt(second / u.correction2) + u.epsilon);
  }
}

void update_floats(Array& p, Array& m, Array& v, const Array& g, const Update& u) {
  kernels::AdamWArguments a;
  a.count = p.size();
  a.parameter = p.mutable_data<float>();
  a.first_moment = m.mutable_data<float>(), a.second_moment = v.mutable_data<float>();
  a.gradient = g.data<float>();
  a.learning_rate = u.learning_rate, a.weight_decay = u.weight_decay;
  a.beta1 = u.beta1, a.beta2 = u.beta2, a.eps = u.epsilon;
  a.correction1 = u.correction1, a.correction2 = u.correction2;
  a.gradient_scale = static_cast<float>(u.gradient_scale);
  kernels::adamw(kernels::active_table(), a);
}

}  // namespace

double Schedule::at(int64_t step) const {
  if (step < warmup) return peak * static_cast<double>(step + 1) / static_cast<double>(warmup + 1);
  if (decay_steps == 0) return peak;
  if (step >= decay_steps) return minimum;
  const double share =
      static_cast<double>(step - warmup) / static_cast<double>(std::max<int64_t>(decay_steps - warmup, 1));
  return minimum + 0.5 * (1 + std::cos(std::numbers::pi * share)) * (peak - minimum);
}

AdamW::AdamW(const model::ParameterSet& parameters, const AdamWOptions& options) : options_(options) {
  for (const model::Parameter& p : parameters.all()) {
    first_.push_back(Array::zeros(parameters.precision(), p.value.shape()));
    second_.push_back(Array::zeros(parameters.precision(), p.value.shape()));
  }
}

double AdamW::update(model::ParameterSet& parameters, std::span<const Array> gradients,
                     double learning_rate) {
  ATTNLAB_CHECK(gradients.size() == parameters.all().size(), "one gradient per parameter");
  std::vector<Array> packed;
  double squares = 0;
  for (const Array& gradient : gradients) {
    packed.push_back(gradient.packed());
    squares += sum_of_squares(packed.back());
  }
  const double norm = std::sqrt(squares);
  if (!std::isfinite(norm)) return norm;
  ++steps_;
  Update u{learning_rate,
           0,
           options_.beta1,
           options_.beta2,
           options_.epsilon,
           1 - std::pow(options_.beta1, static_cast<double>(steps_)),
           1 - std::pow(options_.beta2, static_cast<double>(steps_)),
           1};
  if (options_.clip > 0) u.gradient_scale = std::min(1.0, options_.clip / (norm + 1e-6));
  for (size_t i = 0; i < packed.size(); ++i) {
    Array& p = parameters.all()[i].value;
    u.weight_decay = p.rank() >= 2 ? options_.weight_decay : 0;
    (p.element() == Element::f32 ? update_floats : update_doubles)(p, first_[i], second_[i], packed[i], u);
  }
  return norm;
}

void AdamW::restore(int64_t steps, std::vector<Array> first, std::vector<Array> second) {
  ATTNLAB_CHECK(first.size() == first_.size() && second.size() == second_.size(),
                "moments of the same parameters");
  steps_ = steps;
  first_ = std::move(first);
  second_ = std::move(second);
}

}  // namespace attnlab::train
