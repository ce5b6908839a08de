#include <attnlab/scheme.hpp>

using attnlab::Var;

/// Softmax attention over the keys that a pipeline of maskers selects, with weights 1/p.
struct Sparse : attnlab::AttentionScheme {
  attnlab::Pipeline pipeline;
  bool dense_when_empty = false, fresh_draws = true;

  static void describe(attnlab::Description<Sparse>& d) {
    d.id("sparse").summary("Softmax attention over the keys that a pipeline of maskers selects.");
    d.parameter("pipeline", &Sparse::pipeline).doc("The stages, as a run's pipelines have them.").required();
    d.parameter("dense_when_empty", &Sparse::dense_when_empty)
        .doc("A query for which nothing is selected attends to all keys that it sees; false: an error.");
    d.parameter("fresh_draws", &Sparse::fresh_draws)
        .doc("Sampling stages draw anew in every training update; false: the same draws for ever.");
  }

  Var forward(attnlab::Context& ctx, Var q, Var k, Var v) const {
    ctx.report_metric("state_elements", ctx.constant(0));
    ctx.report_metric("state_elements_per_token",
                      ctx.constant(static_cast<double>(ctx.kv_heads() * (ctx.head_dim() + ctx.value_dim()))));
    return attended(ctx, q, k, v);
  }

  /// All keys stay: what is not selected now may be for a later query.
  Var step(attnlab::Context& ctx, attnlab::State& state, Var q, Var k, Var v) const {
    return attended(ctx, q, state.append("k", k), state.append("v", v));
  }

 private:
  Var attended(const attnlab::Context& ctx, const Var& q, const Var& k, const Var& v) const {
    attnlab::Attend options{.causal = ctx.causal(), .scale = ctx.scale()};
    options.selector = pipeline;
    options.layer = ctx.layer();
    if (ctx.training() && fresh_draws) options.selector_key = ctx.random().next_u64();
    options.dense_when_empty = dense_when_empty;
    return attend(q, k, v, options);
  }
};
ATTNLAB_PLUGIN(Sparse);
