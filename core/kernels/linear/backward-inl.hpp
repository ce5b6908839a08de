// Chunkwise backward of linear attention, compiled once per SIMD target.
#if defined(ATTNLAB_KERNELS_LINEAR_BACKWARD_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTNLAB_KERNELS_LINEAR_BACKWARD_INL
#undef ATTNLAB_KERNELS_LINEAR_BACKWARD_INL
#else
#define ATTNLAB_KERNELS_LINEAR_BACKWARD_INL
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

#include "core/kernels/linear/arguments.hpp"
#include "core/kernels/linear/chunk-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace attnlab::kernels::HWY_NAMESPACE {

/// Backward of one head in two passes over the chunks, so that no state is kept per chunk: forward with S for
/// the gradients of queries, then from the end with dS for those of keys and values.
///
/// The denominator is one more channel of the values, which is 1: with numerator n and denominator m of a
/// row, dn = d_out / m and dm = -(d_out . out) / m stand together in a row of d_sum_, and S^T and dS^T,
/// [value channels] [head_dim], have a row more for z and dz.
class LinearBackward {
 public:
  LinearBackward(const LinearGradientArguments& gradient, int64_t b, int64_t h, Carver carver)
      : g_(gradient),
        a_(gradient.forward),
        b_(b),
        h_(h),
        head_(b * a_.heads + h),
        channels_(a_.value_dim + (a_.normalise ? 1 : 0)) {
    const int64_t most_channels = a_.value_dim + 1;
    const int64_t most = std::max(a_.head_dim, most_channels);
    query_ = carver.matrix(kChunkTokens, a_.head_dim);
    key_ = carver.matrix(kChunkTokens, a_.head_dim);
    value_ = carver.matrix(kChunkTokens, most_channels);
    d_sum_ = carver.matrix(kChunkTokens, most_channels);
    transposed_key_ = carver.matrix(a_.head_dim, kChunkTokens);
    transposed_value_ = carver.matrix(most_channels, kChunkTokens);
    scores_ = carver.matrix(kChunkTokens, kChunkTokens);
    d_scores_ = carver.matrix(kChunkTokens, kChunkTokens);
    d_rows_ = carver.matrix(kChunkTokens, most);
    transposed_state_ = carver.matrix(whole_vectors(most_channels), a_.head_dim);
    state_ = carver.matrix(whole_vectors(a_.head_dim), whole_vectors(most_channels));
    workspace_ = carver.used;
  }

  int64_t workspace() const { return workspace_; }

  void run() {
    const int64_t length = a_.length(b_);
    clear_outputs(length);
    const int64_t chunks = (length + kChunkTokens - 1) / kChunkTokens;
    const auto tokens = [&](int64_t chunk) { return std::min(kChunkTokens, length - chunk * kChunkTokens); };

    load_state(a_.initial_state, a_.initial_key_sum);
    for (int64_t i = 0; !a_.causal && i < chunks; ++i) {
      load_keys(i * kChunkTokens, tokens(i));
      add_outer_products(value_, channels_, key_, a_.head_dim, tokens(i), transposed_state_, fetch_);
    }
    for (int64_t i = 0; i < chunks; ++i) {
      load_keys(i * kChunkTokens, tokens(i));
      load_output_gradients(i * kChunkTokens, tokens(i));
      fetch_.clear();
      fetch_.add(g_.d_query.row(b_, h_, i * kChunkTokens), g_.d_query.row_stride, tokens(i), a_.head_dim);
      if (i + 1 < chunks) fetch_inputs((i + 1) * kChunkTokens, tokens(i + 1));
      query_gradients(i * kChunkTokens, tokens(i));
      if (a_.causal)
        add_outer_products(value_, channels_, key_, a_.head_dim, tokens(i), transposed_state_, fetch_);
    }

    load_state(g_.d_final_state, g_.d_final_key_sum);
    for (int64_t i = 0; !a_.causal && i < chunks; ++i) {
      load_queries(i * kChunkTokens, tokens(i));
      load_output_gradients(i * kChunkTokens, tokens(i));
      add_outer_products(d_sum_, channels_, query_, a_.head_dim, tokens(i), transposed_state_, fetch_);
    }
    for (int64_t i = chunks - 1; i >= 0; --i) {
      load_keys(i * kChunkTokens, tokens(i));
      load_queries(i * kChunkTokens, tokens(i));
      load_output_gradients(i * kChunkTokens, tokens(i));
      fetch_.clear();
      fetch_.add(g_.d_key.row(b_, h_, i * kChunkTokens), g_.d_key.row_stride, tokens(i), a_.head_dim);
      fetch_.add(g_.d_value.row(b_, h_, i * kChunkTokens), g_.d_value.row_stride, tokens(i), a_.value_dim);
      if (i > 0) fetch_inputs((i - 1) * kChunkTokens, kChunkTokens);
      key_and_value_gradients(i * kChunkTokens, tokens(i));
      if (a_.causal)
        add_outer_products(d_sum_, channels_, query_, a_.head_dim, tokens(i), transposed_state_, fetch_);
    }
    store_state_gradient();
  }

