#include "moas.hpp"

#include <algorithm>
#include <charconv>

namespace moas {
namespace {

/// "mha", "gqa", "mqa" or "gqa:G".
Branch parse_branch(const std::string& key, const std::string& name, int64_t gqa_groups) {
  if (name == "mha") return {name, name, 0};
  if (name == "gqa") return {name, name, gqa_groups};
  if (name == "mqa") return {name, name, 1};
  int64_t groups = 0;
  if (name.starts_with("gqa:")) {
    const char* end = name.data() + name.size();
    const auto read = std::from_chars(name.data() + 4, end, groups);
    if (read.ec != std::errc() || read.ptr != end) groups = 0;
  }
  if (groups < 1) {
    throw attnlab::ParameterError(
        key, "is \"" + name + "\"; allowed: mha, gqa, mqa and gqa:G with G KV heads, such as gqa:4");
  }
  return {name, "gqa" + std::to_string(groups), groups};
}

std::string divisors(int64_t n) {
  std::string text;
  for (int64_t d = 1; d <= n; ++d) {
    if (n % d == 0) text += (text.empty() ? "" : ", ") + std::to_string(d);
  }
  return text;
}

}  // namespace

void MixtureOfSchemes::describe(attnlab::Description<MixtureOfSchemes>& d) {
  using Self = MixtureOfSchemes;
  d.id("moas")
      .summary("Mixes multi-head, grouped-query and multi-query attention by a router.")
      .paper("arXiv:2512.20650");
  d.parameter("branches", &Self::branches).doc("What is mixed: mha, gqa, mqa, or gqa:G with G KV heads.");
  d.parameter("gqa_groups", &Self::gqa_groups)
      .doc("KV heads of the branch gqa; divides the query heads.")
      .at_least(1)
      .sweep({1, 2, 3, 6});
  d.parameter("mix", &Self::mix)
      .doc("The mean of all, softmax gates, the best alone, or one format for each token's key and value.")
      .names({"static", "routed", "top1", "key_routed"});
  d.parameter("key_training", &Self::key_training)
      .doc("key_routed: what trains, hard formats with straight-through gates or their soft mixture.")
      .names({"straight_through", "soft"});
  d.parameter("bias", &Self::bias).doc("Biases in the projections and the router.");
  d.parameter("dropout", &Self::dropout_rate)
      .doc("Share of attention weights, and of each branch's output, dropped while training.")
      .range(0, 0.99);
  d.parameter("gate_dropout", &Self::gate_dropout)
      .doc("Share of gates dropped while training.")
      .range(0, 0.99);
  d.parameter("gate_dropout_renormalise", &Self::gate_dropout_renormalise)
      .doc("The gates that are left sum to 1; false: they are scaled by 1 / (1 - gate_dropout).");
  d.parameter("balance", &Self::balance)
      .doc("Loss that spreads tokens over the branches: mean gates alone, or with hard fractions.")
      .names({"mse", "switch"});
  d.parameter("balance_weight", &Self::balance_weight)
      .doc("Weight of the balance loss of a layer.")
      .at_least(0);
  d.parameter("z_loss_weight", &Self::z_loss_weight)
      .doc("Weight of the mean square of the router's logsumexp.")
      .at_least(0);
  d.parameter("cost_weight", &Self::cost_weight)
      .doc("Weight of the mean gates' cache elements, as a share of multi-head attention's.")
      .at_least(0);
  d.parameter("drop_branch", &Self::drop_branch)
      .doc("A branch forced out, with the other gates renormalised, for ablations; or none.");
  d.parameter("force_branch", &Self::force_branch)
      .doc("The one branch that every token takes, for ablations; or none.");
}

void MixtureOfSchemes::parse_branches() {
  if (branches.empty()) throw attnlab::ParameterError("branches", "needs at least one branch");
  for (size_t i = 0; i < branches.size(); ++i) {
    const std::string key = "branches/" + std::to_string(i);
    const Branch branch = parse_branch(key, branches[i], gqa_groups);
    for (const Branch& other : all_) {
      if (other.prefix == branch.prefix)
        throw attnlab::ParameterError(key, "names the branch " + branch.name + " again");
    }
    all_.push_back(branch);
  }
}

size_t MixtureOfSchemes::branch_named(const std::string& key, const std::string& name) const {
  const auto found =
      std::find_if(all_.begin(), all_.end(), [&](const Branch& branch) { return branch.name == name; });
  if (found != all_.end()) return static_cast<size_t>(found - all_.begin());
  std::string allowed = "none";
  for (const Branch& branch : all_) allowed += ", " + branch.name;
  throw attnlab::ParameterError(key, "is \"" + name + "\"; allowed: " + allowed);
}

void MixtureOfSchemes::prepare() {
  parse_branches();
  forced_ = force_branch != "none";
  const size_t forced = forced_ ? branch_named("force_branch", force_branch) : all_.size();
  const size_t dropped = drop_branch != "none" ? branch_named("drop_branch", drop_branch) : all_.size();
  if (forced_ && forced == dropped)
    throw attnlab::ParameterError("force_branch", "is the branch that drop_branch forces out");
  for (size_t i = 0; i < all_.size(); ++i) {
    if (i != dropped && (!forced_ || i == forced)) active_.push_back(i);
  }
  if (active_.empty()) throw attnlab::ParameterError("drop_branch", "forces out the only branch");
  if (hard() && gate_dropout > 0 && !gate_dropout_renormalise) {
    throw attnlab::ParameterError("gate_dropout_renormalise",
                                  "can be false for mix routed alone: a token that has lost every gate has "
                                  "no branch to choose");
  }
}

void MixtureOfSchemes::declare(attnlab::Declaration& d) const {
  const int64_t heads = d.query_heads(), width = heads * d.head_dim();
  for (size_t i = 0; i < all_.size(); ++i) {
    const int64_t groups = all_[i].kv_heads(heads);
    if (heads % groups == 0) continue;
    throw attnlab::ParameterError(all_[i].name == "gqa" ? "gqa_groups" : "branches/" + std::to_string(i),
                                  "must divide the " + std::to_string(heads) + " query heads: found " +
                                      std::to_string(groups) + "; allowed: " + divisors(heads));
  }
  auto matrix = [&](const std::string& name, int64_t out, int64_t in, bool writes_residual = false) {
    d.parameter(name + ".weight", {out, in}, {.rule = "normal", .scale = 0.02, .residual = writes_residual});
    if (bias) d.parameter(name + ".bias", {out}, {.rule = "zeros"});
  };
  const bool one_query = mix == Mix::key_routed;
  if (one_query) matrix("q_proj", width, d.embed_dim());
  for (const Branch& branch : all_) {
    const int64_t kv_width = branch.kv_heads(heads) * d.head_dim();
    if (branch.groups == 0 && !one_query) {
      matrix(branch.prefix + ".c_attn", 3 * width, d.embed_dim());
    } else {
      if (!one_query) matrix(branch.prefix + ".q_proj", width, d.embed_dim());
      matrix(branch.prefix + ".k_proj", kv_width, d.embed_dim());
      matrix(branch.prefix + ".v_proj", kv_width, d.embed_dim());
    }
    if (!one_query) matrix(branch.prefix + ".c_proj", d.embed_dim(), width, true);
  }
  if (one_query) matrix("c_proj", d.embed_dim(), width, true);
  if (mix == Mix::uniform) return;
  const int64_t hidden = std::max<int64_t>(1, d.embed_dim() / 4);
  matrix("router.0", hidden, d.embed_dim());
  matrix("router.2", static_cast<int64_t>(all_.size()), hidden);
}

Var MixtureOfSchemes::run(Context& ctx, const Var& x, State* state) const {
  Routing routing;
  if (mix != Mix::uniform) routing = route(ctx, x);
  const Var y = mix == Mix::key_routed ? key_routed(ctx, x, routing, state) : mixed(ctx, x, routing, state);
  if (state == nullptr) {
    if (routing.logits) report_losses(ctx, routing);
    report_metrics(ctx, routing);
  }
  return y;
}

Var MixtureOfSchemes::mixed(Context& ctx, const Var& x, const Routing& routing, State* state) const {
  if (mix == Mix::top1 && !ctx.training()) return chosen_branches(ctx, x, routing.choice, state);
  const Var weights = mix == Mix::top1 ? straight_through(ctx, routing) : routing.weights;
  Var y;
  for (size_t at : active_) {
    Var part = whole_branch(ctx, at, x, state);
    const auto column = static_cast<int64_t>(at);
    if (weights) part = part * slice(weights, -1, column, column + 1);
    y = y ? y + part : part;
  }
  return weights ? y : y / static_cast<double>(active_.size());
}

}  // namespace moas

using moas::MixtureOfSchemes;
ATTNLAB_PLUGIN(MixtureOfSchemes);
