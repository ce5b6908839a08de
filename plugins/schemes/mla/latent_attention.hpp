// Multi-head latent attention: what both kinds share.
#pragma once

#include <attnlab/scheme.hpp>

#include <algorithm>
#include <cmath>
#include <string>

using attnlab::Var;

enum class Kind { seed, deepseek };
enum class ValueSvd { none, reference_noncausal, weight, prefix, fixed_basis };
enum class SvdMethod { exact, randomised };

/// Extents of a layer, from the parameters or else from the model.
struct Shape {
  int64_t embed_dim, heads, head_dim;
  int64_t latent_dim, query_latent_dim;
  int64_t nope_dim, rope_dim, value_dim;  ///< deepseek alone
  int64_t svd_rank;                       ///< 0: nothing is cut
};

/// What a layer stores, beside multi-head attention with the model's heads. Parameters are those between the
/// input and expanded keys and values.
struct Accounting {
  int64_t parameters, mha_parameters;
  int64_t cache_elements, mha_cache_elements;  ///< per token
};

/// Keys and values are expanded from latents. Kind `seed`: two latents per head, expanded by matrices that
/// all heads share. Kind `deepseek`: one latent per token and one rotated key that all heads share
/// (arXiv:2405.04434, section 2.1).
struct LatentAttention : attnlab::AttentionScheme {
  Kind kind = Kind::seed;
  int64_t latent_dim = 0, query_latent_dim = 0, nope_dim = 0, rope_dim = 0, value_dim = 0;
  double rope_theta = 10000, norm_epsilon = 1e-6, dropout_rate = 0;
  bool bias = false, latent_norm = true, absorb = true;
  ValueSvd svd = ValueSvd::none;
  SvdMethod svd_method = SvdMethod::exact;
  int64_t svd_rank = 0, svd_oversampling = 8, svd_power_iterations = 1, svd_block = 64;

  static void describe(attnlab::Description<LatentAttention>& d);
  void prepare();
  void declare(attnlab::Declaration& d) const;
  Var forward(attnlab::Context& ctx, Var x) const;
  Var step(attnlab::Context& ctx, attnlab::State& state, Var x) const;

 private:
  template <class Extents>
  Shape shape_of(const Extents& e) const {
    Shape s{};
    s.embed_dim = e.embed_dim(), s.heads = e.query_heads(), s.head_dim = e.head_dim();
    const int64_t usual = kind == Kind::seed ? std::max<int64_t>(s.head_dim / 2, 1) : 4 * s.head_dim;
    s.latent_dim = latent_dim > 0 ? latent_dim : usual;
    s.query_latent_dim = query_latent_dim;
    s.nope_dim = nope_dim > 0 ? nope_dim : s.head_dim;
    s.rope_dim = rope_dim > 0 ? rope_dim : std::max<int64_t>(s.head_dim / 4 * 2, 2);
    s.value_dim = kind == Kind::seed ? s.head_dim : value_dim > 0 ? value_dim : e.value_dim();
    s.svd_rank = cut_rank(s);
    return s;
  }
  int64_t cut_rank(const Shape& s) const;

  // seed.cpp
  void declare_seed(attnlab::Declaration& d, const Shape& s) const;
  Var forward_seed(const attnlab::Context& ctx, const Shape& s, const Var& x) const;
  Var step_seed(const attnlab::Context& ctx, const attnlab::State& state, const Shape& s, const Var& x) const;
  struct HeadLatents {
    Var key, value;  ///< [B, H, T, L]
  };
  HeadLatents head_latents(const attnlab::Context& ctx, const Shape& s, const Var& x) const;
  Var cut_values(const attnlab::Context& ctx, const Shape& s, const Var& v) const;
  Var projected_by_block(const Var& v, int64_t first, int64_t rank) const;
  /// Values in the form in which they are cached: v = coordinates expansion.
  struct CachedValues {
    Var coordinates;  ///< [B, H, S, m]
    Var expansion;    ///< [m, d] or [H, m, d]; empty: the identity
  };
  CachedValues cached_values(const attnlab::Context& ctx, const attnlab::State& state, const Shape& s,
                             const Var& new_latent) const;

  // deepseek.cpp
  void declare_deepseek(attnlab::Declaration& d, const Shape& s) const;
  Var forward_deepseek(const attnlab::Context& ctx, const Shape& s, const Var& x) const;
  Var step_deepseek(const attnlab::Context& ctx, const attnlab::State& state, const Shape& s,
                    const Var& x) const;
  struct Queries {
    Var nope, rope;  ///< [B, H, T, nope_dim], [B, H, T, rope_dim]
  };
  Queries queries(const attnlab::Context& ctx, const Shape& s, const Var& x) const;
  struct TokenLatents {
    Var latent, k_rope;  ///< [B, T, latent_dim], [B, T, rope_dim]
  };
  TokenLatents token_latents(const attnlab::Context& ctx, const Shape& s, const Var& x) const;
  Var up_projection(const attnlab::Context& ctx, const Shape& s) const;
  Var expanded_attention(const attnlab::Context& ctx, const Shape& s, const Queries& q,
                         const TokenLatents& all) const;

  // accounting.cpp
  Accounting accounting(const Shape& s) const;
  void warn_of_large_cache(const Shape& s) const;
  void report_accounting(const attnlab::Context& ctx, const Shape& s) const;

  // mla.cpp
  Var project(const attnlab::Context& ctx, const std::string& name, const Var& x) const;
  /// The last two axes, cut to the rank by the method of the parameters; a function of the matrix alone.
  Var truncated(const attnlab::Context& ctx, const Var& matrices, int64_t rank) const;
  /// softmax(scale q k^T) v of [B, H, T, channels], k and v of one head or of all; with dropout in training.
  Var attended(const attnlab::Context& ctx, const Var& q, const Var& k, const Var& v, double scale) const;
};