 private:
  void clear_outputs(int64_t begin) {
    for (int64_t t = begin; t < a_.tokens; ++t) {
      std::fill_n(g_.d_query.row(b_, h_, t), a_.head_dim, 0.0F);
      std::fill_n(g_.d_key.row(b_, h_, t), a_.head_dim, 0.0F);
      std::fill_n(g_.d_value.row(b_, h_, t), a_.value_dim, 0.0F);
    }
  }

  /// transposed_state_ from [head_dim][value_dim] and [head_dim] of all heads; null: 0.
  void load_state(const float* state, const float* key_sum) {
    const int64_t dim = a_.head_dim;
    clear_rows(state_, 0, whole_vectors(dim));
    if (state != nullptr)
      load_rows(state + head_ * dim * a_.value_dim, a_.value_dim, dim, a_.value_dim, state_);
    clear_rows(transposed_state_, 0, whole_vectors(a_.value_dim + 1));
    transpose(state_, dim, a_.value_dim, transposed_state_);
    if (a_.normalise && key_sum != nullptr) {
      std::copy_n(key_sum + head_ * dim, dim, transposed_state_.row(a_.value_dim));
    }
  }

  void store_state_gradient() {
    const int64_t dim = a_.head_dim;
    if (g_.d_initial_state != nullptr) {
      transpose(transposed_state_, a_.value_dim, dim, state_);
      for (int64_t c = 0; c < dim; ++c) {
        std::copy_n(state_.row(c), a_.value_dim, g_.d_initial_state + (head_ * dim + c) * a_.value_dim);
      }
    }
    if (a_.normalise && g_.d_initial_key_sum != nullptr) {
      std::copy_n(transposed_state_.row(a_.value_dim), dim, g_.d_initial_key_sum + head_ * dim);
    }
  }

  void load_queries(int64_t begin, int64_t tokens) {
    with_feature_map(a_.feature_map, LoadFeatures{a_.query.row(b_, h_, begin), a_.query.row_stride, tokens,
                                                  a_.head_dim, a_.scale, query_});
  }

  void load_keys(int64_t begin, int64_t tokens) {
    with_feature_map(a_.feature_map, LoadFeatures{a_.key.row(b_, h_, begin), a_.key.row_stride, tokens,
                                                  a_.head_dim, 1.0F, key_});
    load_rows(a_.value.row(b_, h_, begin), a_.value.row_stride, tokens, a_.value_dim, value_);
    for (int64_t t = 0; a_.normalise && t < tokens; ++t) value_.row(t)[a_.value_dim] = 1;
    clear_rows(value_, tokens, whole_vectors(tokens));
  }

  void load_output_gradients(int64_t begin, int64_t tokens) {
    load_rows(g_.d_out.row(b_, h_, begin), g_.d_out.row_stride, tokens, a_.value_dim, d_sum_);
    for (int64_t t = 0; a_.normalise && t < tokens; ++t) {
      const float denominator = a_.denominator[head_ * a_.tokens + begin + t];
      const float inverse = denominator == 0 ? 0.0F : 1 / denominator;
      const float* out = a_.out.row(b_, h_, begin + t);
      float* row = d_sum_.row(t);
      Vector products = hn::Zero(Floats());
      for (int64_t c = 0; c < a_.value_dim; c += kLanes) {
        const Vector d_out = hn::Load(Floats(), row + c);
        products = hn::MulAdd(d_out, load_first(out + c, std::min(kLanes, a_.value_dim - c)), products);
        hn::Store(hn::Mul(d_out, hn::Set(Floats(), inverse)), Floats(), row + c);
      }
      const float product = hn::GetLane(hn::SumOfLanes(Floats(), products));
      row[a_.value_dim] = -product * inverse;
    }
  }

