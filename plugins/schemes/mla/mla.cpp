#include "latent_attention.hpp"

using attnlab::apply, attnlab::ParameterError;

void LatentAttention::describe(attnlab::Description<LatentAttention>& d) {
  using Self = LatentAttention;
  d.id("mla")
      .summary("Multi-head latent attention: keys and values are expanded from small latents.")
      .paper("arXiv:2405.04434");
  d.parameter("kind", &Self::kind)
      .doc("seed: two latents per head, no rotary; deepseek: one latent per token and a shared rotary key.")
      .names({"seed", "deepseek"});
  d.parameter("latent_dim", &Self::latent_dim)
      .doc("Channels of a latent; 0: head_dim / 2 per head (seed), 4 head_dim (deepseek).")
      .at_least(0);
  d.parameter("bias", &Self::bias).doc("seed: biases in the projections other than the expansions.");
  d.parameter("dropout", &Self::dropout_rate)
      .doc("Share of attention weights dropped while training.")
      .range(0, 0.99);
  d.parameter("absorb", &Self::absorb)
      .doc("Decode on the latents, with the expansions absorbed into query and output; else expand them.");
  d.parameter("query_latent_dim", &Self::query_latent_dim)
      .doc("deepseek: channels of the query's latent; 0: a direct projection.")
      .at_least(0);
  d.parameter("nope_dim", &Self::nope_dim)
      .doc("deepseek: unrotated channels of a head's queries and keys; 0: head_dim.")
      .at_least(0);
  d.parameter("rope_dim", &Self::rope_dim)
      .doc("deepseek: rotated channels, whose key all heads share; even; 0: half of head_dim.")
      .at_least(0);
  d.parameter("value_dim", &Self::value_dim)
      .doc("deepseek: value channels of a head; 0: the model's.")
      .at_least(0);
  d.parameter("rope_theta", &Self::rope_theta).doc("deepseek: base of the rotary frequencies.").above(1);
  d.parameter("latent_norm", &Self::latent_norm).doc("deepseek: RMS norm of the latents.");
  d.parameter("norm_epsilon", &Self::norm_epsilon).doc("deepseek: added to the mean square.").above(0);
  d.parameter("svd", &Self::svd)
      .doc(
          "What is cut to svd_rank: values over the whole sequence (not causal), the value expansion, "
          "values by a basis of earlier blocks, values by a learned basis per head.")
      .names({"none", "reference_noncausal", "weight", "prefix", "fixed_basis"});
  d.parameter("svd_rank", &Self::svd_rank).doc("Rank kept; 0: all.").at_least(0);
  d.parameter("svd_method", &Self::svd_method)
      .doc("How reference_noncausal and weight find singular vectors.")
      .names({"exact", "randomised"});
  d.parameter("svd_oversampling", &Self::svd_oversampling)
      .doc("randomised: directions looked for beyond the rank.")
      .range(0, 1024);
  d.parameter("svd_power_iterations", &Self::svd_power_iterations)
      .doc("randomised: multiplications by the matrix and its transpose that sharpen the spectrum.")
      .range(0, 100);
  d.parameter("svd_block", &Self::svd_block)
      .doc("prefix: positions that share the basis of the tokens before them.")
      .unit("tokens")
      .at_least(1);
}

void LatentAttention::prepare() {
  if (rope_dim % 2 != 0) throw ParameterError("rope_dim", "must be even: channels rotate in pairs");
  if (kind == Kind::seed) {
    const std::pair<const char*, int64_t> others[] = {{"query_latent_dim", query_latent_dim},
                                                      {"nope_dim", nope_dim},
                                                      {"rope_dim", rope_dim},
                                                      {"value_dim", value_dim}};
    for (const auto& [key, value] : others) {
      if (value != 0) throw ParameterError(key, "belongs to kind deepseek; kind is seed");
    }
  } else {
    if (bias) throw ParameterError("bias", "belongs to kind seed: deepseek's projections have none");
    if (svd != ValueSvd::none && svd != ValueSvd::weight) {
      throw ParameterError("svd",
                           "is none or weight for kind deepseek: its values are no cache of their own, all "
                           "heads expand them from the latent that keys need too");
    }
  }
  if (svd_method == SvdMethod::randomised && (svd == ValueSvd::prefix || svd == ValueSvd::fixed_basis))
    throw ParameterError("svd_method", "randomised is for svd reference_noncausal and weight");
}

void LatentAttention::declare(attnlab::Declaration& d) const {
  const Shape s = shape_of(d);
  warn_of_large_cache(s);
  kind == Kind::seed ? declare_seed(d, s) : declare_deepseek(d, s);
}

Var LatentAttention::forward(attnlab::Context& ctx, Var x) const {
  const Shape s = shape_of(ctx);
  report_accounting(ctx, s);
  return kind == Kind::seed ? forward_seed(ctx, s, x) : forward_deepseek(ctx, s, x);
}

Var LatentAttention::step(attnlab::Context& ctx, attnlab::State& state, Var x) const {
  const Shape s = shape_of(ctx);
  return kind == Kind::seed ? step_seed(ctx, state, s, x) : step_deepseek(ctx, state, s, x);
}

/// Values of `seed` lie in the range of the expansion: a rank of it or more cuts nothing. The reference looks
/// at the sequence instead, and a basis is what its user makes it.
int64_t LatentAttention::cut_rank(const Shape& s) const {
  const int64_t range = std::min(s.latent_dim, s.value_dim);
  switch (svd) {
    case ValueSvd::none:
      return 0;
    case ValueSvd::weight:
    case ValueSvd::prefix:
      return svd_rank < range ? svd_rank : 0;
    case ValueSvd::reference_noncausal:
      return svd_rank;
    case ValueSvd::fixed_basis:
      break;
  }
  return svd_rank > 0 ? std::min(svd_rank, s.value_dim) : s.value_dim;
}

Var LatentAttention::project(const attnlab::Context& ctx, const std::string& name, const Var& x) const {
  return linear(x, ctx.parameter(name + ".weight"), bias ? ctx.parameter(name + ".bias") : Var());
}

Var LatentAttention::truncated(const attnlab::Context& ctx, const Var& matrices, int64_t rank) const {
  if (svd_method == SvdMethod::exact) return apply("low_rank", {matrices}, {{"rank", rank}});
  // The same directions in every call, so that decoding repeats what the forward did.
  return apply("randomised_low_rank", {matrices},
               {{"rank", rank},
                {"oversampling", svd_oversampling},
                {"power_iterations", svd_power_iterations},
                {"key", ctx.layer()}});
}

Var LatentAttention::attended(const attnlab::Context& ctx, const Var& q, const Var& k, const Var& v,
                              double scale) const {
  return attend(q, k, v,
                {.causal = ctx.causal(),
                 .scale = scale,
                 .dropout = ctx.training() ? dropout_rate : 0,
                 .dropout_key = ctx.random().next_u64()});
}

ATTNLAB_PLUGIN(LatentAttention);
