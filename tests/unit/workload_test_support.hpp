// A small specification of each workload, and its softmax by hand.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "core/data/workload.hpp"

namespace attnlab::data {

using config::WorkloadSpec;

inline WorkloadSpec small(const std::string& kind) {
  WorkloadSpec spec;
  spec.kind = kind;
  spec.layers = 2;
  spec.batch = 2;
  spec.query_heads = 4;
  spec.kv_heads = 2;
  spec.queries = 40;
  spec.keys = 300;
  spec.head_dim = 64;
  spec.value_dim = 24;
  spec.seed = 11;
  spec.depths = {0.1, 0.5, 1.0};
  return spec;
}

/// Softmax of one row over its visible keys, all in double.
inline std::vector<double> dense_row(const LayerProblem& problem, const Geometry& g, int64_t b, int64_t h,
                                     int64_t i) {
  int64_t visible = i + g.keys - g.queries + 1;
  const float* q = problem.query.row(b, h, i);
  std::vector<double> p;
  for (int64_t j = 0; j < visible; ++j) {
    const float* k = problem.key.row(b, h / g.group(), j);
    p.push_back(std::inner_product(q, q + g.head_dim, k, 0.0, std::plus<>(),
                                   [](double x, double y) { return x * y; }) /
                std::sqrt(static_cast<double>(g.head_dim)));
  }
  double maximum = *std::max_element(p.begin(), p.end());
  for (double& x : p) x = std::exp(x - maximum);
  double sum = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& x : p) x /= sum;
  return p;
}

inline std::span<const float> mass_row(const LayerProblem& problem, const Geometry& g, int64_t b,
                                       int64_t kv_head) {
  return problem.true_mass.values<float>().subspan(static_cast<size_t>((b * g.kv_heads + kv_head) * g.keys),
                                                   static_cast<size_t>(g.keys));
}

/// Every row's softmax is true_mass over the visible keys, to a relative error of 1e-5.
inline void expect_exact_mass(const WorkloadSpec& spec) {
  auto source = open_workload(spec);
  const Geometry& g = source->geometry();
  for (int layer : source->layers()) {
    LayerProblem problem = source->load(layer);
    for (int64_t b = 0; b < g.batch; ++b) {
      for (int64_t h = 0; h < g.query_heads; ++h) {
        auto mass = mass_row(problem, g, b, h / g.group());
        for (int64_t i = 0; i < g.queries; ++i) {
          auto p = dense_row(problem, g, b, h, i);
          double total = std::accumulate(mass.begin(), mass.begin() + static_cast<int64_t>(p.size()), 0.0);
          for (size_t j = 0; j < p.size(); ++j) {
            double expected = mass[j] / total;
            ASSERT_NEAR(p[j], expected, 1e-5 * expected)
                << "layer " << layer << " [" << b << ", " << h << ", " << i << ", " << j << "]";
          }
        }
      }
    }
  }
}

/// Dot product and cosine in double.
inline double dot(std::span<const float> a, std::span<const float> b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0, std::plus<>(),
                            [](double x, double y) { return x * y; });
}

inline double cosine(std::span<const float> a, std::span<const float> b) {
  return dot(a, b) / std::sqrt(dot(a, a) * dot(b, b));
}

}  // namespace attnlab::data
