#include "core/kernels/linear/reference.hpp"

#include <cmath>
#include <cstdint>

namespace attnlab::kernels::reference {
namespace {

double feature(FeatureMap map, double x) {
  switch (map) {
    case FeatureMap::identity:
      return x;
    case FeatureMap::relu:
      return x < 0 ? 0 : x;
    case FeatureMap::elu_plus_one:
      return x > 0 ? x + 1 : std::exp(x);
    case FeatureMap::exponential:
      return std::exp(x);
  }
  return x;
}

double feature_slope(FeatureMap map, double x) {
  switch (map) {
    case FeatureMap::identity:
      return 1;
    case FeatureMap::relu:
      return x > 0 ? 1 : 0;
    case FeatureMap::elu_plus_one:
      return x > 0 ? 1 : std::exp(x);
    case FeatureMap::exponential:
      return std::exp(x);
  }
  return 1;
}

/// One head in double: features, values, initial state, and where its rows are in contiguous outputs.
struct Head {
  Head(const LinearAttentionArguments& a, int64_t b, int64_t h)
      : dim(a.head_dim), channels(a.value_dim), length(a.length(b)), index(b * a.heads + h) {
    for (int64_t t = 0; t < length; ++t) {
      for (int64_t c = 0; c < dim; ++c) {
        query.push_back(a.scale * feature(a.feature_map, a.query.row(b, h, t)[c]));
        key.push_back(feature(a.feature_map, a.key.row(b, h, t)[c]));
      }
      for (int64_t c = 0; c < channels; ++c) value.push_back(a.value.row(b, h, t)[c]);
    }
    for (int64_t i = 0; i < dim * channels; ++i) {
      state.push_back(a.initial_state == nullptr ? 0 : a.initial_state[index * dim * channels + i]);
    }
    for (int64_t c = 0; c < dim; ++c) {
      key_sum.push_back(a.initial_key_sum == nullptr ? 0 : a.initial_key_sum[index * dim + c]);
    }
  }

  double score(int64_t i, int64_t j) const {
    double sum = 0;
    for (int64_t c = 0; c < dim; ++c) sum += query[i * dim + c] * key[j * dim + c];
    return sum;
  }

  /// f_i . z_i
  double denominator(int64_t i, bool causal) const {
    double sum = 0;
    for (int64_t c = 0; c < dim; ++c) sum += query[i * dim + c] * key_sum[c];
    for (int64_t j = 0; j < (causal ? i + 1 : length); ++j) sum += score(i, j);
    return sum;
  }

  /// Channel v of f_i S_i.
  double numerator(int64_t i, int64_t v, const std::vector<double>& scores) const {
    double sum = 0;
    for (int64_t c = 0; c < dim; ++c) sum += query[i * dim + c] * state[c * channels + v];
    for (size_t j = 0; j < scores.size(); ++j)
      sum += scores[j] * value[static_cast<int64_t>(j) * channels + v];
    return sum;
  }

  std::vector<double> scores(int64_t i, bool causal) const {
    std::vector<double> result;
    for (int64_t j = 0; j < (causal ? i + 1 : length); ++j) result.push_back(score(i, j));
    return result;
  }

