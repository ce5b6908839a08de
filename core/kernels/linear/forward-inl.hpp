// Chunkwise forward of linear attention (section 3 of arXiv:2312.06635), compiled once per SIMD target.
#if defined(ATTNLAB_KERNELS_LINEAR_FORWARD_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTNLAB_KERNELS_LINEAR_FORWARD_INL
#undef ATTNLAB_KERNELS_LINEAR_FORWARD_INL
#else
#define ATTNLAB_KERNELS_LINEAR_FORWARD_INL
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

#include "core/kernels/linear/arguments.hpp"
#include "core/kernels/linear/chunk-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace attnlab::kernels::HWY_NAMESPACE {

/// Forward of one head. The state S is kept in the workspace, [head_dim][value_dim].
class LinearForward {
 public:
  LinearForward(const LinearAttentionArguments& arguments, int64_t b, int64_t h, Carver carver)
      : a_(arguments), b_(b), h_(h), head_(b * arguments.heads + h) {
    query_ = carver.matrix(kChunkTokens, a_.head_dim);
    key_ = carver.matrix(kChunkTokens, a_.head_dim);
    value_ = carver.matrix(kChunkTokens, a_.value_dim);
    out_ = carver.matrix(kChunkTokens, a_.value_dim);
    transposed_key_ = carver.matrix(a_.head_dim, kChunkTokens);
    scores_ = carver.matrix(kChunkTokens, kChunkTokens);
    state_ = carver.matrix(a_.head_dim, a_.value_dim);
    key_sum_ = carver.matrix(1, a_.head_dim);
    workspace_ = carver.used;
  }

  int64_t workspace() const { return workspace_; }

  void run() {
    const int64_t length = a_.length(b_);
    clear_outputs(length, a_.tokens);
    if (length == 1) return single_token();
    load_state();
    const bool keeps_state = a_.final_state != nullptr || a_.final_key_sum != nullptr;
    for (int64_t begin = 0; !a_.causal && begin < length; begin += kChunkTokens) {
      const int64_t tokens = std::min(kChunkTokens, length - begin);
      load_keys(begin, tokens);
      fetch_.clear();
      if (begin + tokens < length)
        fetch_keys(begin + tokens, std::min(kChunkTokens, length - begin - tokens));
      update_state(tokens);
    }
    for (int64_t begin = 0; begin < length; begin += kChunkTokens) {
      const int64_t tokens = std::min(kChunkTokens, length - begin);
      load_queries(begin, tokens);
      if (a_.causal) load_keys(begin, tokens);
      fetch_outputs(begin, tokens);
      if (begin + tokens < length) {
        const int64_t next_tokens = std::min(kChunkTokens, length - begin - tokens);
        fetch_queries(begin + tokens, next_tokens);
        if (a_.causal) fetch_keys(begin + tokens, next_tokens);
      }
      attend(tokens);
      store_outputs(begin, tokens);
      if (a_.causal && (keeps_state || begin + tokens < length)) update_state(tokens);
    }
    store_state();
  }

