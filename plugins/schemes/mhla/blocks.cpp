// Contiguous blocks, of which the last may be partial. With block i, features q~, k~, and summaries S_b that
// carry z_b as one more column,
//   full:    o = q~ sum_b m_ib S_b
//   causal:  o = q~ P_i + m_ii sum_{s <= t in block i} (q~ k~_s) v_s,   P_i = sum_{b < i} m_ib S_b
// divided by the last channel when outputs are normalised. Blocks of one head are heads of the kernel, which
// then starts from P_i and needs no other pass.
#include "mhla.hpp"

namespace mhla {

namespace {

int64_t quotient_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

/// Zeros after the elements of an axis, up to `size`.
Var padded(const Var& x, int64_t axis, int64_t size) {
  return x.size(axis) == size ? x : pad(x, axis, 0, size - x.size(axis));
}

/// The diagonal m_ii of weights [..., rows, columns], i from `first` on: [..., rows, 1, 1].
Var diagonal(const Context& ctx, const Var& weights, int64_t first) {
  const auto shape = weights.shape();
  const int64_t rows = shape[shape.size() - 2], columns = shape.back();
  std::vector<double> plane(static_cast<size_t>(rows * columns), 0);
  for (int64_t a = 0; a < rows; ++a) plane[static_cast<size_t>(a * columns + first + a)] = 1;
  std::vector<int64_t> result(shape.begin(), shape.end() - 1);
  result.insert(result.end(), {1, 1});
  return reshape(sum(weights * ctx.constant(plane, {rows, columns}), -1), result);
}

/// [B, H, M, d, e] as [B, H, M, d e] and back.
Var flat(const Var& summary) {
  const auto s = summary.shape();
  return reshape(summary, {s[0], s[1], s[2], s[3] * s[4]});
}
Var unflat(const Var& rows, const Var& like) {
  return reshape(rows, {rows.size(0), rows.size(1), rows.size(2), like.size(-2), like.size(-1)});
}

/// [B, H, M, C, d] as [B, H M, C, d]; the same for more axes between.
Var as_heads(const Var& x) {
  const auto s = x.shape();
  return reshape(x, {s[0], -1, s[s.size() - 2], s.back()});
}

}  // namespace

Partition MultiHeadLinearAttention::partition(int64_t tokens) const {
  if (!image.empty()) {
    const int64_t rows = quotient_up(image[0], grid[0]), columns = quotient_up(image[1], grid[1]);
    return {tokens, rows * columns, grid_blocks()};
  }
  const int64_t wanted = token_heads > 0 ? token_heads : grid_blocks();
  if (block_size == 0 && wanted > 0) {
    const int64_t block = quotient_up(tokens, wanted);
    return {tokens, block, quotient_up(tokens, block)};
  }
  const int64_t block = block_size > 0 ? block_size : 64;
  return {tokens, block, quotient_up(tokens, block)};
}

/// [B, H, T, d] as [B, H, M, C, d] with zeros where there is no token.
Var MultiHeadLinearAttention::to_blocks(const Var& x, const Partition& p) const {
  const auto s = x.shape();
  if (image.empty()) return reshape(padded(x, 2, p.count * p.block), {s[0], s[1], p.count, p.block, s[3]});
  if (p.tokens != image[0] * image[1]) {
    throw attnlab::ParameterError("image", "has " + std::to_string(image[0] * image[1]) +
                                               " tokens, the sequence has " + std::to_string(p.tokens));
  }
  const int64_t rows = quotient_up(image[0], grid[0]), columns = quotient_up(image[1], grid[1]);
  const Var plane = padded(padded(reshape(x, {s[0], s[1], image[0], image[1], s[3]}), 2, rows * grid[0]), 3,
                           columns * grid[1]);
  const Var cut = reshape(plane, {s[0], s[1], grid[0], rows, grid[1], columns, s[3]});
  return reshape(permute(cut, {0, 1, 2, 4, 3, 5, 6}), {s[0], s[1], p.count, p.block, s[3]});
}

Var MultiHeadLinearAttention::from_blocks(const Var& x, const Partition& p) const {
  const auto s = x.shape();
  if (image.empty()) return slice(reshape(x, {s[0], s[1], p.count * p.block, s[4]}), 2, 0, p.tokens);
  const int64_t rows = quotient_up(image[0], grid[0]), columns = quotient_up(image[1], grid[1]);
  const Var cut =
      permute(reshape(x, {s[0], s[1], grid[0], grid[1], rows, columns, s[4]}), {0, 1, 2, 4, 3, 5, 6});
  const Var plane = reshape(cut, {s[0], s[1], grid[0] * rows, grid[1] * columns, s[4]});
  return reshape(slice(slice(plane, 2, 0, image[0]), 3, 0, image[1]), {s[0], s[1], p.tokens, s[4]});
}

KeyBlocks MultiHeadLinearAttention::key_blocks(const Var& k, const Var& v, const Partition& p) const {
  KeyBlocks result;
  result.k = to_blocks(k, p), result.v = to_blocks(v, p);
  result.v_ones = with_ones(result.v);
  result.summary = matmul(transpose(result.k), result.v_ones);
  return result;
}

Var MultiHeadLinearAttention::full_blocks(const Context& ctx, const Var& q, const Var& k,
                                          const Var& v) const {
  const Partition p = partition(ctx.tokens());
  require_blocks(p.count);
  const KeyBlocks keys = key_blocks(k, v, p);
  const Var weights = mixing_weights(ctx, 0, p.count, p.count, p.count).values;
  ctx.report_intermediate("mixing", weights);
  const int64_t kv_heads = k.size(1), group = q.size(1) / kv_heads;
  // The query heads of a group are rows of one product with their summaries.
  const Var rows = reshape(by_kv_head(to_blocks(q, p), kv_heads),
                           {q.size(0), kv_heads, p.count, group * p.block, q.size(-1)});
  const Var sums = matmul(rows, unflat(matmul(weights, flat(keys.summary)), keys.summary));
  Var out;
  if (normaliser == Normaliser::released) {
    // The released code mixes q~ z_b of token w of every block b, where equation 4 mixes z_b.
    const Var own = matmul(rows, slice(keys.summary, -1, v.size(-1), v.size(-1) + 1));
    const Var by_block = reshape(own, {q.size(0), kv_heads, p.count, group * p.block});
    out = divided(slice(sums, -1, 0, v.size(-1)), reshape(matmul(weights, by_block), own.shape()));
  } else {
    out = divided(sums);
  }
  out = permute(reshape(out, {q.size(0), kv_heads, p.count, group, p.block, v.size(-1)}), {0, 1, 3, 2, 4, 5});
  return from_blocks(reshape(out, {q.size(0), q.size(1), p.count, p.block, v.size(-1)}), p);
}

/// P_i of blocks first, first + 1 ...: [B, KV heads, rows, d, e].
Var MultiHeadLinearAttention::prefixes(const Context& ctx, const State* state, const Weights& weights,
                                       const Var& summary, int64_t first) const {
  const int64_t rows = summary.size(2);
  const Var fresh = flat(summary);
  const Var earlier = weights.values * visible(ctx, first, rows, first + rows, true);
  if (first == 0) return unflat(matmul(earlier, fresh), summary);
  if (!carries()) {
    const Var kept = state->get("summaries");
    return unflat(matmul(earlier, concat(kept, fresh, 2)), summary);
  }
  Var read = carry_read(ctx, first, rows);
  if (weights.row_sums) read = read / weights.row_sums;
  const Var mixed = matmul(read, state->get("memories"));
  return unflat(mixed + matmul(slice(earlier, -1, first, first + rows), fresh), summary);
}

/// Whole and partial blocks from a block's first token on, `past` being its position.
Var MultiHeadLinearAttention::causal_blocks(const Context& ctx, const State* state, const Var& q,
                                            const Var& k, const Var& v, int64_t past) const {
  Partition p = partition(q.size(2));
  const int64_t first = past / p.block, kv_heads = k.size(1);
  require_blocks(first + p.count);
  const KeyBlocks keys = key_blocks(k, v, p);
  const Weights weights = mixing_weights(ctx, first, p.count, first + p.count, first + p.count);
  if (state == nullptr) ctx.report_intermediate("mixing", weights.values);
  const Var prefix = prefixes(ctx, state, weights, keys.summary, first);
  const Var rows = as_heads(by_kv_head(to_blocks(q, p), kv_heads));
  const Var own = as_heads(keys.k * diagonal(ctx, weights.values, first));
  const Var out = causal_rows(rows, own, as_heads(keys.v), as_heads(keys.v_ones), as_heads(prefix));
  if (state != nullptr) keep_blocks(ctx, *state, keys.summary, prefix, first, q.size(2) / p.block);
  const int64_t group = q.size(1) / kv_heads;
  const Var by_head =
      permute(reshape(out, {q.size(0), kv_heads, p.count, group, p.block, v.size(-1)}), {0, 1, 3, 2, 4, 5});
  return from_blocks(reshape(by_head, {q.size(0), q.size(1), p.count, p.block, v.size(-1)}), p);
}

/// Keeps what later tokens need of new blocks: those that are complete, and the open one behind them.
void MultiHeadLinearAttention::keep_blocks(const Context& ctx, const State& state, const Var& summary,
                                           const Var& prefix, int64_t first, int64_t complete) const {
  const auto s = summary.shape();
  if (complete > 0) complete_blocks(ctx, state, slice(summary, 2, 0, complete), first);
  auto open = [&](const Var& all) {
    return complete < s[2] ? reshape(slice(all, 2, complete, complete + 1), {s[0], s[1], s[3], s[4]})
                           : broadcast(scalar(all, 0), {s[0], s[1], s[3], s[4]});
  };
  state.set("running", open(summary));
  state.set("prefix", open(prefix));
}

/// Adds blocks first, first + 1 ... to what is kept of complete ones.
void MultiHeadLinearAttention::complete_blocks(const Context& ctx, const State& state, const Var& summary,
                                               int64_t first) const {
  const Var fresh = flat(summary);
  if (!carries()) {
    state.append("summaries", fresh);
    return;
  }
  const Var written = matmul(carry_write(ctx, first, fresh.size(2)), fresh);
  const Var memories = state.get("memories");
  if (!memories) {
    state.set("memories", written);
    return;
  }
  const Var decay = carry_decay(ctx, fresh.size(2));
  state.set("memories", (decay ? memories * decay : memories) + written);
}

/// New tokens that all belong to the block that is open.
Var MultiHeadLinearAttention::open_block(const Context& ctx, const State& state, const Var& q, const Var& k,
                                         const Var& v) const {
  const int64_t block = partition(1).block, i = ctx.past() / block;
  const Var weights = mixing_weights(ctx, i, 1, i + 1, i + 1).values;
  const auto own_shape =
      weights.shape().size() > 2 ? std::vector<int64_t>{k.size(1), 1, 1} : std::vector<int64_t>{1, 1, 1};
  const Var own = reshape(slice(weights, -1, i, i + 1), own_shape);
  const Var running = state.get("running"), prefix = state.get("prefix"), v_ones = with_ones(v);
  const Var out = causal_rows(q, k * own, v, v_ones, prefix + running * own);
  const Var sum = running + matmul(transpose(k), v_ones);
  if ((ctx.past() + q.size(2)) % block != 0) {
    state.set("running", sum);
    return out;
  }
  const auto s = sum.shape();
  const Var summary = reshape(sum, {s[0], s[1], 1, s[2], s[3]});
  keep_blocks(ctx, state, summary, summary, i, 1);
  return out;
}

Var MultiHeadLinearAttention::step_blocks(const Context& ctx, const State& state, const Var& q, const Var& k,
                                          const Var& v) const {
  const int64_t block = partition(1).block, tokens = q.size(2);
  const int64_t inside = std::min(tokens, (block - ctx.past() % block) % block);
  auto part = [&](const Var& x, int64_t begin, int64_t end) {
    return begin == 0 && end == tokens ? x : slice(x, 2, begin, end);
  };
  if (inside == 0) return causal_blocks(ctx, &state, q, k, v, ctx.past());
  const Var head = open_block(ctx, state, part(q, 0, inside), part(k, 0, inside), part(v, 0, inside));
  if (inside == tokens) return head;
  const Var tail = causal_blocks(ctx, &state, part(q, inside, tokens), part(k, inside, tokens),
                                 part(v, inside, tokens), ctx.past() + inside);
  return concat(head, tail, 2);
}

}  // namespace mhla
