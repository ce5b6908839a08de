// The seed's operator: token t belongs to group t mod H, and each group attends to itself alone by linear
// attention. Nothing is mixed, so that a group's sums are all that decoding keeps.
#include "mhla.hpp"

namespace mhla {

namespace {

/// [B, H, T, d] as [B, H, groups, T / groups, d], zeros where there is no token; the first has position
/// `offset` in its round.
Var to_groups(const Var& x, int64_t groups, int64_t offset) {
  const auto s = x.shape();
  const int64_t rounds = (offset + s[2] + groups - 1) / groups;
  const Var whole = pad(x, 2, offset, rounds * groups - offset - s[2]);
  return permute(reshape(whole, {s[0], s[1], rounds, groups, s[3]}), {0, 1, 3, 2, 4});
}

}  // namespace

Var MultiHeadLinearAttention::strided(const Context& ctx, const State* state, const Var& q, const Var& k,
                                      const Var& v) const {
  const int64_t groups = token_heads, offset = ctx.past() % groups, kv_heads = k.size(1);
  const int64_t batch = q.size(0), share = q.size(1) / kv_heads, dv = v.size(-1);
  const Var key = to_groups(k, groups, offset), value = to_groups(v, groups, offset);
  const Var value_ones = with_ones(value), query = by_kv_head(to_groups(q, groups, offset), kv_heads);
  const int64_t rounds = key.size(3), d = key.size(-1), e = value_ones.size(-1);
  const Var sums = matmul(transpose(key), value_ones);
  Var out;
  if (ctx.causal()) {
    Var before = state != nullptr ? state->get("sums") : Var();
    if (state != nullptr) state->set("sums", before ? before + sums : sums);
    if (before) before = reshape(before, {batch, kv_heads * groups, d, e});
    auto as_heads = [&](const Var& x) { return reshape(x, {batch, -1, rounds, x.size(-1)}); };
    out = causal_rows(as_heads(query), as_heads(key), as_heads(value), as_heads(value_ones), before);
  } else {
    const Var rows = reshape(query, {batch, kv_heads, groups, share * rounds, d});
    out = divided(matmul(rows, sums));
  }
  out = permute(reshape(out, {batch, kv_heads, groups, share, rounds, dv}), {0, 1, 3, 4, 2, 5});
  const Var tokens = reshape(out, {batch, q.size(1), rounds * groups, dv});
  return slice(tokens, 2, offset, offset + q.size(2));
}

}  // namespace mhla
