// Kind `seed`: keys and values of head h are k_h = a_h E_K^T and v_h = b_h E_V^T, with latents a_h and b_h of
// its own and expansions E_K, E_V [d, L] that all heads share. Since nothing rotates,
//   q_h . k_h = (q_h E_K) . a_h   and   sum_j p_j v_j = (sum_j p_j b_j) E_V^T,
// and decoding works on the latents.
#include "latent_attention.hpp"

using attnlab::apply;

namespace {

double scale_of(const Shape& s) {
  return 1 / std::sqrt(static_cast<double>(s.head_dim));
}

}  // namespace

void LatentAttention::declare_seed(attnlab::Declaration& d, const Shape& s) const {
  auto matrix = [&](const std::string& name, int64_t out, int64_t in, bool writes_residual = false) {
    d.parameter(name + ".weight", {out, in}, {.rule = "normal", .scale = 0.02, .residual = writes_residual});
    if (bias) d.parameter(name + ".bias", {out}, {.rule = "zeros"});
  };
  matrix("q_proj", s.heads * s.head_dim, s.embed_dim);
  matrix("kv_latent_proj", 2 * s.heads * s.latent_dim, s.embed_dim);
  d.parameter("k_expand.weight", {s.head_dim, s.latent_dim});
  d.parameter("v_expand.weight", {s.head_dim, s.latent_dim});
  matrix("c_proj", s.embed_dim, s.heads * s.head_dim, true);
  if (svd == ValueSvd::fixed_basis) {
    const double unit_column = 1 / std::sqrt(static_cast<double>(s.head_dim));
    d.parameter("svd_basis", {s.heads, s.head_dim, s.svd_rank}, {.rule = "normal", .scale = unit_column});
  }
}

LatentAttention::HeadLatents LatentAttention::head_latents(const attnlab::Context& ctx, const Shape& s,
                                                           const Var& x) const {
  auto [key, value] = split(project(ctx, "kv_latent_proj", x), s.heads * s.latent_dim);
  return {split_heads(key, s.heads), split_heads(value, s.heads)};
}

Var LatentAttention::forward_seed(const attnlab::Context& ctx, const Shape& s, const Var& x) const {
  const Var q = split_heads(project(ctx, "q_proj", x), s.heads);
  const auto [k_latent, v_latent] = head_latents(ctx, s, x);
  Var v_expand = ctx.parameter("v_expand.weight");
  if (svd == ValueSvd::weight && s.svd_rank > 0) v_expand = truncated(ctx, v_expand, s.svd_rank);
  const Var k = linear(k_latent, ctx.parameter("k_expand.weight"));
  Var v = linear(v_latent, v_expand);
  ctx.report_intermediate("k_latent", k_latent);
  ctx.report_intermediate("v_latent", v_latent);
  ctx.report_intermediate("k", k);
  ctx.report_intermediate("v", v);
  if (svd != ValueSvd::none) {
    v = cut_values(ctx, s, v);
    ctx.report_intermediate("v_after_svd", v);
  }
  return project(ctx, "c_proj", merge_heads(attended(ctx, q, k, v, scale_of(s))));
}

/// Values [B, H, T, d] as the modes that cut values, not weights, leave them.
Var LatentAttention::cut_values(const attnlab::Context& ctx, const Shape& s, const Var& v) const {
  if (svd == ValueSvd::reference_noncausal) {
    const int64_t all = std::min(v.size(2), v.size(3));
    if (!ctx.training())
      ctx.report_intermediate("singular_values", reshape(apply("singular_values", {v}), {-1, all}));
    return s.svd_rank > 0 && s.svd_rank < all ? truncated(ctx, v, s.svd_rank) : v;
  }
  if (svd == ValueSvd::prefix && s.svd_rank > 0) return projected_by_block(v, 0, s.svd_rank);
  if (svd != ValueSvd::fixed_basis) return v;
  const Var basis = ctx.parameter("svd_basis");
  return matmul(matmul(v, basis), transpose(basis));
}

/// Tokens [first, T) of v, each projected onto the leading right singular vectors of the values before its
/// block. Nothing is cut where those span fewer directions than the rank, so not in the first block.
Var LatentAttention::projected_by_block(const Var& v, int64_t first, int64_t rank) const {
  const int64_t tokens = v.size(2);
  std::vector<Var> parts;
  for (int64_t begin = first; begin < tokens;) {
    const int64_t start = begin / svd_block * svd_block, end = std::min(tokens, start + svd_block);
    Var rows = slice(v, 2, begin, end);
    if (start > 0) rows = matmul(rows, apply("row_projector", {slice(v, 2, 0, start)}, {{"rank", rank}}));
    parts.push_back(rows);
    begin = end;
  }
  return parts.size() == 1 ? parts[0] : concat(parts, 2);
}

LatentAttention::CachedValues LatentAttention::cached_values(const attnlab::Context& ctx,
                                                             const attnlab::State& state, const Shape& s,
                                                             const Var& new_latent) const {
  const Var v_expand = ctx.parameter("v_expand.weight");
  if (svd == ValueSvd::weight && s.svd_rank > 0) {
    // A matrix E of rank r is (E V) V^T with its r right singular vectors V: r coordinates are enough.
    const Var cut = truncated(ctx, v_expand, s.svd_rank);
    const Var directions = apply("right_singular_vectors", {cut}, {{"rank", s.svd_rank}});
    return {state.append("v_coordinates", matmul(new_latent, directions)),
            transpose(matmul(cut, directions))};
  }
  if (svd == ValueSvd::fixed_basis) {
    const Var basis = ctx.parameter("svd_basis"), to_values = transpose(v_expand);
    if (s.svd_rank < s.latent_dim)
      return {state.append("v_coordinates", matmul(new_latent, matmul(to_values, basis))), transpose(basis)};
    return {state.append("v_latent", new_latent), matmul(matmul(to_values, basis), transpose(basis))};
  }
  const Var latent = state.append("v_latent", new_latent);
  if (svd != ValueSvd::prefix || s.svd_rank == 0) return {latent, transpose(v_expand)};
  // Later bases need the values as they were, so that what is cut is kept beside the latents.
  return {state.append("v", projected_by_block(linear(latent, v_expand), ctx.past(), s.svd_rank)), {}};
}

Var LatentAttention::step_seed(const attnlab::Context& ctx, const attnlab::State& state, const Shape& s,
                               const Var& x) const {
  if (svd == ValueSvd::reference_noncausal) {
    throw attnlab::ParameterError(
        "svd",
        "reference_noncausal cannot be decoded step by step, as each value depends on all later ones: "
        "weight, prefix and fixed_basis are causal");
  }
  const Var q = split_heads(project(ctx, "q_proj", x), s.heads);
  const auto [new_key, new_value] = head_latents(ctx, s, x);
  const Var k_latent = state.append("k_latent", new_key), k_expand = ctx.parameter("k_expand.weight");
  const auto [coordinates, expansion] = cached_values(ctx, state, s, new_value);
  Var o;
  if (absorb) {
    o = attended(ctx, matmul(q, k_expand), k_latent, coordinates, scale_of(s));
    if (expansion) o = matmul(o, expansion);
  } else {
    const Var v = expansion ? matmul(coordinates, expansion) : coordinates;
    o = attended(ctx, q, linear(k_latent, k_expand), v, scale_of(s));
  }
  return project(ctx, "c_proj", merge_heads(o));
}
