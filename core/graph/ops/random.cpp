// Random values: pure functions of a key and the element's index.
#include <attnlab/philox.hpp>

#include "core/graph/op.hpp"
#include "core/graph/runs.hpp"

namespace attnlab::graph {
namespace {

/// x / (1 - p) where element i is kept, else 0; it is kept when word i of the stream is at least 2^32 p. The
/// same elements for the same key, so that the gradient drops what the forward dropped.
Array dropout(Evaluation& e) {
  const double p = e.attributes.real("p", 0);
  if (!(p >= 0 && p < 1)) throw OperandError("a probability of " + std::to_string(p) + "; allowed: [0, 1)");
  const Array x = e.input(0).packed();
  if (!x.floating()) throw OperandError("integers where numbers are expected");
  if (p == 0) return x;
  const attnlab::Philox random(static_cast<uint64_t>(e.attributes.integer("key", 0)));
  const auto threshold = static_cast<uint32_t>(p * 4294967296.0);
  constexpr int64_t block = 4096;
  Array y(x.element(), x.shape());
  with_type(x.element(), [&](auto type) {
    using T = decltype(type);
    const T scale = static_cast<T>(1 / (1 - p));
    const T* in = x.data<T>();
    T* out = y.mutable_data<T>();
    base::parallel_for((x.size() + block - 1) / block, [&](int64_t b, int) {
      const int64_t end = std::min(x.size(), (b + 1) * block);
      for (int64_t i = b * block; i < end; i += 4) {
        const auto words = random.at(static_cast<uint64_t>(i / 4));
        for (int64_t j = i; j < std::min(i + 4, end); ++j)
          out[j] = words[static_cast<size_t>(j - i)] >= threshold ? in[j] * scale : T(0);
      }
    });
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
