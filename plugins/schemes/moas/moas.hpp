// Mixture of Attention Schemes (arXiv:2512.20650): branches with different numbers of KV heads, mixed by a
// router. One class in four files: moas.cpp (parameters, forward and step), attention.cpp (branches),
// routing.cpp (gates and what is reported of them), key_routed.cpp (tokens that choose how they are stored).
#pragma once

#include <attnlab/scheme.hpp>

#include <span>
#include <string>
#include <vector>

namespace moas {

using attnlab::apply, attnlab::Context, attnlab::State, attnlab::Var;

enum class Mix { uniform, routed, top1, key_routed };
enum class Balance { mse, switch_transformer };
enum class KeyTraining { straight_through, soft };

/// One way to share keys and values among the query heads.
struct Branch {
  std::string name;    ///< in the config: "mha", "gqa", "gqa:4", "mqa"
  std::string prefix;  ///< of its tensors and reports: "mha", "gqa", "gqa4", "mqa"
  int64_t groups = 0;  ///< KV heads; 0: one for each query head
  int64_t kv_heads(int64_t query_heads) const { return groups > 0 ? groups : query_heads; }
};

/// Where each token's gates are: [B, T, n], n the number of branches.
struct Routing {
  Var logits;                   ///< empty when the branch is forced
  Var gates;                    ///< sum to 1, and are 0 where a branch is out
  Var weights;                  ///< the gates after gate dropout: what mixes and what chooses
  std::vector<int64_t> choice;  ///< [B * T] the branch with the largest weight
};

/// [B, kv_heads, T, head_dim]
struct KeysValues {
  Var k, v;
};

/// Keys and values of some tokens in a branch's format, [rows, kv_heads head_dim]; empty when there are none.
struct Stored {
  Var k, v;
  int64_t rows() const { return k ? k.size(0) : 0; }
};

/// What new tokens add to key-routed storage, by branch.
struct FreshRows {
  std::vector<Stored> rows;
  std::vector<std::vector<int64_t>> tokens;  ///< whose rows they are: b * T + t
  std::vector<double> slots;                 ///< [B * T] where each token is stored
};

struct MixtureOfSchemes : attnlab::AttentionScheme {
  std::vector<std::string> branches = {"mha", "gqa", "mqa"};
  int64_t gqa_groups = 2;
  Mix mix = Mix::routed;
  KeyTraining key_training = KeyTraining::straight_through;
  bool bias = false, gate_dropout_renormalise = true;
  double dropout_rate = 0, gate_dropout = 0;
  Balance balance = Balance::mse;
  double balance_weight = 0.01, z_loss_weight = 0, cost_weight = 0;
  std::string drop_branch = "none", force_branch = "none";

  static void describe(attnlab::Description<MixtureOfSchemes>& d);
  void prepare();
  void declare(attnlab::Declaration& d) const;
  Var forward(Context& ctx, Var x) const { return run(ctx, x, nullptr); }
  Var step(Context& ctx, State& state, Var x) const { return run(ctx, x, &state); }

 private:
  enum class Part { query, key, value };

  std::vector<Branch> all_;     ///< of `branches`
  std::vector<size_t> active_;  ///< indices of those that are neither dropped nor passed over
  bool forced_ = false;

  // moas.cpp
  void parse_branches();
  size_t branch_named(const std::string& key, const std::string& name) const;
  bool hard() const { return mix == Mix::top1 || mix == Mix::key_routed; }
  Var run(Context& ctx, const Var& x, State* state) const;
  Var mixed(Context& ctx, const Var& x, const Routing& routing, State* state) const;

  // attention.cpp
  Var project(const Context& ctx, const std::string& name, const Var& x) const;
  Var project(const Context& ctx, const Branch& branch, Part part, const Var& x) const;
  KeysValues keys_values(const Context& ctx, const Branch& branch, const Var& x, State* state) const;
  Var attended(const Context& ctx, const Var& q, const Var& k, const Var& v, uint64_t site) const;
  Var output(const Context& ctx, const std::string& name, const Var& heads, uint64_t site) const;
  Var whole_branch(const Context& ctx, size_t at, const Var& x, State* state) const;
  Var chosen_branches(const Context& ctx, const Var& x, const std::vector<int64_t>& choice,
                      State* state) const;
  Var chosen_rows(const Context& ctx, const Var& q, const std::vector<int64_t>& tokens,
                  const KeysValues& kv) const;
  Var block_rows(const Context& ctx, const Var& q, const std::vector<int64_t>& positions,
                 const KeysValues& kv) const;

  // routing.cpp
  Routing route(const Context& ctx, const Var& x) const;
  Var gates_of(const Context& ctx, const Var& logits) const;
  Var after_dropout(const Context& ctx, const Var& gates) const;
  Var straight_through(const Context& ctx, const Routing& routing) const;
  void report_losses(const Context& ctx, const Routing& routing) const;
  Var balance_loss(const Context& ctx, const Var& gates, const Var& mean) const;
  void report_metrics(const Context& ctx, const Routing& routing) const;
  double cache_elements(const Context& ctx, const std::vector<int64_t>& choice) const;

  // key_routed.cpp
  Var key_routed(const Context& ctx, const Var& x, const Routing& routing, State* state) const;
  KeysValues mixed_keys(const Context& ctx, const Var& x, const Var& weights) const;
  Var attend_stored(const Context& ctx, const Var& x, const Var& q, const std::vector<int64_t>& choice,
                    State* state) const;
  FreshRows fresh_rows(const Context& ctx, const Var& x, const std::vector<int64_t>& choice,
                       State* state) const;
  KeysValues stored_keys(const Context& ctx, const FreshRows& fresh, int64_t b,
                         std::span<const int64_t> slots, State* state) const;
};

/// Integers for the ops gather and scatter_add.
Var indices(const Context& ctx, const std::vector<int64_t>& values);
/// Positions in `choice` of the tokens that chose `branch`, in order.
std::vector<int64_t> tokens_of(const std::vector<int64_t>& choice, size_t branch);
/// The part [first, last) of sorted flat tokens b * tokens + t that belongs to sequence b.
std::pair<int64_t, int64_t> range_of(const std::vector<int64_t>& flat, int64_t b, int64_t tokens);
/// A key of its own for each place that drops.
uint64_t dropout_key(const Context& ctx, uint64_t site);

/// Places that drop: the gates, and the weights and the output of each branch.
inline constexpr uint64_t kGateSite = 0;
inline uint64_t attention_site(size_t branch) {
  return 1 + 2 * branch;
}

}  // namespace moas
