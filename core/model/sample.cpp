#include "core/model/sample.hpp"

#include <attnlab/philox.hpp>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/base/error.hpp"

namespace attnlab::model {

int64_t sample_token(const graph::Array& logits, const SampleOptions& options, uint64_t draw) {
  const graph::Array row =
      logits.sliced(1, logits.extent(1) - 1, logits.extent(1)).as(graph::Element::f64).packed();
  const double* values = row.data<double>();
  const auto classes = static_cast<size_t>(row.size());
  std::vector<size_t> order(classes);
  std::iota(order.begin(), order.end(), size_t{0});
  // Of equal logits the smaller id comes first, on every machine.
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] > values[b]; });
  if (options.temperature == 0) return static_cast<int64_t>(order[0]);
  size_t kept = options.top_k > 0 ? std::min(classes, static_cast<size_t>(options.top_k)) : classes;
  std::vector<double> mass(kept);
  double total = 0;
  for (size_t i = 0; i < kept; ++i)
    total += mass[i] = std::exp((values[order[i]] - values[order[0]]) / options.temperature);
  double reached = 0;
  for (size_t i = 0; i < kept; ++i) {
    reached += mass[i];
    if (reached >= options.top_p * total) {
      kept = i + 1;
      break;
    }
  }
  double left = std::accumulate(mass.begin(), mass.begin() + static_cast<ptrdiff_t>(kept), 0.0) *
                attnlab::Philox(options.seed, draw).uniform();
  for (size_t i = 0; i < kept; ++i) {
    left -= mass[i];
    if (left < 0) return static_cast<int64_t>(order[i]);
  }
  return static_cast<int64_t>(order[kept - 1]);
}

uint64_t sample(const Gpt& model, std::span<const int64_t> prompt, const SampleOptions& options,
                const std::function<bool(int64_t)>& sink) {
  ATTNLAB_CHECK(!prompt.empty(), "a prompt has at least one token");
  const int64_t block = model.shape().block;
  std::vector<int64_t> text(prompt.begin(), prompt.end());
  auto last = [&](int64_t count) {
    const auto n = static_cast<int64_t>(text.size());
    return std::span<const int64_t>(text).subspan(static_cast<size_t>(std::max<int64_t>(0, n - count)));
  };
  DecodeState state = model.new_state();
  std::span<const int64_t> pending = last(block);
  for (int64_t i = 0; i < options.tokens; ++i) {
    const Pass pass = model.step({1, static_cast<int64_t>(pending.size()), pending}, state);
    const int64_t token = sample_token(graph::value_of(pass.logits), options, static_cast<uint64_t>(i));
    text.push_back(token);
    if (!sink(token)) break;
    pending = last(1);
    if (state.length + 1 > block) {
      // No position is left: the last half of the block is read again.
      state = model.new_state();
      pending = last(std::max<int64_t>(1, block / 2));
    }
  }
  return state.bytes();
}

}  // namespace attnlab::model
