// What a branch computes, for all tokens or for those that chose it.
#include <algorithm>
#include <limits>
#include <numeric>

#include "moas.hpp"

namespace moas {
namespace {

/// The host may take another kernel, with other rounding, for few queries than for many. Fewer are filled up,
/// so that a row's bits do not tell how many later tokens chose the same branch.
constexpr int64_t kLeastQueries = 32;
/// Chosen queries of one product: they see no key behind the last of them, and the mask stays small.
constexpr int64_t kMostQueries = 256;

/// [rows, keys]: 0 where the query at positions[i] sees key j, else -inf. Rows past the positions see all.
Var visible(const Context& ctx, const std::vector<int64_t>& positions, int64_t rows, int64_t keys) {
  std::vector<double> last(static_cast<size_t>(rows), static_cast<double>(keys));
  std::copy(positions.begin(), positions.end(), last.begin());
  std::vector<double> key(static_cast<size_t>(keys));
  std::iota(key.begin(), key.end(), 0.0);
  const Var hidden = apply("greater", {ctx.constant(key, {1, keys}), ctx.constant(last, {rows, 1})});
  return select(hidden, scalar(hidden, -std::numeric_limits<double>::infinity()), scalar(hidden, 0));
}

}  // namespace

Var indices(const Context& ctx, const std::vector<int64_t>& values) {
  attnlab_tensor tensor{};
  tensor.struct_size = sizeof tensor;
  tensor.dtype = ATTNLAB_I64;
  tensor.rank = 1;
  tensor.data = values.data();
  tensor.shape[0] = static_cast<int64_t>(values.size());
  tensor.stride[0] = 1;
  attnlab_node* node = nullptr;
  attnlab::detail::checked([&](attnlab_error* error) {
    return ctx.graph()->constant(ctx.graph()->context, &tensor, &node, error);
  });
  return Var::adopt(ctx.graph(), node);
}

std::vector<int64_t> tokens_of(const std::vector<int64_t>& choice, size_t branch) {
  std::vector<int64_t> tokens;
  for (size_t i = 0; i < choice.size(); ++i) {
    if (choice[i] == static_cast<int64_t>(branch)) tokens.push_back(static_cast<int64_t>(i));
  }
  return tokens;
}

std::pair<int64_t, int64_t> range_of(const std::vector<int64_t>& flat, int64_t b, int64_t tokens) {
  const auto first = std::lower_bound(flat.begin(), flat.end(), b * tokens);
  const auto last = std::lower_bound(first, flat.end(), (b + 1) * tokens);
  return {first - flat.begin(), last - flat.begin()};
}

uint64_t dropout_key(const Context& ctx, uint64_t site) {
  const auto words = ctx.random().at(site);
  return words[0] | uint64_t{words[1]} << 32;
}

Var MixtureOfSchemes::project(const Context& ctx, const std::string& name, const Var& x) const {
  return linear(x, ctx.parameter(name + ".weight"), bias ? ctx.parameter(name + ".bias") : Var());
}

/// Queries, keys or values of a branch. Multi-head attention has the three in one matrix, in this order.
Var MixtureOfSchemes::project(const Context& ctx, const Branch& branch, Part part, const Var& x) const {
  if (branch.groups != 0) {
    const char* names[] = {".q_proj", ".k_proj", ".v_proj"};
    return project(ctx, branch.prefix + names[static_cast<size_t>(part)], x);
  }
  const int64_t width = ctx.query_heads() * ctx.head_dim(), begin = static_cast<int64_t>(part) * width;
  auto rows = [&](const char* tensor) {
    return slice(ctx.parameter(branch.prefix + tensor), 0, begin, begin + width);
  };
  return linear(x, rows(".c_attn.weight"), bias ? rows(".c_attn.bias") : Var());
}

/// Those of x behind those of the state.
KeysValues MixtureOfSchemes::keys_values(const Context& ctx, const Branch& branch, const Var& x,
                                         State* state) const {
  const int64_t heads = branch.kv_heads(ctx.query_heads());
  KeysValues kv{split_heads(project(ctx, branch, Part::key, x), heads),
                split_heads(project(ctx, branch, Part::value, x), heads)};
  if (state == nullptr) return kv;
  return {state->append(branch.prefix + ".k", kv.k), state->append(branch.prefix + ".v", kv.v)};
}

/// Every query's attention, [B, H, T, d].
Var MixtureOfSchemes::attended(const Context& ctx, const Var& q, const Var& k, const Var& v,
                               uint64_t site) const {
  return attend(q, k, v,
                {.causal = ctx.causal(),
                 .dropout = ctx.training() ? dropout_rate : 0,
                 .dropout_key = dropout_key(ctx, site)});
}

Var MixtureOfSchemes::output(const Context& ctx, const std::string& name, const Var& heads,
                             uint64_t site) const {
  const Var y = project(ctx, name, merge_heads(heads));
  return ctx.training() ? dropout(y, dropout_rate, dropout_key(ctx, site)) : y;
}

Var MixtureOfSchemes::whole_branch(const Context& ctx, size_t at, const Var& x, State* state) const {
  const Branch& branch = all_[at];
  const Var q = split_heads(project(ctx, branch, Part::query, x), ctx.query_heads());
  const KeysValues kv = keys_values(ctx, branch, x, state);
  const uint64_t site = attention_site(at);
  const Var y = output(ctx, branch.prefix + ".c_proj", attended(ctx, q, kv.k, kv.v, site), site + 1);
  ctx.report_intermediate("o_" + branch.prefix, y);
  return y;
}

/// Each token's branch alone: the others compute its key and value, which later tokens may read, but neither
/// its query nor its output.
Var MixtureOfSchemes::chosen_branches(const Context& ctx, const Var& x, const std::vector<int64_t>& choice,
                                      State* state) const {
  const int64_t count = x.size(0) * x.size(1);
  const Var rows = reshape(x, {count, x.size(2)});
  Var y;
  for (size_t at : active_) {
    const Branch& branch = all_[at];
    const KeysValues kv = keys_values(ctx, branch, x, state);
    const std::vector<int64_t> tokens = tokens_of(choice, at);
    if (tokens.empty()) continue;
    const Var index = indices(ctx, tokens);
    const Var q = project(ctx, branch, Part::query, gather(rows, index, 0));
    const Var found = project(ctx, branch.prefix + ".c_proj", chosen_rows(ctx, q, tokens, kv));
    const Var part = reshape(apply("scatter_add", {found, index}, {{"axis", 0}, {"size", count}}), x.shape());
    ctx.report_intermediate("o_" + branch.prefix, part);
    y = y ? y + part : part;
  }
  return y;
}

/// Attention of q [tokens, H d], whose rows are flat tokens b * T + t in order; the same extents.
Var MixtureOfSchemes::chosen_rows(const Context& ctx, const Var& q, const std::vector<int64_t>& tokens,
                                  const KeysValues& kv) const {
  const int64_t past = kv.k.size(2) - ctx.tokens();
  std::vector<Var> parts;
  for (int64_t b = 0; b < ctx.batch(); ++b) {
    const auto [first, last] = range_of(tokens, b, ctx.tokens());
    const KeysValues own{slice(kv.k, 0, b, b + 1), slice(kv.v, 0, b, b + 1)};
    for (int64_t begin = first; begin < last; begin += kMostQueries) {
      const int64_t end = std::min(last, begin + kMostQueries);
      std::vector<int64_t> positions;
      for (int64_t i = begin; i < end; ++i)
        positions.push_back(past + tokens[static_cast<size_t>(i)] - b * ctx.tokens());
      parts.push_back(block_rows(ctx, slice(q, 0, begin, end), positions, own));
    }
  }
  return attnlab::concat(parts, 0);
}

/// Attention of the rows of q [count, H d] at these positions of one sequence; the same extents.
Var MixtureOfSchemes::block_rows(const Context& ctx, const Var& q, const std::vector<int64_t>& positions,
                                 const KeysValues& kv) const {
  const int64_t count = q.size(0), width = q.size(1);
  const int64_t filled = std::max(count, std::min(ctx.tokens(), kLeastQueries));
  const int64_t keys = ctx.causal() ? positions.back() + 1 : kv.k.size(2);
  attnlab::Attend options{.causal = false};
  if (ctx.causal() && ctx.tokens() > 1) options.bias = visible(ctx, positions, filled, keys);
  Var heads = split_heads(reshape(q, {1, count, width}), ctx.query_heads());
  heads = attend(pad(heads, 2, 0, filled - count), slice(kv.k, 2, 0, keys), slice(kv.v, 2, 0, keys), options);
  return reshape(merge_heads(slice(heads, 2, 0, count)), {count, width});
}

}  // namespace moas