  int64_t dim, channels, length;
  int64_t index;  ///< among the heads of all batch entries
  std::vector<double> query, key, value, state, key_sum;
};

}  // namespace

LinearOutputs linear_attention(const LinearAttentionArguments& a) {
  const int64_t heads = a.batch * a.heads;
  LinearOutputs result{
      std::vector<double>(heads * a.tokens * a.value_dim), std::vector<double>(heads * a.tokens),
      std::vector<double>(heads * a.head_dim * a.value_dim), std::vector<double>(heads * a.head_dim)};
  for (int64_t index = 0; index < heads; ++index) {
    Head head(a, index / a.heads, index % a.heads);
    for (int64_t i = 0; i < head.length; ++i) {
      const std::vector<double> scores = head.scores(i, a.causal);
      const int64_t row = index * a.tokens + i;
      const double denominator = a.normalise ? head.denominator(i, a.causal) : 1;
      result.denominator[row] = denominator;
      for (int64_t v = 0; v < a.value_dim; ++v) {
        const double sum = head.numerator(i, v, scores);
        result.out[row * a.value_dim + v] = denominator == 0 ? 0 : sum / denominator;
      }
    }
    for (int64_t c = 0; c < a.head_dim; ++c) {
      for (int64_t j = 0; j < head.length; ++j) {
        head.key_sum[c] += head.key[j * a.head_dim + c];
        for (int64_t v = 0; v < a.value_dim; ++v) {
          head.state[c * a.value_dim + v] += head.key[j * a.head_dim + c] * head.value[j * a.value_dim + v];
        }
      }
      result.final_key_sum[index * a.head_dim + c] = head.key_sum[c];
    }
    for (size_t i = 0; i < head.state.size(); ++i)
      result.final_state[index * head.state.size() + i] = head.state[i];
  }
  return result;
}

LinearGradients linear_attention_gradient(const LinearGradientArguments& g) {
  const LinearAttentionArguments& a = g.forward;
  const int64_t heads = a.batch * a.heads;
  const int64_t dim = a.head_dim;
  const int64_t channels = a.value_dim;
  LinearGradients result{std::vector<double>(heads * a.tokens * dim),
                         std::vector<double>(heads * a.tokens * dim),
                         std::vector<double>(heads * a.tokens * channels),
                         std::vector<double>(heads * dim * channels), std::vector<double>(heads * dim)};
  for (int64_t index = 0; index < heads; ++index) {
    const int64_t b = index / a.heads, h = index % a.heads;
    const Head head(a, b, h);
    double* d_state = &result.initial_state[index * dim * channels];
    double* d_key_sum = &result.initial_key_sum[index * dim];
    for (int64_t i = 0; g.d_final_state != nullptr && i < dim * channels; ++i) {
      d_state[i] = g.d_final_state[index * dim * channels + i];
    }
    for (int64_t c = 0; a.normalise && g.d_final_key_sum != nullptr && c < dim; ++c) {
      d_key_sum[c] = g.d_final_key_sum[index * dim + c];
    }
    // The final state holds every token.
    for (int64_t j = 0; j < head.length; ++j) {
      const int64_t row = index * a.tokens + j;
      for (int64_t c = 0; c < dim; ++c) {
        result.key[row * dim + c] += d_key_sum[c];
        for (int64_t v = 0; v < channels; ++v) {
          result.key[row * dim + c] += d_state[c * channels + v] * head.value[j * channels + v];
          result.value[row * channels + v] += d_state[c * channels + v] * head.key[j * dim + c];
        }
      }
    }
    for (int64_t i = 0; i < head.length; ++i) {
      const std::vector<double> scores = head.scores(i, a.causal);
      const double denominator = a.normalise ? head.denominator(i, a.causal) : 1;
      if (denominator == 0) continue;
      std::vector<double> d_numerator(channels);
      double d_denominator = 0;
      for (int64_t v = 0; v < channels; ++v) {
        d_numerator[v] = g.d_out.row(b, h, i)[v] / denominator;
        if (a.normalise) d_denominator -= d_numerator[v] * head.numerator(i, v, scores) / denominator;
      }
      double* d_query = &result.query[(index * a.tokens + i) * dim];
      for (int64_t c = 0; c < dim; ++c) {
        d_query[c] += d_denominator * head.key_sum[c];
        d_key_sum[c] += d_denominator * head.query[i * dim + c];
        for (int64_t v = 0; v < channels; ++v) {
          d_query[c] += d_numerator[v] * head.state[c * channels + v];
          d_state[c * channels + v] += d_numerator[v] * head.query[i * dim + c];
        }
      }
      for (size_t at = 0; at < scores.size(); ++at) {
        const auto j = static_cast<int64_t>(at);
        const int64_t row = index * a.tokens + j;
        double d_score = d_denominator;
        for (int64_t v = 0; v < channels; ++v) {
          d_score += d_numerator[v] * head.value[j * channels + v];
          result.value[row * channels + v] += d_numerator[v] * scores[at];
        }
        for (int64_t c = 0; c < dim; ++c) {
          d_query[c] += d_score * head.key[j * dim + c];
          result.key[row * dim + c] += d_score * head.query[i * dim + c];
        }
      }
    }
    for (int64_t t = 0; t < head.length; ++t) {
      const int64_t row = (index * a.tokens + t) * dim;
      for (int64_t c = 0; c < dim; ++c) {
        result.query[row + c] *= a.scale * feature_slope(a.feature_map, a.query.row(b, h, t)[c]);
        result.key[row + c] *= feature_slope(a.feature_map, a.key.row(b, h, t)[c]);
      }
    }
  }
  return result;
}

}  // namespace attnlab::kernels::reference