 private:
  void clear_outputs(int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      std::fill_n(a_.out.row(b_, h_, t), a_.value_dim, 0.0F);
      if (a_.denominator != nullptr) a_.denominator[head_ * a_.tokens + t] = 0;
    }
  }

  void load_state() {
    const int64_t dim = a_.head_dim;
    const int64_t state_size = dim * a_.value_dim;
    load_rows(a_.initial_state == nullptr ? nullptr : a_.initial_state + head_ * state_size, a_.value_dim,
              dim, a_.value_dim, state_);
    load_rows(a_.initial_key_sum == nullptr ? nullptr : a_.initial_key_sum + head_ * dim, dim, 1, dim,
              key_sum_);
  }

  void store_state() {
    const int64_t dim = a_.head_dim;
    for (int64_t c = 0; a_.final_state != nullptr && c < dim; ++c) {
      std::copy_n(state_.row(c), a_.value_dim, a_.final_state + (head_ * dim + c) * a_.value_dim);
    }
    if (a_.final_key_sum != nullptr && a_.normalise) {
      std::copy_n(key_sum_.at, dim, a_.final_key_sum + head_ * dim);
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
  }

  void fetch_outputs(int64_t begin, int64_t tokens) {
    fetch_.clear();
    fetch_.add(a_.out.row(b_, h_, begin), a_.out.row_stride, tokens, a_.value_dim);
  }

  void fetch_queries(int64_t begin, int64_t tokens) {
    fetch_.add(a_.query.row(b_, h_, begin), a_.query.row_stride, tokens, a_.head_dim);
  }

  void fetch_keys(int64_t begin, int64_t tokens) {
    fetch_.add(a_.key.row(b_, h_, begin), a_.key.row_stride, tokens, a_.head_dim);
    fetch_.add(a_.value.row(b_, h_, begin), a_.value.row_stride, tokens, a_.value_dim);
  }

  void attend(int64_t tokens) {
    const int64_t dim = a_.head_dim;
    if (a_.causal) {
      transpose(key_, tokens, dim, transposed_key_);
      causal_scores(query_, transposed_key_, dim, tokens, scores_, fetch_);
    }
    for (int64_t i = 0; i < tokens; i += kTileRows) {
      const int64_t end = std::min(i + kTileRows, tokens);
      const Term before{query_.row(i), query_.stride, 1, state_.at, state_.stride, dim};
      const Term within{scores_.row(i), scores_.stride, 1, value_.at, value_.stride, a_.causal ? end : 0};
      multiply_terms(before, within, end - i, a_.value_dim, false, out_.row(i), out_.stride, fetch_);
    }
  }

  void store_outputs(int64_t begin, int64_t tokens) {
    for (int64_t t = 0; t < tokens; ++t) {
      float inverse = 1;
      if (a_.normalise) {
        inverse = keep_denominator(begin + t, dot_and_sum(query_.row(t), key_sum_.at, a_.head_dim,
                                                          scores_.row(t), a_.causal ? t + 1 : 0));
      }
      store_output(begin + t, out_.row(t), inverse);
    }
  }

  /// Its inverse, 0 for 0.
  float keep_denominator(int64_t token, float denominator) {
    if (a_.denominator != nullptr) a_.denominator[head_ * a_.tokens + token] = denominator;
    return denominator == 0 ? 0.0F : 1 / denominator;
  }

  void store_output(int64_t token, const float* from, float factor) {
    float* to = a_.out.row(b_, h_, token);
    for (int64_t c = 0; c < a_.value_dim; c += kLanes) {
      const int64_t lanes = std::min(kLanes, a_.value_dim - c);
      store_first(hn::Mul(hn::Load(Floats(), from + c), hn::Set(Floats(), factor)), to + c, lanes);
    }
  }

  void update_state(int64_t tokens) {
    add_outer_products(key_, a_.head_dim, value_, a_.value_dim, tokens, state_, fetch_);
    if (a_.normalise) add_rows(key_, tokens, a_.head_dim, key_sum_.at);
  }

  /// A decode step: the state is read and written once, without a copy.
  void single_token() {
    const Floats d;
    const int64_t dim = a_.head_dim;
    load_queries(0, 1);
    load_keys(0, 1);
    const int64_t first = head_ * dim * a_.value_dim;
    for (int64_t j = 0; j < a_.value_dim; j += kLanes) {
      const int64_t lanes = std::min(kLanes, a_.value_dim - j);
      const Vector value = hn::Load(d, value_.at + j);
      Vector out = hn::Zero(d);
      for (int64_t c = 0; c < dim; ++c) {
        const int64_t at = first + c * a_.value_dim + j;
        const Vector before =
            a_.initial_state == nullptr ? hn::Zero(d) : load_first(a_.initial_state + at, lanes);
        const Vector state = hn::MulAdd(hn::Set(d, key_.at[c]), value, before);
        if (a_.final_state != nullptr) store_first(state, a_.final_state + at, lanes);
        out = hn::MulAdd(hn::Set(d, query_.at[c]), state, out);
      }
      hn::Store(out, d, out_.at + j);
    }
    float inverse = 1;
    if (a_.normalise) {
      load_rows(a_.initial_key_sum == nullptr ? nullptr : a_.initial_key_sum + head_ * dim, dim, 1, dim,
                key_sum_);
      add_rows(key_, 1, dim, key_sum_.at);
      if (a_.final_key_sum != nullptr) std::copy_n(key_sum_.at, dim, a_.final_key_sum + head_ * dim);
      inverse = keep_denominator(0, dot_and_sum(query_.at, key_sum_.at, dim, nullptr, 0));
    }
    store_output(0, out_.at, inverse);
  }

  const LinearAttentionArguments& a_;
  int64_t b_, h_;
  int64_t head_;  ///< among those of all batch entries
  Matrix query_, key_, value_, out_, transposed_key_, scores_, state_, key_sum_;
  Fetch fetch_;
  int64_t workspace_ = 0;
};

}  // namespace attnlab::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // target toggle
