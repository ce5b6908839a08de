// Parameters and cache of a layer beside those of multi-head attention with the model's heads.
#include "latent_attention.hpp"

Accounting LatentAttention::accounting(const Shape& s) const {
  const int64_t width = s.heads * s.head_dim, latent = s.latent_dim;
  Accounting a{};
  a.mha_parameters = 2 * width * (s.embed_dim + (bias ? 1 : 0));
  a.mha_cache_elements = 2 * width;
  if (kind == Kind::deepseek) {
    a.parameters = (latent + s.rope_dim) * s.embed_dim + s.heads * (s.nope_dim + s.value_dim) * latent +
                   (latent_norm ? latent : 0);
    a.cache_elements = latent + s.rope_dim;
    return a;
  }
  a.parameters = 2 * s.heads * latent * (s.embed_dim + (bias ? 1 : 0)) + 2 * s.head_dim * latent;
  int64_t value_channels = latent;
  if (svd == ValueSvd::fixed_basis) a.parameters += s.heads * s.head_dim * s.svd_rank;
  if ((svd == ValueSvd::fixed_basis || svd == ValueSvd::weight) && s.svd_rank > 0)
    value_channels = std::min(latent, s.svd_rank);
  if (svd == ValueSvd::prefix && s.svd_rank > 0) value_channels = latent + s.head_dim;
  a.cache_elements = s.heads * (latent + value_channels);
  return a;
}

void LatentAttention::warn_of_large_cache(const Shape& s) const {
  const Accounting a = accounting(s);
  const bool wide = kind == Kind::seed && s.latent_dim > s.head_dim;
  if (!wide && a.cache_elements <= a.mha_cache_elements) return;
  host().log((wide ? "latent_dim " + std::to_string(s.latent_dim) + " is more than head_dim " +
                         std::to_string(s.head_dim) + ": a"
                   : std::string("a")) +
                 " token's cache of " + std::to_string(a.cache_elements) + " elements is " +
                 std::to_string(100 * a.cache_elements / a.mha_cache_elements) + " % of the " +
                 std::to_string(a.mha_cache_elements) + " of multi-head attention",
             ATTNLAB_WARNING);
}

/// The `reported` figures are those of the seed's reference, which counts the expansions once per head and no
/// biases; the `actual` ones count what there is.
void LatentAttention::report_accounting(const attnlab::Context& ctx, const Shape& s) const {
  const Accounting a = accounting(s);
  auto report = [&](const char* name, int64_t above, int64_t below) {
    ctx.report_metric(name, ctx.constant(static_cast<double>(above) / static_cast<double>(below)));
  };
  if (kind == Kind::seed) {
    report("compression_ratio_reported", s.head_dim * s.embed_dim, s.latent_dim * (s.embed_dim + s.head_dim));
    report("memory_savings_reported", s.head_dim, s.latent_dim);
  }
  report("compression_ratio_actual", a.mha_parameters, a.parameters);
  if (svd == ValueSvd::reference_noncausal) return;  // there is no decoding, so no cache
  report("memory_savings_actual", a.mha_cache_elements, a.cache_elements);
  report("cache_elements_per_token", a.cache_elements, 1);
}
