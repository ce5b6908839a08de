// The router: gates, the losses that shape them, and what a study wants to know of them.
#include <algorithm>
#include <cmath>
#include <limits>

#include "moas.hpp"

namespace moas {
namespace {

/// The index of the largest of the last axis, the first of equals: [B * T] of [B, T, n].
std::vector<int64_t> largest(const Var& gates) {
  const Var ids = apply("top_ids", {gates}, {{"count", 1}});
  const attnlab_tensor view = ids.view();
  std::vector<int64_t> result;
  for (int64_t b = 0; b < view.shape[0]; ++b) {
    for (int64_t t = 0; t < view.shape[1]; ++t)
      result.push_back(static_cast<const int64_t*>(view.data)[b * view.stride[0] + t * view.stride[1]]);
  }
  return result;
}

/// Share of the tokens that chose each branch.
std::vector<double> shares(const std::vector<int64_t>& choice, size_t branches) {
  std::vector<double> result(branches, 0);
  for (int64_t branch : choice) result[static_cast<size_t>(branch)] += 1;
  for (double& share : result) share /= static_cast<double>(choice.size());
  return result;
}

/// Mean over the tokens: [n] of [B, T, n].
Var token_mean(const Var& gates) {
  const int64_t branches = gates.size(2), tokens = gates.size(0) * gates.size(1);
  return reshape(sum(reshape(gates, {tokens, branches}), 0), {branches}) / static_cast<double>(tokens);
}

}  // namespace

Routing MixtureOfSchemes::route(const Context& ctx, const Var& x) const {
  Routing routing;
  if (!forced_) {
    const Var hidden =
        linear(x, ctx.parameter("router.0.weight"), bias ? ctx.parameter("router.0.bias") : Var(), "gelu");
    routing.logits = project(ctx, "router.2", hidden);
    ctx.report_intermediate("router_logits", routing.logits);
  }
  routing.gates = gates_of(ctx, routing.logits);
  routing.weights = forced_ ? routing.gates : after_dropout(ctx, routing.gates);
  routing.choice = largest(routing.weights);
  ctx.report_intermediate("gates", routing.gates);
  return routing;
}

/// A branch that is out has a gate of exactly 0, and those of the others sum to 1.
Var MixtureOfSchemes::gates_of(const Context& ctx, const Var& logits) const {
  const auto extent = static_cast<int64_t>(all_.size());
  std::vector<double> out(all_.size(), logits ? -std::numeric_limits<double>::infinity() : 0);
  for (size_t at : active_) out[at] = logits ? 0 : 1;
  const Var outside = ctx.constant(out, {extent});
  if (!logits) return broadcast(outside, {ctx.batch(), ctx.tokens(), extent});
  return softmax(active_.size() == all_.size() ? logits : logits + outside);
}

Var MixtureOfSchemes::after_dropout(const Context& ctx, const Var& gates) const {
  if (!ctx.training() || gate_dropout == 0) return gates;
  const Var kept = dropout(gates, gate_dropout, dropout_key(ctx, kGateSite));
  if (!gate_dropout_renormalise) return kept;
  // A token that has lost every gate keeps them all.
  const Var total = sum(kept, -1), nothing = apply("equal", {total, scalar(total, 0)});
  return select(nothing, gates, kept / (total + nothing));
}

/// 1 for the chosen branch and 0 for the others, with the gradient of the weights. The difference is taken
/// first: it is exactly 0, while 1 + g - g need not be 1.
Var MixtureOfSchemes::straight_through(const Context& ctx, const Routing& routing) const {
  const Var& weights = routing.weights;
  const Var choice = reshape(indices(ctx, routing.choice), {ctx.batch(), ctx.tokens()});
  const Var chosen =
      apply("one_hot", {choice}, {{"size", weights.size(-1)}, {"wide", weights.view().dtype == ATTNLAB_F64}});
  ctx.report_intermediate("chosen", chosen);
  return chosen + (weights - detach(weights));
}

void MixtureOfSchemes::report_losses(const Context& ctx, const Routing& routing) const {
  const Var mean = token_mean(routing.gates);
  ctx.report_intermediate("avg_gates", mean);
  if (balance_weight > 0) ctx.report_loss("balance", balance_loss(ctx, routing.gates, mean) * balance_weight);
  if (z_loss_weight > 0) {
    std::vector<Var> logits;
    for (size_t at : active_) {
      const auto column = static_cast<int64_t>(at);
      logits.push_back(slice(routing.logits, -1, column, column + 1));
    }
    const Var all = attnlab::concat(logits, -1);
    const Var most = detach(apply("max", {all}, {{"axis", -1}}));
    const Var lse = most + log(sum(exp(all - most), -1));
    const auto tokens = static_cast<double>(ctx.batch() * ctx.tokens());
    ctx.report_loss("router_z", sum(lse * lse) * (z_loss_weight / tokens));
  }
  if (cost_weight > 0) {
    std::vector<double> cost;
    for (const Branch& branch : all_)
      cost.push_back(static_cast<double>(branch.kv_heads(ctx.query_heads())) /
                     static_cast<double>(ctx.query_heads()));
    ctx.report_loss("cache_cost",
                    sum(mean * ctx.constant(cost, {static_cast<int64_t>(cost.size())})) * cost_weight);
  }
}

/// mse: mean_e (P_e - 1/m)^2; switch: m sum_e f_e P_e (arXiv:2101.03961, eq. 4), over the m branches that are
/// not dropped. P are the mean gates, f the shares of tokens by their largest gate.
Var MixtureOfSchemes::balance_loss(const Context& ctx, const Var& gates, const Var& mean) const {
  const auto extent = static_cast<int64_t>(all_.size());
  const auto count = static_cast<double>(active_.size());
  if (balance == Balance::switch_transformer)
    return sum(mean * ctx.constant(shares(largest(gates), all_.size()), {extent})) * count;
  std::vector<double> even(all_.size(), 0);
  for (size_t at : active_) even[at] = 1 / count;
  const Var off = mean - ctx.constant(even, {extent});
  return sum(off * off) / count;
}

void MixtureOfSchemes::report_metrics(const Context& ctx, const Routing& routing) const {
  ctx.report_metric("cache_elements_per_token", ctx.constant(cache_elements(ctx, routing.choice)));
  if (!routing.gates) return;
  const Var gates = detach(routing.gates), mean = token_mean(gates);
  const std::vector<double> chosen = shares(largest(gates), all_.size());
  for (size_t i = 0; i < all_.size(); ++i) {
    const auto at = static_cast<int64_t>(i);
    ctx.report_metric("gate_" + all_[i].prefix, reshape(slice(mean, 0, at, at + 1), {}));
    ctx.report_metric("chosen_" + all_[i].prefix, ctx.constant(chosen[i]));
  }
  // A gate of 0 adds nothing.
  const Var logs = log(maximum(gates, scalar(gates, std::numeric_limits<float>::min())));
  ctx.report_metric("gate_entropy", -sum(gates * logs) / static_cast<double>(ctx.batch() * ctx.tokens()));
}

/// Numbers that decoding keeps of a token in this layer.
double MixtureOfSchemes::cache_elements(const Context& ctx, const std::vector<int64_t>& choice) const {
  auto elements = [&](size_t at) {
    return static_cast<double>(2 * ctx.head_dim() * all_[at].kv_heads(ctx.query_heads()));
  };
  double total = 0;
  if (mix != Mix::key_routed) {
    for (size_t at : active_) total += elements(at);
    return total;
  }
  const std::vector<double> share = shares(choice, all_.size());
  for (size_t at : active_) total += share[at] * elements(at);
  return total + 1;  // where the token is stored
}

}  // namespace moas
