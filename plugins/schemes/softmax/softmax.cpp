#include <attnlab/scheme.hpp>

using attnlab::Var;

/// Softmax attention as an operator (arXiv:1706.03762, equation 1): what other operators are measured
/// against.
struct Softmax : attnlab::AttentionScheme {
  static void describe(attnlab::Description<Softmax>& d) {
    d.id("softmax")
        .summary("Softmax attention, as an operator on queries, keys and values.")
        .paper("arXiv:1706.03762");
  }

  Var forward(attnlab::Context& ctx, Var q, Var k, Var v) const {
    ctx.report_metric("state_elements", ctx.constant(0));
    ctx.report_metric("state_elements_per_token",
                      ctx.constant(static_cast<double>(ctx.kv_heads() * (ctx.head_dim() + ctx.value_dim()))));
    return attend(q, k, v, {.causal = ctx.causal(), .scale = ctx.scale()});
  }

  Var step(attnlab::Context& ctx, attnlab::State& state, Var q, Var k, Var v) const {
    return attend(q, state.append("k", k), state.append("v", v),
                  {.causal = ctx.causal(), .scale = ctx.scale()});
  }
};
ATTNLAB_PLUGIN(Softmax);
