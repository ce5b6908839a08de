#include <attnlab/feature_map.hpp>
#include <attnlab/scheme.hpp>

using attnlab::FeatureMap, attnlab::Var;

/// Linear attention (arXiv:2006.16236): one sum of key-value products in place of all keys.
struct Linear : attnlab::AttentionScheme {
  FeatureMap map = FeatureMap::elu_plus_one;
  bool normalise = true;
  double epsilon = 0, scale = 1;

  static void describe(attnlab::Description<Linear>& d) {
    d.id("linear")
        .summary("Linear attention with a feature map; its state does not grow.")
        .paper("arXiv:2006.16236");
    d.parameter("feature_map", &Linear::map)
        .doc("What queries and keys become before their products; exp_clamped is e^min(x, 5).")
        .names(attnlab::kFeatureMapNames)
        .sweep({FeatureMap::relu, FeatureMap::elu_plus_one, FeatureMap::exponential});
    d.parameter("normalise", &Linear::normalise).doc("Divide by the sum of the weights.");
    d.parameter("epsilon", &Linear::epsilon).doc("Added to the sum of the weights.").at_least(0);
    d.parameter("scale", &Linear::scale).doc("Factor of the query's features.").above(0);
  }

  void prepare() {
    if (epsilon > 0 && !normalise)
      throw attnlab::ParameterError("epsilon", "is added to the normaliser, which normalise switches off");
  }

  Var forward(attnlab::Context& ctx, Var q, Var k, Var v) const {
    const int64_t sums = ctx.head_dim() * (ctx.value_dim() + (normalise ? 1 : 0));
    ctx.report_metric("state_elements", ctx.constant(static_cast<double>(ctx.kv_heads() * sums)));
    ctx.report_metric("state_elements_per_token", ctx.constant(0));
    return attended(ctx, q, k, v, {}, {});
  }

  Var step(attnlab::Context& ctx, attnlab::State& state, Var q, Var k, Var v) const {
    const Var sum = state.get("S"), key_sum = state.get("z");
    const Var y = attended(ctx, q, k, v, sum, key_sum);
    const Var features = feature_map(map, k);
    const Var added = matmul(transpose(features), v);
    state.set("S", sum ? sum + added : added);
    if (normalise) {
      const Var keys = reshape(attnlab::sum(features, 2), {k.size(0), k.size(1), k.size(3)});
      state.set("z", key_sum ? key_sum + keys : keys);
    }
    return y;
  }

 private:
  /// `sum` S_0 [B, Hkv, d, dv] and `key_sum` z_0 [B, Hkv, d] of the tokens before, or empty.
  Var attended(const attnlab::Context& ctx, const Var& q, const Var& k, const Var& v, const Var& sum,
               const Var& key_sum) const {
    // What the kernel does not know goes through ops before it.
    static constexpr const char* kKernelMaps[] = {"identity", "relu", "elu+1", "exp"};
    const bool known = map != FeatureMap::clamped_exponential;
    const Var features = known ? q : feature_map(map, q), keys = known ? k : feature_map(map, k);
    attnlab::LinearAttend options;
    options.causal = ctx.causal(), options.scale = scale, options.normalise = normalise;
    options.feature_map = known ? kKernelMaps[static_cast<int>(map)] : "identity";
    options.state = sum, options.key_sum = key_sum;
    if (epsilon == 0) return linear_attend(features, keys, v, options);
    // The denominator as one more channel: the sum over values of 1.
    options.normalise = false, options.key_sum = {};
    const Var ones = broadcast(scalar(v, 1), {v.size(0), v.size(1), v.size(2), 1});
    if (sum) options.state = concat(sum, reshape(key_sum, {sum.size(0), sum.size(1), sum.size(2), 1}));
    const auto [numerator, denominator] =
        split(linear_attend(features, keys, concat(v, ones), options), v.size(-1));
    return numerator / (denominator + epsilon);
  }
};
ATTNLAB_PLUGIN(Linear);
