// Random values: pure functions of a key and the element's index.
#include <attnlab/philox.hpp>

#include "core/graph/op.hpp"
#include "core/graph/runs.hpp"
#include "core/kernels/layer/layer.hpp"
#include "core/kernels/table.hpp"

namespace attnlab::graph {
namespace {

uint64_t key_of(const Evaluation& e) {
  return static_cast<uint64_t>(e.attributes.integer("key", 0));
}

/// x / (1 - p) where element i is kept, else 0; it is kept when word i of the stream is at least 2^32 p. The
/// same elements for the same key, so that the gradient drops what the forward dropped.
Array dropout(Evaluation& e) {
  const double p = e.attributes.real("p", 0);
  if (!(p >= 0 && p < 1)) throw OperandError("a probability of " + std::to_string(p) + "; allowed: [0, 1)");
  const Array x = e.input(0).packed();
  if (!x.floating()) throw OperandError("integers where numbers are expected");
  if (p == 0) return x;
  if (x.element() == Element::f32) {
    Array y(Element::f32, x.shape());
    kernels::dropout(kernels::active_table(), {x.size(), x.data<float>(), static_cast<float>(p), key_of(e), 0,
                                               y.mutable_data<float>()});
    return y;
  }
  const attnlab::Philox random(key_of(e));
  const auto threshold = static_cast<uint32_t>(static_cast<double>(static_cast<float>(p)) * 4294967296.0);
  constexpr int64_t block = 4096;
  Array y(x.element(), x.shape());
  const double scale = 1 / (1 - p);
  const double* in = x.data<double>();
  double* out = y.mutable_data<double>();
  base::parallel_for((x.size() + block - 1) / block, [&](int64_t b, int) {
    const int64_t end = std::min(x.size(), (b + 1) * block);
    for (int64_t i = b * block; i < end; i += 4) {
      const auto words = random.at(static_cast<uint64_t>(i / 4));
      for (int64_t j = i; j < std::min(i + 4, end); ++j)
        out[j] = words[static_cast<size_t>(j - i)] >= threshold ? in[j] * scale : 0;
    }
  });
  return y;
}

}  // namespace

std::vector<Op> random_ops() {
  return {{.name = "dropout",
           .attributes = {"p", "key"},
           .evaluate = dropout,
           .gradient = [](const GradientCall& g) {
             return std::vector<Var>{
                 apply("dropout", {g.gradient},
                       {{"p", g.attributes.real("p", 0)}, {"key", g.attributes.integer("key", 0)}})};
           }}};
}

}  // namespace attnlab::graph
