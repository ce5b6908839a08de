#include "core/train/channel_importance.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/base/parallel.hpp"
#include "core/mask/visibility.hpp"

namespace attnlab::train {
namespace {

void add_magnitudes(const float* vector, std::span<double> sums) {
  for (size_t c = 0; c < sums.size(); ++c) sums[c] += std::abs(double{vector[c]});
}

void divide(std::span<double> sums, int64_t count) {
  for (double& sum : sums) sum /= static_cast<double>(std::max<int64_t>(1, count));
}

/// The bias of a query; null without one.
const float* bias_of(const data::LayerProblem& layer, int64_t batch, int64_t head, int64_t query) {
  if (layer.bias.empty()) return nullptr;
  const auto& shape = layer.bias.shape();
  const int64_t b = shape[0] == 1 ? 0 : batch, h = shape[1] == 1 ? 0 : head;
  return layer.bias.values<float>().data() + ((b * shape[1] + h) * shape[2] + query) * shape[3];
}

/// Adds up one head over all sequences; the spans have head_dim elements.
void measure_head(const data::LayerProblem& layer, const data::Geometry& g, bool causal, int64_t head,
                  std::span<double> query, std::span<double> key, std::span<double> product) {
  const int64_t kv_head = head / g.group();
  int64_t queries = 0, keys = 0, pairs = 0;
  std::vector<double> seen_sums(key.size());
  for (int64_t b = 0; b < g.batch; ++b) {
    const int64_t valid = layer.valid[static_cast<size_t>(b)];
    int64_t seen = 0;
    std::fill(seen_sums.begin(), seen_sums.end(), 0.0);
    for (int64_t i = 0; i < g.queries; ++i) {
      const int64_t position = i + valid - g.queries;
      if (position < 0) continue;
      const int64_t end = causal ? position + 1 : valid;
      for (; seen < end; ++seen) add_magnitudes(layer.key.row(b, kv_head, seen), seen_sums);
      const float* q = layer.query.row(b, head, i);
      const auto add_products = [&](std::span<const double> sums) {
        for (size_t c = 0; c < product.size(); ++c) product[c] += std::abs(double{q[c]}) * sums[c];
      };
      if (const float* bias = bias_of(layer, b, head, i); bias != nullptr) {
        std::vector<double> sums(key.size());
        int64_t visible = 0;
        for (int64_t j = 0; j < end; ++j) {
          if (mask::hides(bias[j])) continue;
          add_magnitudes(layer.key.row(b, kv_head, j), sums);
          ++visible;
        }
        add_products(sums);
        pairs += visible;
      } else {
        add_products(seen_sums);
        pairs += end;
      }
      add_magnitudes(q, query);
      ++queries;
    }
    for (; seen < valid; ++seen) add_magnitudes(layer.key.row(b, kv_head, seen), seen_sums);
    for (size_t c = 0; c < key.size(); ++c) key[c] += seen_sums[c];
    keys += valid;
  }
  divide(query, queries);
  divide(key, keys);
  divide(product, pairs);
}

}  // namespace

ChannelImportance channel_importance(const data::LayerProblem& layer, const data::Geometry& geometry,
                                     bool causal) {
  const auto width = static_cast<size_t>(geometry.head_dim);
  const size_t size = static_cast<size_t>(geometry.query_heads) * width;
  ChannelImportance importance{std::vector<double>(size), std::vector<double>(size),
                               std::vector<double>(size)};
  base::parallel_for(geometry.query_heads, [&](int64_t head, int) {
    const auto of_head = [&](std::vector<double>& all) {
      return std::span(all).subspan(static_cast<size_t>(head) * width, width);
    };
    measure_head(layer, geometry, causal, head, of_head(importance.query), of_head(importance.key),
                 of_head(importance.product));
  });
  return importance;
}

std::vector<int32_t> sorted_channels(std::span<const double> importance, int64_t head_dim) {
  std::vector<int32_t> channels(importance.size());
  for (size_t begin = 0; begin < importance.size(); begin += static_cast<size_t>(head_dim)) {
    const auto list = std::span(channels).subspan(begin, static_cast<size_t>(head_dim));
    std::iota(list.begin(), list.end(), 0);
    std::stable_sort(list.begin(), list.end(), [&](int32_t a, int32_t b) {
      return importance[begin + static_cast<size_t>(a)] > importance[begin + static_cast<size_t>(b)];
    });
  }
  return channels;
}

}  // namespace attnlab::train
