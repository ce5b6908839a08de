// Rotary position embedding, arXiv:2104.09864.
#include <cmath>

#include "core/graph/op.hpp"
#include "core/graph/runs.hpp"

namespace attnlab::graph {
namespace {

/// Rotation of pairs of channels by position * theta^(-2i/d); `inverse` rotates back.
Array rope(Evaluation& e) {
  const Array x = e.input(0).packed();
  if (!x.floating() || x.rank() < 2 || x.extent(-1) % 2 != 0)
    throw OperandError("needs numbers [..., tokens, an even number of channels], found " +
                       to_string(x.shape()));
  const int64_t tokens = x.extent(-2), dim = x.extent(-1), half = dim / 2;
  const bool interleaved = e.attributes.integer("interleaved", 1) != 0;
  const double sign = e.attributes.integer("inverse", 0) != 0 ? -1 : 1;
  const int64_t first = e.attributes.integer("position", 0);
  const double theta = e.attributes.real("theta", 10000);
  std::vector<double> cosine(static_cast<size_t>(tokens * half)), sine(cosine.size());
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(first + t) *
                           std::pow(theta, -2 * static_cast<double>(i) / static_cast<double>(dim));
      cosine[static_cast<size_t>(t * half + i)] = std::cos(angle);
      sine[static_cast<size_t>(t * half + i)] = sign * std::sin(angle);
    }
  }
  Array y(x.element(), x.shape());
  with_type(x.element(), [&](auto type) {
    using T = decltype(type);
    const int64_t step = interleaved ? 2 : 1, partner = interleaved ? 1 : half;
    for (int64_t row = 0; row < x.size() / dim; ++row) {
      const T* in = x.data<T>() + row * dim;
      T* out = y.mutable_data<T>() + row * dim;
      for (int64_t i = 0; i < half; ++i) {
        const auto at = static_cast<size_t>(row % tokens * half + i);
        const T c = static_cast<T>(cosine[at]), s = static_cast<T>(sine[at]);
        const T a = in[i * step], b = in[i * step + partner];
        out[i * step] = a * c - b * s;
        out[i * step + partner] = a * s + b * c;
      }
    }
  });
  return y;
}

}  // namespace

std::vector<Op> position_ops() {
  return {{.name = "rope",
           .attributes = {"position", "theta", "interleaved", "inverse"},
           .evaluate = rope,
           .gradient = [](const GradientCall& g) {
             const Attributes& a = g.attributes;
             return std::vector<Var>{apply("rope", {g.gradient},
                                           {{"position", a.integer("position", 0)},
                                            {"theta", a.real("theta", 10000)},
                                            {"interleaved", a.integer("interleaved", 1)},
                                            {"inverse", 1 - a.integer("inverse", 0)}})};
           }}};
}

}  // namespace attnlab::graph