  void fetch_inputs(int64_t begin, int64_t tokens) {
    fetch_.add(a_.key.row(b_, h_, begin), a_.key.row_stride, tokens, a_.head_dim);
    fetch_.add(a_.value.row(b_, h_, begin), a_.value.row_stride, tokens, a_.value_dim);
    fetch_.add(g_.d_out.row(b_, h_, begin), g_.d_out.row_stride, tokens, a_.value_dim);
    if (a_.normalise) fetch_.add(a_.out.row(b_, h_, begin), a_.out.row_stride, tokens, a_.value_dim);
    fetch_.add(a_.query.row(b_, h_, begin), a_.query.row_stride, tokens, a_.head_dim);
  }

  void query_gradients(int64_t begin, int64_t tokens) {
    if (a_.causal) score_gradients(tokens);
    for (int64_t i = 0; i < tokens; i += kTileRows) {
      const int64_t end = std::min(i + kTileRows, tokens);
      const Term before{d_sum_.row(i), d_sum_.stride, 1, transposed_state_.at, transposed_state_.stride,
                        channels_};
      const Term within{d_scores_.row(i), d_scores_.stride, 1, key_.at, key_.stride, a_.causal ? end : 0};
      multiply_terms(before, within, end - i, a_.head_dim, false, d_rows_.row(i), d_rows_.stride, fetch_);
    }
    with_feature_map(
        a_.feature_map,
        StoreFeatureGradient{d_rows_, a_.query.row(b_, h_, begin), a_.query.row_stride, tokens, a_.head_dim,
                             a_.scale, g_.d_query.row(b_, h_, begin), g_.d_query.row_stride});
  }

  void score_gradients(int64_t tokens) {
    transpose(value_, tokens, channels_, transposed_value_);
    causal_scores(d_sum_, transposed_value_, channels_, tokens, d_scores_, fetch_);
  }

  void key_and_value_gradients(int64_t begin, int64_t tokens) {
    const int64_t dim = a_.head_dim;
    if (a_.causal) {
      score_gradients(tokens);
      transpose(key_, tokens, dim, transposed_key_);
      causal_scores(query_, transposed_key_, dim, tokens, scores_, fetch_);
    }
    for (int64_t j = 0; j < tokens; j += kTileRows) {
      const int64_t rows = std::min(kTileRows, tokens - j);
      const Term after{value_.row(j), value_.stride, 1, transposed_state_.at, transposed_state_.stride,
                       channels_};
      const Term within{d_scores_.row(j) + j,      1, d_scores_.stride, query_.row(j), query_.stride,
                        a_.causal ? tokens - j : 0};
      multiply_terms(after, within, rows, dim, false, d_rows_.row(j), d_rows_.stride, fetch_);
    }
    with_feature_map(a_.feature_map,
                     StoreFeatureGradient{d_rows_, a_.key.row(b_, h_, begin), a_.key.row_stride, tokens, dim,
                                          1.0F, g_.d_key.row(b_, h_, begin), g_.d_key.row_stride});
    transpose(transposed_state_, a_.value_dim, dim, state_);
    for (int64_t j = 0; j < tokens; j += kTileRows) {
      const int64_t rows = std::min(kTileRows, tokens - j);
      const Term after{key_.row(j), key_.stride, 1, state_.at, state_.stride, dim};
      const Term within{scores_.row(j) + j,        1, scores_.stride, d_sum_.row(j), d_sum_.stride,
                        a_.causal ? tokens - j : 0};
      multiply_terms(after, within, rows, a_.value_dim, false, d_rows_.row(j), d_rows_.stride, fetch_);
    }
    for (int64_t t = 0; t < tokens; ++t) {
      std::copy_n(d_rows_.row(t), a_.value_dim, g_.d_value.row(b_, h_, begin + t));
    }
  }

  const LinearGradientArguments& g_;
  const LinearAttentionArguments& a_;
  int64_t b_, h_;
  int64_t head_;      ///< among those of all batch entries
  int64_t channels_;  ///< of the values, the one of the denominator included
  Matrix query_, key_, value_, d_sum_, transposed_key_, transposed_value_, scores_, d_scores_, d_rows_;
  Matrix transposed_state_;  ///< S^T, then dS^T
  Matrix state_;             ///< the same, not transposed
  Fetch fetch_;
  int64_t workspace_ = 0;
};

}  // namespace attnlab::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // target toggle
