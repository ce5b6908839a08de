#include "core/train/hash_head.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/base/error.hpp"

namespace attnlab::train {
namespace {

constexpr float minus_infinity = -std::numeric_limits<float>::infinity();

enum Stream : uint64_t { initial_weights, random_projections, steps };

/// Biases below half the lowest float hide a key, as everywhere.
bool hides(float bias) {
  return bias < std::numeric_limits<float>::lowest() / 2;
}

/// Mean and deviation of the channels of `count` vectors, by two passes in double.
template <class VectorOf>
auto channel_statistics(int64_t count, int64_t width, const VectorOf& vector_of) {
  std::vector<double> sum(static_cast<size_t>(width)), squares(static_cast<size_t>(width));
  for (int64_t i = 0; i < count; ++i) {
    for (size_t c = 0; c < sum.size(); ++c) sum[c] += vector_of(i)[c];
  }
  for (double& s : sum) s /= static_cast<double>(count);
  for (int64_t i = 0; i < count; ++i) {
    for (size_t c = 0; c < sum.size(); ++c) squares[c] += std::pow(vector_of(i)[c] - sum[c], 2);
  }
  std::pair<std::vector<float>, std::vector<float>> result;
  for (size_t c = 0; c < sum.size(); ++c) {
    const double deviation = std::sqrt(squares[c] / static_cast<double>(count));
    result.first.push_back(static_cast<float>(sum[c]));
    // A constant channel says nothing: it is centred and left at its size.
    result.second.push_back(deviation > 1e-6 * std::abs(sum[c]) + 1e-30 ? static_cast<float>(1 / deviation)
                                                                        : 1.0f);
  }
  return result;
}

}  // namespace

std::vector<int32_t> largest(std::span<const float> values, int64_t count) {
  std::vector<int32_t> ids;
  for (size_t j = 0; j < values.size(); ++j) {
    if (values[j] > minus_infinity) ids.push_back(static_cast<int32_t>(j));
  }
  if (count < static_cast<int64_t>(ids.size())) {
    std::nth_element(ids.begin(), ids.begin() + count, ids.end(), [&](int32_t a, int32_t b) {
      const float x = values[static_cast<size_t>(a)], y = values[static_cast<size_t>(b)];
      return x > y || (x == y && a < b);
    });
    ids.resize(static_cast<size_t>(count));
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

HashHead::HashHead(const data::LayerProblem& problem, const data::Geometry& geometry,
                   const HashOptions& options, int64_t head)
    : problem_(problem),
      geometry_(geometry),
      options_(options),
      shape_{geometry.head_dim, options.layers, options.hidden, options.bits, options.activation},
      kv_head_(options.per_query_head ? head / geometry.group() : head),
      key_(mix_key(options.seed, problem.layer, head)) {
  for (int64_t b = 0; b < geometry.batch; ++b) {
    auto& keys = keys_.emplace_back();
    for (int64_t j = 0; j < geometry.keys; ++j) {
      const float* row = problem.key.row(b, kv_head_, j);
      keys.insert(keys.end(), row, row + geometry.head_dim);
    }
  }
  const int64_t first = options.per_query_head ? head : head * geometry.group();
  const int64_t heads = options.per_query_head ? 1 : geometry.group();
  const auto judged =
      static_cast<int64_t>(std::llround(options.held_out * static_cast<double>(geometry.queries)));
  const int64_t cut = geometry.queries - std::clamp<int64_t>(judged, 1, geometry.queries);
  std::vector<float> logits;
  for (int64_t b = 0; b < geometry.batch; ++b) {
    for (int64_t i = 0; i < geometry.queries; ++i) {
      for (int64_t h = first; h < first + heads; ++h) {
        const Query query{b, i, h};
        const int64_t end = visible_end(query);
        const int64_t visible = problem.bias.empty() || end == 0 ? end : exact_logits(query, logits);
        if (visible > 0 && options.top_k.of(visible) < visible)
          (i < cut ? training_ : judging_).push_back(query);
      }
    }
  }
  if (training_.empty() || judging_.empty()) {
    throw base::UserError(
        fmt::format("no {} query of layer {} sees more keys than --top-k",
                    training_.empty() ? "training" : "held-out", problem.layer),
        {.found = fmt::format("{} queries on {} keys, --top-k {}, --held-out {}", geometry.queries,
                              geometry.keys, to_text(plugin::Value{options.top_k}), options.held_out),
         .suggestion = "choose a smaller count or a fraction, such as --top-k 5%"});
  }
  query_standard_ = standard_of_queries(training_);
  key_standard_ = standard_of_keys(cut);

  parameters.assign(static_cast<size_t>(shape_.size()), 0.0f);
  first_moment = second_moment = parameters;
  Philox random(key_, initial_weights);
  // Weights keep the variance of what passes through them; biases start at 0, the score's scale at 1.
  const double gain = shape_.activation == Activation::tanh ? 1 : std::sqrt(2.0);
  size_t at = 0;
  for (int side = 0; side < 2; ++side) {
    for (int64_t layer = 0; layer < shape_.layers; ++layer) {
      const int64_t in = shape_.inputs(layer), out = shape_.outputs(layer);
      const double deviation = (layer + 1 < shape_.layers ? gain : 1) / std::sqrt(static_cast<double>(in));
      for (int64_t i = 0; i < in * out; ++i)
        parameters[at++] = static_cast<float>(random.normal() * deviation);
      at += static_cast<size_t>(out);
    }
  }
}

int64_t HashHead::visible_end(const Query& query) const {
  const int64_t valid = problem_.valid[static_cast<size_t>(query.sequence)];
  const int64_t position = query.index + valid - geometry_.queries;
  return options_.causal ? std::max<int64_t>(0, position + 1) : position < 0 ? 0 : valid;
}

std::span<const float> HashHead::vector_of(const Query& query) const {
  return {problem_.query.row(query.sequence, query.query_head, query.index),
          static_cast<size_t>(geometry_.head_dim)};
}

int64_t HashHead::exact_logits(const Query& query, std::vector<float>& out) const {
  const int64_t end = visible_end(query);
  out.resize(static_cast<size_t>(end));
  const auto& keys = keys_[static_cast<size_t>(query.sequence)];
  dot_products(vector_of(query), std::span(keys).first(static_cast<size_t>(end * geometry_.head_dim)),
               geometry_.head_dim, static_cast<float>(options_.scale), out);
  if (problem_.bias.empty()) return end;
  const auto& shape = problem_.bias.shape();
  const int64_t b = shape[0] == 1 ? 0 : query.sequence, h = shape[1] == 1 ? 0 : query.query_head;
  const auto bias = problem_.bias.values<float>().subspan(
      static_cast<size_t>(((b * shape[1] + h) * shape[2] + query.index) * shape[3]),
      static_cast<size_t>(end));
  int64_t visible = 0;
  for (size_t j = 0; j < out.size(); ++j) {
    out[j] = hides(bias[j]) ? minus_infinity : out[j] + bias[j];
    visible += hides(bias[j]) ? 0 : 1;
  }
  return visible;
}

HashHead::Standard HashHead::standard_of_queries(const std::vector<Query>& queries) const {
  auto [mean, inverse] =
      channel_statistics(static_cast<int64_t>(queries.size()), geometry_.head_dim,
                         [&](int64_t i) { return vector_of(queries[static_cast<size_t>(i)]).data(); });
  return {std::move(mean), std::move(inverse)};
}

HashHead::Standard HashHead::standard_of_keys(int64_t queries) const {
  // Keys that training may see: those before the last training query of each sequence.
  std::vector<const float*> rows;
  for (int64_t b = 0; b < geometry_.batch; ++b) {
    const int64_t end = visible_end({b, queries - 1, 0});
    for (int64_t j = 0; j < end; ++j)
      rows.push_back(keys_[static_cast<size_t>(b)].data() + j * geometry_.head_dim);
  }
  auto [mean, inverse] = channel_statistics(static_cast<int64_t>(rows.size()), geometry_.head_dim,
                                            [&](int64_t i) { return rows[static_cast<size_t>(i)]; });
  return {std::move(mean), std::move(inverse)};
}

Batch<float> HashHead::draw(Philox& random) const {
  const int64_t width = geometry_.head_dim;
  const int64_t sequence = training_[random.below(training_.size())].sequence;
  const auto first = std::partition_point(training_.begin(), training_.end(),
                                          [&](const Query& q) { return q.sequence < sequence; });
  const auto last =
      std::partition_point(first, training_.end(), [&](const Query& q) { return q.sequence == sequence; });
  Batch<float> batch;
  batch.queries = options_.batch;
  std::vector<Query> queries;
  int64_t end = 0;
  for (int64_t i = 0; i < batch.queries; ++i) {
    queries.push_back(first[static_cast<int64_t>(random.below(static_cast<uint64_t>(last - first)))]);
    end = std::max(end, visible_end(queries.back()));
  }
  // A uniform sample of the keys, by a partial shuffle.
  std::vector<int32_t> ids(static_cast<size_t>(end));
  std::iota(ids.begin(), ids.end(), 0);
  batch.keys = std::min(end, options_.keys);
  if (batch.keys < end) {
    for (size_t j = 0; j < static_cast<size_t>(batch.keys); ++j)
      std::swap(ids[j], ids[j + random.below(ids.size() - j)]);
    ids.resize(static_cast<size_t>(batch.keys));
    std::sort(ids.begin(), ids.end());
  }
  auto append = [&](std::vector<float>& to, const float* x, const Standard& standard) {
    for (int64_t c = 0; c < width; ++c) {
      const auto channel = static_cast<size_t>(c);
      to.push_back((x[c] - standard.mean[channel]) * standard.inverse_deviation[channel]);
    }
  };
  const float* keys = keys_[static_cast<size_t>(sequence)].data();
  for (int32_t id : ids) append(batch.key, keys + id * width, key_standard_);
  batch.label.assign(static_cast<size_t>(batch.queries * batch.keys), Batch<float>::hidden);
  std::vector<float> logits;
  for (int64_t i = 0; i < batch.queries; ++i) {
    const Query& query = queries[static_cast<size_t>(i)];
    append(batch.query, vector_of(query).data(), query_standard_);
    const int64_t visible = exact_logits(query, logits);
    batch.positive_weight.push_back(
        static_cast<float>(options_.positive_weight + options_.length_weight * static_cast<double>(visible)));
    const std::vector<int32_t> heavy = largest(logits, options_.top_k.of(visible));
    for (size_t j = 0; j < ids.size(); ++j) {
      const auto id = static_cast<size_t>(ids[j]);
      if (id >= logits.size() || logits[id] == minus_infinity) continue;
      batch.label[static_cast<size_t>(i) * ids.size() + j] =
          std::binary_search(heavy.begin(), heavy.end(), ids[j]) ? Batch<float>::heavy : Batch<float>::other;
    }
  }
  return batch;
}

void HashHead::train_step(int64_t step) {
  Philox random(key_, steps + static_cast<uint64_t>(step));
  const Batch<float> batch = draw(random);
  std::vector<float> gradient(parameters.size());
  loss = loss_and_gradient<float>(shape_, parameters, batch, gradient);
  adam_step(parameters, gradient, first_moment, second_moment, step, options_.learning_rate);
}

std::vector<float> HashHead::folded(std::span<const float> mlp, const Standard& standard) const {
  std::vector<float> result(mlp.begin(), mlp.end());
  const int64_t out = shape_.outputs(0);
  for (int64_t o = 0; o < out; ++o) {
    double bias = mlp[static_cast<size_t>(shape_.head_dim * out + o)];
    for (int64_t i = 0; i < shape_.head_dim; ++i) {
      const auto at = static_cast<size_t>(i * out + o), channel = static_cast<size_t>(i);
      result[at] = mlp[at] * standard.inverse_deviation[channel];
      bias -= double{standard.mean[channel]} * result[at];
    }
    result[static_cast<size_t>(shape_.head_dim * out + o)] = static_cast<float>(bias);
  }
  return result;
}

std::vector<float> HashHead::query_mlp() const {
  return folded(std::span(parameters).first(static_cast<size_t>(shape_.mlp_size())), query_standard_);
}

std::vector<float> HashHead::key_mlp() const {
  const auto size = static_cast<size_t>(shape_.mlp_size());
  return folded(std::span(parameters).subspan(size, size), key_standard_);
}

double HashHead::recall(const std::vector<Query>& queries, const NetShape& shape,
                        std::span<const float> query_mlp, std::span<const float> key_mlp) const {
  const auto width = static_cast<size_t>(geometry_.head_dim);
  std::vector<std::vector<uint64_t>> codes;
  int64_t coded = -1;
  double sum = 0;
  std::vector<float> logits, scores;
  for (const Query& query : queries) {
    if (query.sequence != coded) {
      coded = query.sequence;
      codes.clear();
      for (size_t j = 0; j < static_cast<size_t>(geometry_.keys); ++j)
        codes.push_back(hash_code(shape, key_mlp,
                                  std::span(keys_[static_cast<size_t>(coded)]).subspan(j * width, width)));
    }
    const int64_t count = options_.top_k.of(exact_logits(query, logits));
    const auto code = hash_code(shape, query_mlp, vector_of(query));
    scores.assign(logits.size(), minus_infinity);
    for (size_t j = 0; j < scores.size(); ++j) {
      if (logits[j] > minus_infinity) scores[j] = -static_cast<float>(hamming_distance(code, codes[j]));
    }
    const auto exact = largest(logits, count), found = largest(scores, count);
    std::vector<int32_t> both;
    std::set_intersection(exact.begin(), exact.end(), found.begin(), found.end(), std::back_inserter(both));
    sum += static_cast<double>(both.size()) / static_cast<double>(exact.size());
  }
  return sum / static_cast<double>(queries.size());
}

HashRecall HashHead::evaluate() const {
  // Random projections are an MLP of one layer without biases, shared by queries and keys.
  NetShape plain = shape_;
  plain.layers = 1;
  std::vector<float> planes(static_cast<size_t>(plain.mlp_size()));
  Philox random(key_, random_projections);
  for (size_t i = 0; i < static_cast<size_t>(plain.head_dim * plain.bits); ++i)
    planes[i] = static_cast<float>(random.normal());
  return {recall(judging_, shape_, query_mlp(), key_mlp()), recall(judging_, plain, planes, planes),
          double{loss}, static_cast<int64_t>(judging_.size())};
}

}  // namespace attnlab::train
