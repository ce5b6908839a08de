// Kind `deepseek` (arXiv:2405.04434, section 2.1). Of a token are kept one normed latent c, from which all
// heads expand their unrotated keys and values, and one rotated key k_R that all heads share. Decoding uses
//   (W_UK c) . q_C = c . (W_UK^T q_C)   and   sum_j p_j W_UV c_j = W_UV sum_j p_j c_j:
// multi-query attention with keys [c; k_R] and values c.
#include "latent_attention.hpp"

namespace {

double scale_of(const Shape& s) {
  return 1 / std::sqrt(static_cast<double>(s.nope_dim + s.rope_dim));
}

/// [B, T, n] as [B, 1, T, n].
Var single_head(const Var& x) {
  return reshape(x, {x.size(0), 1, x.size(1), x.size(2)});
}

}  // namespace

void LatentAttention::declare_deepseek(attnlab::Declaration& d, const Shape& s) const {
  const attnlab::Init normal{.rule = "normal", .scale = 0.02}, ones{.rule = "ones"};
  const int64_t query_in = s.query_latent_dim > 0 ? s.query_latent_dim : s.embed_dim;
  if (s.query_latent_dim > 0) {
    d.parameter("W_dq", {s.query_latent_dim, s.embed_dim}, normal);
    if (latent_norm) d.parameter("g_q", {s.query_latent_dim}, ones);
  }
  d.parameter("W_uq", {s.heads * (s.nope_dim + s.rope_dim), query_in}, normal);
  d.parameter("W_dkv", {s.latent_dim + s.rope_dim, s.embed_dim}, normal);
  if (latent_norm) d.parameter("g_kv", {s.latent_dim}, ones);
  // Per head: key rows, then value rows.
  d.parameter("W_ukv", {s.heads * (s.nope_dim + s.value_dim), s.latent_dim});
  d.parameter("W_o", {s.embed_dim, s.heads * s.value_dim},
              {.rule = "normal", .scale = 0.02, .residual = true});
}

LatentAttention::Queries LatentAttention::queries(const attnlab::Context& ctx, const Shape& s,
                                                  const Var& x) const {
  Var from = x;
  if (s.query_latent_dim > 0) {
    from = linear(x, ctx.parameter("W_dq"));
    if (latent_norm) from = rms_norm(from, ctx.parameter("g_q"), norm_epsilon);
  }
  auto [nope, rotated] = split(split_heads(linear(from, ctx.parameter("W_uq")), s.heads), s.nope_dim);
  return {nope, rope(rotated, {.position = ctx.past(), .theta = rope_theta})};
}

LatentAttention::TokenLatents LatentAttention::token_latents(const attnlab::Context& ctx, const Shape& s,
                                                             const Var& x) const {
  auto [latent, rotated] = split(linear(x, ctx.parameter("W_dkv")), s.latent_dim);
  if (latent_norm) latent = rms_norm(latent, ctx.parameter("g_kv"), norm_epsilon);
  return {latent, rope(rotated, {.position = ctx.past(), .theta = rope_theta})};
}

/// [H, nope_dim + value_dim, latent_dim], the value rows of each head cut to the rank.
Var LatentAttention::up_projection(const attnlab::Context& ctx, const Shape& s) const {
  const int64_t rows = s.nope_dim + s.value_dim;
  const Var all = reshape(ctx.parameter("W_ukv"), {s.heads, rows, s.latent_dim});
  if (s.svd_rank == 0) return all;
  const Var values = truncated(ctx, slice(all, 1, s.nope_dim, rows), s.svd_rank);
  return concat(slice(all, 1, 0, s.nope_dim), values, 1);
}

Var LatentAttention::expanded_attention(const attnlab::Context& ctx, const Shape& s, const Queries& q,
                                        const TokenLatents& all) const {
  const Var weight = reshape(up_projection(ctx, s), {-1, s.latent_dim});
  auto [k_nope, v] = split(split_heads(linear(all.latent, weight), s.heads), s.nope_dim);
  const Var shared = broadcast(single_head(all.k_rope), {v.size(0), s.heads, v.size(2), s.rope_dim});
  const Var k = concat(k_nope, shared);
  ctx.report_intermediate("k", k);
  ctx.report_intermediate("v", v);
  return attended(ctx, concat(q.nope, q.rope), k, v, scale_of(s));
}

Var LatentAttention::forward_deepseek(const attnlab::Context& ctx, const Shape& s, const Var& x) const {
  const TokenLatents all = token_latents(ctx, s, x);
  ctx.report_intermediate("latent", all.latent);
  ctx.report_intermediate("k_rope", all.k_rope);
  return linear(merge_heads(expanded_attention(ctx, s, queries(ctx, s, x), all)), ctx.parameter("W_o"));
}

Var LatentAttention::step_deepseek(const attnlab::Context& ctx, const attnlab::State& state, const Shape& s,
                                   const Var& x) const {
  const Queries q = queries(ctx, s, x);
  const TokenLatents added = token_latents(ctx, s, x);
  const TokenLatents all{state.append("latent", added.latent), state.append("k_rope", added.k_rope)};
  if (!absorb) return linear(merge_heads(expanded_attention(ctx, s, q, all)), ctx.parameter("W_o"));
  const Var up = up_projection(ctx, s);
  const Var w_uk = slice(up, 1, 0, s.nope_dim), w_uv = slice(up, 1, s.nope_dim, s.nope_dim + s.value_dim);
  const Var q_absorbed = matmul(q.nope, w_uk), latent = single_head(all.latent);
  ctx.report_intermediate("q_absorbed", q_absorbed);
  const Var o =
      attended(ctx, concat(q_absorbed, q.rope), concat(latent, single_head(all.k_rope)), latent, scale_of(s));
  return linear(merge_heads(matmul(o, transpose(w_uv))), ctx.parameter("W_o"));
}
