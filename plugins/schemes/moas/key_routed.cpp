// Key-routed storage: one query and one output projection for all tokens, while each token chooses with how
// many heads its key and value are stored. Query head h of H reads head floor(h n / H) of n.
#include <cmath>

#include "moas.hpp"

namespace moas {
namespace {

/// x [R, n, T, d] with each head repeated for the query heads that read it: [R, H, T, d].
Var for_each_query_head(const Var& x, int64_t query_heads) {
  const int64_t batch = x.size(0), heads = x.size(1), tokens = x.size(2), width = x.size(3);
  if (heads == query_heads) return x;
  const Var apart = reshape(x, {batch, heads, 1, tokens, width});
  return reshape(broadcast(apart, {batch, heads, query_heads / heads, tokens, width}),
                 {batch, query_heads, tokens, width});
}

/// Rows [count, n d] of one sequence as [1, H, count, d].
Var heads_of_rows(const Var& rows, int64_t heads, int64_t query_heads) {
  return for_each_query_head(split_heads(reshape(rows, {1, rows.size(0), rows.size(1)}), heads), query_heads);
}

/// Names of what sequence b has stored in a branch's format, behind "k." and "v.": lengths differ.
std::string stored_name(const Branch& branch, int64_t b) {
  return branch.prefix + "." + std::to_string(b);
}

/// Where a token is stored: row `row` of branch `branch` of its sequence. One number, which float32 holds up
/// to 2^24.
int64_t slot_of(int64_t row, int64_t branch, size_t branches) {
  const int64_t slot = row * static_cast<int64_t>(branches) + branch;
  if (slot >= int64_t{1} << 24) throw std::runtime_error("key_routed cannot number so many tokens");
  return slot;
}

/// The numbers of [B, T, 1].
std::vector<int64_t> integers(const Var& x) {
  const attnlab_tensor view = x.view();
  std::vector<int64_t> result;
  for (int64_t b = 0; b < view.shape[0]; ++b) {
    for (int64_t t = 0; t < view.shape[1]; ++t) {
      const int64_t at = b * view.stride[0] + t * view.stride[1];
      result.push_back(view.dtype == ATTNLAB_F64
                           ? static_cast<int64_t>(static_cast<const double*>(view.data)[at])
                           : static_cast<int64_t>(static_cast<const float*>(view.data)[at]));
    }
  }
  return result;
}

/// Adds rows [first, last) of the new ones to what the state has under these names.
Stored extended(State* state, const std::string& name, const Stored& fresh, int64_t first, int64_t last) {
  Stored rows;
  if (first < last) rows = {slice(fresh.k, 0, first, last), slice(fresh.v, 0, first, last)};
  if (state == nullptr) return rows;
  if (first == last) return {state->get("k." + name), state->get("v." + name)};
  return {state->append("k." + name, rows.k), state->append("v." + name, rows.v)};
}

}  // namespace

Var MixtureOfSchemes::key_routed(const Context& ctx, const Var& x, const Routing& routing,
                                 State* state) const {
  const Var q = split_heads(project(ctx, "q_proj", x), ctx.query_heads());
  const uint64_t site = attention_site(0);
  if (!ctx.training())
    return output(ctx, "c_proj", attend_stored(ctx, x, q, routing.choice, state), site + 1);
  const bool soft = key_training == KeyTraining::soft;
  const KeysValues kv = mixed_keys(ctx, x, soft ? routing.weights : straight_through(ctx, routing));
  return output(ctx, "c_proj", attended(ctx, q, kv.k, kv.v, site), site + 1);
}

/// Keys and values of all formats, for every query head, weighted.
KeysValues MixtureOfSchemes::mixed_keys(const Context& ctx, const Var& x, const Var& weights) const {
  KeysValues total;
  for (size_t at : active_) {
    const int64_t heads = all_[at].kv_heads(ctx.query_heads()), column = static_cast<int64_t>(at);
    const Var weight = reshape(slice(weights, -1, column, column + 1), {ctx.batch(), 1, ctx.tokens(), 1});
    auto add = [&](Var& sum, const char* name) {
      const Var part = split_heads(project(ctx, all_[at].prefix + name, x), heads);
      const Var weighted = for_each_query_head(part, ctx.query_heads()) * weight;
      sum = sum ? sum + weighted : weighted;
    };
    add(total.k, ".k_proj"), add(total.v, ".v_proj");
  }
  return total;
}

/// Keys and values of the new tokens, each in the format that it chose. Slots continue those of the state.
FreshRows MixtureOfSchemes::fresh_rows(const Context& ctx, const Var& x, const std::vector<int64_t>& choice,
                                       State* state) const {
  FreshRows fresh{std::vector<Stored>(all_.size()), std::vector<std::vector<int64_t>>(all_.size()),
                  std::vector<double>(choice.size())};
  const Var rows = reshape(x, {ctx.batch() * ctx.tokens(), x.size(2)});
  for (size_t at : active_) {
    const std::vector<int64_t>& own = fresh.tokens[at] = tokens_of(choice, at);
    if (own.empty()) continue;
    const Var chosen = gather(rows, indices(ctx, own), 0);
    fresh.rows[at] = {project(ctx, all_[at].prefix + ".k_proj", chosen),
                      project(ctx, all_[at].prefix + ".v_proj", chosen)};
    for (int64_t b = 0; b < ctx.batch(); ++b) {
      const auto [first, last] = range_of(own, b, ctx.tokens());
      const Var before = state != nullptr ? state->get("k." + stored_name(all_[at], b)) : Var();
      const int64_t stored = before ? before.size(0) : 0;
      for (int64_t i = first; i < last; ++i) {
        fresh.slots[static_cast<size_t>(own[static_cast<size_t>(i)])] =
            static_cast<double>(slot_of(stored + i - first, static_cast<int64_t>(at), all_.size()));
      }
    }
  }
  return fresh;
}

/// Attention to what is stored, new tokens included. A sequence's rows in each format lie one behind another
/// in the order of its tokens; "slot" says of each token where. A position's row is never larger than the
/// position, so a host that cuts every value to the first positions cuts no row that they need, and rows of
/// positions that were cut are no longer named.
Var MixtureOfSchemes::attend_stored(const Context& ctx, const Var& x, const Var& q,
                                    const std::vector<int64_t>& choice, State* state) const {
  const FreshRows fresh = fresh_rows(ctx, x, choice, state);
  Var where = ctx.constant(fresh.slots, {ctx.batch(), ctx.tokens(), 1});
  if (state != nullptr) where = state->append("slot", where);
  const std::vector<int64_t> slots = integers(where);
  const int64_t positions = where.size(1);
  std::vector<Var> results;
  for (int64_t b = 0; b < ctx.batch(); ++b) {
    const std::span<const int64_t> own(slots.data() + b * positions, static_cast<size_t>(positions));
    const KeysValues kv = stored_keys(ctx, fresh, b, own, state);
    results.push_back(attend(slice(q, 0, b, b + 1), kv.k, kv.v, {.causal = ctx.causal()}));
  }
  return attnlab::concat(results, 0);
}

/// The keys and values of sequence b at all positions, for every query head: [1, H, positions, d].
KeysValues MixtureOfSchemes::stored_keys(const Context& ctx, const FreshRows& fresh, int64_t b,
                                         std::span<const int64_t> slots, State* state) const {
  std::vector<Var> keys, values;
  std::vector<int64_t> begin(all_.size(), 0), order;
  int64_t total = 0;
  for (size_t at : active_) {
    const auto [first, last] = range_of(fresh.tokens[at], b, ctx.tokens());
    const Stored stored = extended(state, stored_name(all_[at], b), fresh.rows[at], first, last);
    begin[at] = total;
    total += stored.rows();
    if (stored.rows() == 0) continue;
    const int64_t kv_heads = all_[at].kv_heads(ctx.query_heads());
    keys.push_back(heads_of_rows(stored.k, kv_heads, ctx.query_heads()));
    values.push_back(heads_of_rows(stored.v, kv_heads, ctx.query_heads()));
  }
  const auto formats = static_cast<int64_t>(all_.size());
  for (int64_t slot : slots) order.push_back(begin[static_cast<size_t>(slot % formats)] + slot / formats);
  const Var index = indices(ctx, order);
  return {gather(attnlab::concat(keys, 2), index, 2), gather(attnlab::concat(values, 2), index, 2)};
}

}  // namespace moas
