// The loss of train-hash against its definition, and its gradient against finite differences.
#include "core/train/hash_net.hpp"

#include <gtest/gtest.h>
#include <attnlab/philox.hpp>

#include <cmath>

namespace attnlab::train {
namespace {

Batch<double> random_batch(const NetShape& shape, int64_t queries, int64_t keys, Philox& random) {
  Batch<double> batch;
  batch.queries = queries;
  batch.keys = keys;
  for (int64_t i = 0; i < queries * shape.head_dim; ++i) batch.query.push_back(random.normal());
  for (int64_t i = 0; i < keys * shape.head_dim; ++i) batch.key.push_back(random.normal());
  for (int64_t i = 0; i < queries * keys; ++i) batch.label.push_back(static_cast<uint8_t>(random.below(3)));
  for (int64_t i = 0; i < queries; ++i) batch.positive_weight.push_back(1 + static_cast<double>(i));
  return batch;
}

std::vector<double> random_parameters(const NetShape& shape, Philox& random) {
  std::vector<double> parameters;
  for (int64_t i = 0; i < shape.size(); ++i) parameters.push_back(random.normal() * 0.5);
  return parameters;
}

double activated(Activation activation, double x) {
  switch (activation) {
    case Activation::silu:
      return x / (1 + std::exp(-x));
    case Activation::relu:
      return x > 0 ? x : 0;
    case Activation::gelu:
      return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    case Activation::tanh:
      return std::tanh(x);
  }
  return 0;
}

/// One vector through one MLP, by definition.
std::vector<double> relaxed_code(const NetShape& shape, const double* parameters, const double* x) {
  std::vector<double> now(x, x + shape.head_dim);
  for (int64_t layer = 0; layer < shape.layers; ++layer) {
    const int64_t in = shape.inputs(layer), out = shape.outputs(layer);
    std::vector<double> next;
    for (int64_t o = 0; o < out; ++o) {
      double sum = parameters[in * out + o];
      for (int64_t i = 0; i < in; ++i) sum += now[static_cast<size_t>(i)] * parameters[i * out + o];
      next.push_back(layer + 1 < shape.layers ? activated(shape.activation, sum) : std::tanh(sum));
    }
    parameters += (in + 1) * out;
    now = next;
  }
  return now;
}

double loss_by_definition(const NetShape& shape, const std::vector<double>& parameters,
                          const Batch<double>& batch) {
  const int64_t mlp = shape.mlp_size();
  double sum = 0, pairs = 0;
  for (int64_t i = 0; i < batch.queries; ++i) {
    const auto q = relaxed_code(shape, parameters.data(), batch.query.data() + i * shape.head_dim);
    for (int64_t j = 0; j < batch.keys; ++j) {
      const auto label = batch.label[static_cast<size_t>(i * batch.keys + j)];
      if (label == Batch<double>::hidden) continue;
      const auto k = relaxed_code(shape, parameters.data() + mlp, batch.key.data() + j * shape.head_dim);
      double dot = 0;
      for (size_t b = 0; b < q.size(); ++b) dot += q[b] * k[b];
      const double score = std::exp(parameters[static_cast<size_t>(2 * mlp)]) /
                               std::sqrt(static_cast<double>(shape.bits)) * dot +
                           parameters[static_cast<size_t>(2 * mlp + 1)];
      const double p = 1 / (1 + std::exp(-score));
      sum -= label == Batch<double>::heavy ? batch.positive_weight[static_cast<size_t>(i)] * std::log(p)
                                           : std::log(1 - p);
      ++pairs;
    }
  }
  return sum / pairs;
}

class HashNet : public testing::TestWithParam<NetShape> {};

TEST_P(HashNet, LossIsAsDefined) {
  const NetShape& shape = GetParam();
  Philox random(7);
  const auto batch = random_batch(shape, 3, 5, random);
  const auto parameters = random_parameters(shape, random);
  std::vector<double> gradient(parameters.size());
  const double expected = loss_by_definition(shape, parameters, batch);
  EXPECT_NEAR(loss_and_gradient<double>(shape, parameters, batch, gradient), expected, 1e-12 * expected);
}

TEST_P(HashNet, GradientIsThatOfFiniteDifferences) {
  const NetShape& shape = GetParam();
  Philox random(8);
  const auto batch = random_batch(shape, 3, 5, random);
  auto parameters = random_parameters(shape, random);
  std::vector<double> gradient(parameters.size()), unused(parameters.size());
  loss_and_gradient<double>(shape, parameters, batch, gradient);
  constexpr double step = 1e-6;
  for (size_t i = 0; i < parameters.size(); ++i) {
    const double kept = parameters[i];
    parameters[i] = kept + step;
    const double above = loss_and_gradient<double>(shape, parameters, batch, unused);
    parameters[i] = kept - step;
    const double below = loss_and_gradient<double>(shape, parameters, batch, unused);
    parameters[i] = kept;
    EXPECT_NEAR(gradient[i], (above - below) / (2 * step), 1e-7) << "parameter " << i;
  }
}

TEST_P(HashNet, FloatAgreesWithDouble) {
  const NetShape& shape = GetParam();
  Philox random(9);
  const auto batch = random_batch(shape, 4, 9, random);
  const auto parameters = random_parameters(shape, random);
  std::vector<double> gradient(parameters.size());
  const double loss = loss_and_gradient<double>(shape, parameters, batch, gradient);
  const Batch<float> narrow{batch.queries,
                            batch.keys,
                            {batch.query.begin(), batch.query.end()},
                            {batch.key.begin(), batch.key.end()},
                            batch.label,
                            {batch.positive_weight.begin(), batch.positive_weight.end()}};
  const std::vector<float> narrow_parameters(parameters.begin(), parameters.end());
  std::vector<float> narrow_gradient(parameters.size());
  EXPECT_NEAR(loss_and_gradient<float>(shape, narrow_parameters, narrow, narrow_gradient), loss, 1e-5 * loss);
  for (size_t i = 0; i < gradient.size(); ++i) EXPECT_NEAR(narrow_gradient[i], gradient[i], 1e-4) << i;
}

INSTANTIATE_TEST_SUITE_P(Shapes, HashNet,
                         testing::Values(NetShape{4, 3, 5, 6, Activation::silu},
                                         NetShape{3, 2, 4, 1, Activation::relu},
                                         NetShape{2, 3, 3, 7, Activation::gelu},
                                         NetShape{1, 1, 9, 5, Activation::tanh},
                                         NetShape{5, 2, 1, 3, Activation::tanh}));

TEST(HashNetStep, SaturatedScoresStayFinite) {
  const NetShape shape{1, 1, 1, 1, Activation::silu};
  const Batch<float> batch{1, 2, {1}, {1, -1}, {Batch<float>::other, Batch<float>::heavy}, {20}};
  const std::vector<float> parameters = {100, 0, 100, 0, 20, 0};
  std::vector<float> gradient(parameters.size());
  const float loss = loss_and_gradient<float>(shape, parameters, batch, gradient);
  EXPECT_TRUE(std::isfinite(loss));
  for (float g : gradient) EXPECT_TRUE(std::isfinite(g));
}

TEST(HashNetStep, AdamsFirstStepIsTheLearningRateAgainstTheGradient) {
  std::vector<float> parameters = {1, 1, 1}, first(3), second(3);
  const std::vector<float> gradient = {0.3f, -1e-3f, 0};
  adam_step(parameters, gradient, first, second, 1, 0.01);
  EXPECT_NEAR(parameters[0], 0.99, 1e-6);
  EXPECT_NEAR(parameters[1], 1.01, 1e-6);
  EXPECT_EQ(parameters[2], 1);
}

}  // namespace
}  // namespace attnlab::train
