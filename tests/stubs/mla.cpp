#include <attnlab/scheme.hpp>
#include <cmath>

using attnlab::Var;

/// Multi-head latent attention of DeepSeek-V2 (arXiv:2405.04434, section 2.1): keys and values are expanded
/// from one latent vector per token, positions from one rotated key that all heads share. Decoding keeps the
/// latents alone and absorbs the expansions into the query and the output.
struct LatentAttention : attnlab::AttentionScheme {
  int64_t latent_dim = 64, query_latent_dim = 0;
  int64_t nope_dim = 32, rope_dim = 16, value_dim = 32;
  double rope_theta = 10000;

  static void describe(attnlab::Description<LatentAttention>& d) {
    d.id("stub.mla").summary("Expands keys and values from a shared latent.").paper("arXiv:2405.04434");
    d.parameter("latent_dim", &LatentAttention::latent_dim).doc("Key-value latent per token.").at_least(1);
    d.parameter("query_latent_dim", &LatentAttention::query_latent_dim)
        .doc("0: direct query projection.")
        .at_least(0);
    d.parameter("nope_dim", &LatentAttention::nope_dim).doc("Unrotated channels of a head.").at_least(1);
    d.parameter("rope_dim", &LatentAttention::rope_dim)
        .doc("Rotated channels, shared by all heads.")
        .at_least(2);
    d.parameter("value_dim", &LatentAttention::value_dim).doc("Value channels of a head.").at_least(1);
    d.parameter("rope_theta", &LatentAttention::rope_theta).doc("Base of the rotary frequencies.").above(1);
  }

  void prepare() {
    if (rope_dim % 2 != 0)
      throw attnlab::ParameterError("rope_dim", "must be even: channels rotate in pairs");
  }

  void declare(attnlab::Declaration& d) const {
    const int64_t heads = d.query_heads();
    if (query_latent_dim > 0) {
      d.parameter("W_dq", {query_latent_dim, d.embed_dim()});
      d.parameter("g_q", {query_latent_dim}, {.rule = "ones"});
    }
    d.parameter("W_uq",
                {heads * (nope_dim + rope_dim), query_latent_dim > 0 ? query_latent_dim : d.embed_dim()});
    d.parameter("W_dkv", {latent_dim + rope_dim, d.embed_dim()});
    d.parameter("g_kv", {latent_dim}, {.rule = "ones"});
    d.parameter("W_ukv",
                {heads * (nope_dim + value_dim), latent_dim});  // per head: key rows, then value rows
    d.parameter("W_o", {d.embed_dim(), heads * value_dim}, {.residual = true});
  }

  Var forward(attnlab::Context& ctx, Var x) const {
    auto [q_nope, q_rope] = queries(ctx, x);
    auto [latent, k_rope] = latents(ctx, x);  // [B, T, latent], [B, T, rope]
    auto [k_nope, v] =
        split(split_heads(linear(latent, ctx.parameter("W_ukv")), ctx.query_heads()), nope_dim);
    Var shared = broadcast(single_head(k_rope), {x.size(0), ctx.query_heads(), x.size(1), rope_dim});
    Var o = attend(concat(q_nope, q_rope), concat(k_nope, shared), v, options(ctx));
    return linear(merge_heads(o), ctx.parameter("W_o"));
  }

  /// score = (W_uk^T q_nope) . c + q_rope . k_rope and o = W_uv sum(a c): multi-query attention on the
  /// latents.
  Var step(attnlab::Context& ctx, attnlab::State& state, Var x) const {
    auto [q_nope, q_rope] = queries(ctx, x);
    auto [new_latent, new_rope] = latents(ctx, x);
    Var latent = single_head(state.append("latent", new_latent));  // [B, 1, S, latent]
    Var k_rope = single_head(state.append("k_rope", new_rope));
    Var w = reshape(ctx.parameter("W_ukv"), {ctx.query_heads(), nope_dim + value_dim, latent_dim});
    Var w_uk = slice(w, 1, 0, nope_dim), w_uv = slice(w, 1, nope_dim, nope_dim + value_dim);
    Var q = concat(matmul(q_nope, w_uk), q_rope);
    Var o = attend(q, concat(latent, k_rope), latent, options(ctx));  // [B, H, T, latent]
    return linear(merge_heads(matmul(o, transpose(w_uv))), ctx.parameter("W_o"));
  }

 private:
  static Var single_head(const Var& x) { return reshape(x, {x.size(0), 1, x.size(1), x.size(2)}); }

  attnlab::Attend options(const attnlab::Context& ctx) const {
    return {.causal = ctx.causal(), .scale = 1 / std::sqrt(static_cast<double>(nope_dim + rope_dim))};
  }
  Var rotate(const attnlab::Context& ctx, const Var& x) const {
    return rope(x, {.position = ctx.past(), .theta = rope_theta});
  }
  std::pair<Var, Var> queries(const attnlab::Context& ctx, Var x) const {
    if (query_latent_dim > 0) x = rms_norm(linear(x, ctx.parameter("W_dq")), ctx.parameter("g_q"));
    auto [nope, rotated] = split(split_heads(linear(x, ctx.parameter("W_uq")), ctx.query_heads()), nope_dim);
    return {nope, rotate(ctx, rotated)};
  }
  std::pair<Var, Var> latents(const attnlab::Context& ctx, const Var& x) const {
    auto [latent, rotated] = split(linear(x, ctx.parameter("W_dkv")), latent_dim);
    return {rms_norm(latent, ctx.parameter("g_kv")), rotate(ctx, rotated)};
  }
};

ATTNLAB_PLUGIN(LatentAttention);
