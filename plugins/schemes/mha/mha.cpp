#include <attnlab/scheme.hpp>

#include <bit>
#include <cmath>

using attnlab::apply, attnlab::Var;

enum class NormOrder { none, pre, post };
enum class ResidualActivation { none, relu, gelu, tanh, silu };
enum class NanPolicy { error, zero_element, zero_row, zero_tensor };
enum class DimPolicy { error, truncate, pad, project };
enum class ValueSvd { none, reference_noncausal };

/// Multi-head, grouped-query and multi-query attention (arXiv:1706.03762, arXiv:2305.13245, arXiv:1911.02150)
/// as one configurable module.
struct MultiHeadAttention : attnlab::AttentionScheme {
  int64_t num_heads = 0, num_kv_heads = 0, key_dim = 0, value_dim = 0;
  double dropout_rate = 0, rope_theta = 10000, norm_epsilon = 1e-6;
  bool bias = false, residual = false, rope_positions = false, report_scores = false;
  NormOrder norm = NormOrder::none;
  ResidualActivation activation = ResidualActivation::none;
  NanPolicy nan_policy = NanPolicy::error;
  DimPolicy dim_policy = DimPolicy::error;
  int64_t expected_dim = 0;
  ValueSvd svd = ValueSvd::none;
  int64_t svd_rank = 0;

  static void describe(attnlab::Description<MultiHeadAttention>& d) {
    d.id("mha")
        .summary("Multi-head, grouped-query and multi-query softmax attention.")
        .paper("arXiv:1706.03762");
    d.parameter("num_heads", &MultiHeadAttention::num_heads).doc("Query heads; 0: the model's.").at_least(0);
    d.parameter("num_kv_heads", &MultiHeadAttention::num_kv_heads)
        .doc("KV heads, which query heads share in groups; 1: multi-query; 0: the model's, or num_heads.")
        .at_least(0);
    d.parameter("key_dim", &MultiHeadAttention::key_dim)
        .doc("Query and key channels of a head; 0: the model's.")
        .at_least(0);
    d.parameter("value_dim", &MultiHeadAttention::value_dim)
        .doc("Value channels of a head; 0: key_dim.")
        .at_least(0);
    d.parameter("dropout", &MultiHeadAttention::dropout_rate)
        .doc("Share of attention weights dropped while training.")
        .range(0, 0.99);
    d.parameter("bias", &MultiHeadAttention::bias).doc("Biases in the projections.");
    d.parameter("rope", &MultiHeadAttention::rope_positions).doc("Rotary positions of queries and keys.");
    d.parameter("rope_theta", &MultiHeadAttention::rope_theta)
        .doc("Base of the rotary frequencies.")
        .above(1);
    d.parameter("norm", &MultiHeadAttention::norm)
        .doc("Layer norm of the module's own: of its input, or of its output after the residual.")
        .names({"none", "pre", "post"});
    d.parameter("norm_epsilon", &MultiHeadAttention::norm_epsilon).doc("Added to the variance.").above(0);
    d.parameter("residual", &MultiHeadAttention::residual).doc("Add the input to the output.");
    d.parameter("activation", &MultiHeadAttention::activation)
        .doc("Applied to the output before the residual.")
        .names({"none", "relu", "gelu", "tanh", "silu"});
    d.parameter("nan_policy", &MultiHeadAttention::nan_policy)
        .doc(
            "What happens to NaN and infinite inputs: an error, or zeros for the element, its row or the "
            "whole tensor.")
        .names({"error", "zero_element", "zero_row", "zero_tensor"});
    d.parameter("dim_policy", &MultiHeadAttention::dim_policy)
        .doc(
            "What happens to inputs whose channels are not expected_dim: an error, the first channels, zeros "
            "behind, or a learned projection.")
        .names({"error", "truncate", "pad", "project"});
    d.parameter("expected_dim", &MultiHeadAttention::expected_dim)
        .doc("Channels that inputs are brought to, such as 384 or 768; 0: whatever they have.")
        .at_least(0);
    d.parameter("report_scores", &MultiHeadAttention::report_scores)
        .doc("Report the attention weights, their entropy and sparsity.");
    d.parameter("svd", &MultiHeadAttention::svd)
        .doc("Values cut to svd_rank over the whole sequence, for parity with the reference: not causal.")
        .names({"none", "reference_noncausal"});
    d.parameter("svd_rank", &MultiHeadAttention::svd_rank)
        .doc("Rank kept of each head's values; 0: all.")
        .at_least(0);
  }

  void prepare() {
    if (num_heads > 0 && num_kv_heads > 0 && num_heads % num_kv_heads != 0) {
      throw attnlab::ParameterError("num_kv_heads", "must divide num_heads, " + std::to_string(num_heads) +
                                                        ": found " + std::to_string(num_kv_heads));
    }
    if (dim_policy != DimPolicy::error && expected_dim == 0)
      throw attnlab::ParameterError("expected_dim", "is needed by this dim_policy");
    if (residual && expected_dim != 0 && dim_policy == DimPolicy::project)
      throw attnlab::ParameterError("residual",
                                    "adds inputs to outputs of other channels under dim_policy project");
  }

  /// Extents, from the parameters or else from the model.
  struct Shape {
    int64_t heads, kv_heads, key_dim, value_dim, in_dim, out_dim;
    bool fused() const { return kv_heads == heads && key_dim == value_dim; }
    int64_t q_width() const { return heads * key_dim; }
    int64_t k_width() const { return kv_heads * key_dim; }
    int64_t v_width() const { return kv_heads * value_dim; }
  };
  template <class Extents>
  Shape shape_of(const Extents& e) const {
    Shape s{};
    s.heads = num_heads > 0 ? num_heads : e.query_heads();
    s.kv_heads = num_kv_heads > 0 ? num_kv_heads : num_heads > 0 ? num_heads : e.kv_heads();
    s.in_dim = expected_dim > 0 ? expected_dim : e.embed_dim();
    s.out_dim = e.embed_dim();
    s.key_dim = key_dim > 0 ? key_dim : num_heads > 0 ? e.embed_dim() / num_heads : e.head_dim();
    s.value_dim = value_dim > 0 ? value_dim : s.key_dim;
    return s;
  }

  void declare(attnlab::Declaration& d) const {
    const Shape s = shape_of(d);
    if (s.heads % s.kv_heads != 0) {
      throw attnlab::ParameterError("num_kv_heads", "must divide the " + std::to_string(s.heads) +
                                                        " query heads: found " + std::to_string(s.kv_heads));
    }
    if (key_dim == 0 && num_heads > 0 && d.embed_dim() % num_heads != 0) {
      throw attnlab::ParameterError("num_heads",
                                    "must divide the embedding's " + std::to_string(d.embed_dim()) +
                                        " channels, or key_dim be given: found " + std::to_string(num_heads));
    }
    if (rope_positions && s.key_dim % 2 != 0)
      throw attnlab::ParameterError(
          "rope", "rotates pairs of channels: key_dim " + std::to_string(s.key_dim) + " is odd");
    if (dim_policy == DimPolicy::error && expected_dim != 0 && expected_dim != d.embed_dim()) {
      throw attnlab::ParameterError("expected_dim", "is " + std::to_string(expected_dim) +
                                                        ", but inputs have " + std::to_string(d.embed_dim()) +
                                                        " channels; dim_policy can align them");
    }
    auto matrix = [&](const std::string& name, int64_t out, int64_t in, bool writes_residual = false) {
      d.parameter(name + ".weight", {out, in},
                  {.rule = "normal", .scale = 0.02, .residual = writes_residual});
      if (bias) d.parameter(name + ".bias", {out}, {.rule = "zeros"});
    };
    if (aligns_by_projection(s)) matrix("align", s.in_dim, d.embed_dim());
    if (s.fused()) {
      matrix("c_attn", s.q_width() + s.k_width() + s.v_width(), s.in_dim);
    } else {
      matrix("q_proj", s.q_width(), s.in_dim);
      matrix("k_proj", s.k_width(), s.in_dim);
      matrix("v_proj", s.v_width(), s.in_dim);
    }
    matrix("c_proj", s.out_dim, s.heads * s.value_dim, true);
    if (norm == NormOrder::none) return;
    const int64_t width = norm == NormOrder::pre ? s.in_dim : s.out_dim;
    d.parameter("ln.weight", {width}, {.rule = "ones"});
    d.parameter("ln.bias", {width}, {.rule = "zeros"});
  }

  Var forward(attnlab::Context& ctx, attnlab::LayerInputs inputs) const {
    const Shape s = shape_of(ctx);
    inputs = prepared(ctx, s, inputs);
    auto [q, k, v] = projected(ctx, s, inputs);
    if (svd == ValueSvd::reference_noncausal) {
      const int64_t most = std::min(v.size(2), v.size(3));
      v = apply("low_rank", {v}, {{"rank", svd_rank == 0 ? most : std::min(svd_rank, most)}});
    }
    const bool causal = ctx.causal() && !inputs.key;
    const Var o = attended(ctx, s, q, k, v, causal);
    // Of another sequence nothing is decoded, nor are values cut over the whole one.
    if (!inputs.key && svd == ValueSvd::none) {
      ctx.report_metric("state_elements", ctx.constant(0));
      ctx.report_metric("state_elements_per_token",
                        ctx.constant(static_cast<double>(s.k_width() + s.v_width())));
    }
    return finished(ctx, s, inputs.x, o);
  }

  Var step(attnlab::Context& ctx, attnlab::State& state, attnlab::LayerInputs inputs) const {
    if (svd != ValueSvd::none)
      throw std::runtime_error("values cut over the whole sequence cannot be decoded step by step");
    const Shape s = shape_of(ctx);
    inputs = prepared(ctx, s, inputs);
    auto [q, k, v] = projected(ctx, s, inputs);
    k = state.append("k", k);
    v = state.append("v", v);
    return finished(ctx, s, inputs.x, attended(ctx, s, q, k, v, ctx.causal()));
  }

 private:
  bool aligns_by_projection(const Shape& s) const {
    return dim_policy == DimPolicy::project && s.in_dim != s.out_dim;
  }

  Var project(const attnlab::Context& ctx, const std::string& name, const Var& x) const {
    return linear(x, ctx.parameter(name + ".weight"), bias ? ctx.parameter(name + ".bias") : Var());
  }

  /// NaN and alignment, for each input.
  attnlab::LayerInputs prepared(const attnlab::Context& ctx, const Shape& s,
                                attnlab::LayerInputs inputs) const {
    for (Var* x : {&inputs.x, &inputs.key, &inputs.value}) {
      if (*x) *x = aligned(ctx, s, finite(*x));
    }
    if (inputs.key && !inputs.value) inputs.value = inputs.key;
    if (norm == NormOrder::pre)
      inputs.x = layer_norm(inputs.x, ctx.parameter("ln.weight"), ctx.parameter("ln.bias"), norm_epsilon);
    return inputs;
  }

  Var finite(const Var& x) const {
    const int64_t bad_count = count_not_finite(x.view());
    if (bad_count == 0) return x;
    const Var good = apply("is_finite", {x});
    switch (nan_policy) {
      case NanPolicy::error:
        throw std::runtime_error(std::to_string(bad_count) +
                                 " of the input's values are NaN or infinite; nan_policy can replace them");
      case NanPolicy::zero_element:
        return select(good, x, scalar(x, 0));
      case NanPolicy::zero_row:
        return select(sum(1.0 - good, -1), scalar(x, 0), x);
      case NanPolicy::zero_tensor:
        break;
    }
    return select(scalar(x, 0), x, scalar(x, 0));
  }

  static int64_t count_not_finite(const attnlab_tensor& x) {
    return x.dtype == ATTNLAB_F64 ? count_not_finite<double, uint64_t>(x, 0x7ff0000000000000)
                                  : count_not_finite<float, uint32_t>(x, 0x7f800000);
  }
  /// Values whose exponent bits are all set, of rows of the last axis; integers, so that compilers vectorise
  /// it.
  template <class Real, class Bits>
  static int64_t count_not_finite(const attnlab_tensor& x, Bits exponent) {
    const int64_t width = x.rank > 0 ? x.shape[x.rank - 1] : 1, step = x.rank > 0 ? x.stride[x.rank - 1] : 1;
    int64_t rows = 1, count = 0;
    for (int32_t axis = 0; axis + 1 < x.rank; ++axis) rows *= x.shape[axis];
    for (int64_t row = 0; row < rows; ++row) {
      int64_t rest = row, offset = 0;
      for (int32_t axis = x.rank - 2; axis >= 0; rest /= x.shape[axis--])
        offset += rest % x.shape[axis] * x.stride[axis];
      const Real* values = static_cast<const Real*>(x.data) + offset;
      Bits bad = 0;
      for (int64_t i = 0; i < width; ++i)
        bad += (std::bit_cast<Bits>(values[i * step]) & exponent) == exponent ? 1 : 0;
      count += static_cast<int64_t>(bad);
    }
    return count;
  }

  Var aligned(const attnlab::Context& ctx, const Shape& s, const Var& x) const {
    const int64_t width = x.size(-1);
    if (width == s.in_dim) return x;
    switch (dim_policy) {
      case DimPolicy::truncate:
      case DimPolicy::pad:
        return width > s.in_dim ? slice(x, -1, 0, s.in_dim) : pad(x, -1, 0, s.in_dim - width);
      case DimPolicy::project:
        return project(ctx, "align", x);
      case DimPolicy::error:
        break;
    }
    throw std::runtime_error("an input has " + std::to_string(width) + " channels instead of " +
                             std::to_string(s.in_dim));
  }

  struct Heads {
    Var q, k, v;
  };
  /// Queries of x, keys and values of x or of the other sequence.
  Heads projected(const attnlab::Context& ctx, const Shape& s, const attnlab::LayerInputs& inputs) const {
    const Var& keys = inputs.key ? inputs.key : inputs.x;
    const Var& values = inputs.value ? inputs.value : inputs.x;
    Heads h;
    if (s.fused() && !inputs.key) {
      const Var all = project(ctx, "c_attn", inputs.x);
      h = {slice(all, -1, 0, s.q_width()), slice(all, -1, s.q_width(), 2 * s.q_width()),
           slice(all, -1, 2 * s.q_width(), 3 * s.q_width())};
    } else if (s.fused()) {
      auto part = [&](const Var& x, int64_t i) {
        const Var weight = slice(ctx.parameter("c_attn.weight"), 0, i * s.q_width(), (i + 1) * s.q_width());
        return linear(
            x, weight,
            bias ? slice(ctx.parameter("c_attn.bias"), 0, i * s.q_width(), (i + 1) * s.q_width()) : Var());
      };
      h = {part(inputs.x, 0), part(keys, 1), part(values, 2)};
    } else {
      h = {project(ctx, "q_proj", inputs.x), project(ctx, "k_proj", keys), project(ctx, "v_proj", values)};
    }
    h = {split_heads(h.q, s.heads), split_heads(h.k, s.kv_heads), split_heads(h.v, s.kv_heads)};
    if (rope_positions) {
      const attnlab::Rope options{.position = ctx.past(), .theta = rope_theta};
      h.q = rope(h.q, options), h.k = rope(h.k, options);
    }
    return h;
  }

  /// [B, H, T, value_dim]. The weights exist as a plane only where somebody wants them.
  Var attended(attnlab::Context& ctx, const Shape& s, const Var& q, const Var& k, const Var& v,
               bool causal) const {
    const double drop = ctx.training() ? dropout_rate : 0;
    const uint64_t key = ctx.random().next_u64();
    if (!report_scores) return attend(q, k, v, {.causal = causal, .dropout = drop, .dropout_key = key});
    Var weights = attention_weights(ctx, s, q, k, causal);
    report(ctx, weights, causal);
    weights = dropout(weights, drop, key);
    const int64_t group = s.heads / s.kv_heads;
    const std::vector<int64_t> grouped = {q.size(0), s.kv_heads, group * q.size(2), k.size(2)};
    return reshape(matmul(reshape(weights, grouped), v), {q.size(0), s.heads, q.size(2), s.value_dim});
  }

  Var attention_weights(const attnlab::Context& ctx, const Shape& s, const Var& q, const Var& k,
                        bool causal) const {
    const int64_t batch = q.size(0), rows = q.size(2), keys = k.size(2), group = s.heads / s.kv_heads;
    const double scale = 1 / std::sqrt(static_cast<double>(s.key_dim));
    Var logits = matmul(reshape(q, {batch, s.kv_heads, group * rows, s.key_dim}) * scale, transpose(k));
    logits = reshape(logits, {batch, s.heads, rows, keys});
    if (causal) logits = logits + ctx.constant(hidden(rows, keys), {rows, keys});
    return softmax(logits);
  }
  /// 0 where row i, at position i + keys - rows, sees key j; else -inf.
  static std::vector<double> hidden(int64_t rows, int64_t keys) {
    std::vector<double> mask(static_cast<size_t>(rows * keys), 0);
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = i + keys - rows + 1; j < keys; ++j)
        mask[static_cast<size_t>(i * keys + j)] = -INFINITY;
    }
    return mask;
  }

  /// Weights, and over their rows: entropy -sum p log(p + 1e-7), also as a share of the visible keys'
  /// logarithm, the largest weight, and the share of visible keys with a weight below 0.01.
  void report(const attnlab::Context& ctx, const Var& weights, bool causal) const {
    ctx.report_intermediate("scores", weights);
    const Var entropy = -sum(weights * log(weights + 1e-7), -1);
    const int64_t rows = weights.size(2), keys = weights.size(3);
    std::vector<double> visible(static_cast<size_t>(rows)), most(static_cast<size_t>(rows));
    double pairs = 0;
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t seen = causal ? i + keys - rows + 1 : keys;
      visible[static_cast<size_t>(i)] = static_cast<double>(seen);
      most[static_cast<size_t>(i)] = seen > 1 ? 1 / std::log(static_cast<double>(seen)) : 0;
      pairs += static_cast<double>(seen);
    }
    const double heads = static_cast<double>(weights.size(0) * weights.size(1));
    const double row_count = heads * static_cast<double>(rows);
    const Var small = sum(1.0 - apply("greater_equal", {weights, scalar(weights, 0.01)}));
    const double hidden_pairs = heads * (static_cast<double>(rows * keys) - pairs);
    ctx.report_metric("attention_entropy", sum(entropy) / row_count);
    ctx.report_metric("attention_entropy_share", sum(entropy * ctx.constant(most, {rows, 1})) / row_count);
    ctx.report_metric("attention_largest", sum(apply("max", {weights}, {{"axis", -1}})) / row_count);
    ctx.report_metric("attention_sparsity", (small - hidden_pairs) / (heads * pairs));
    ctx.report_metric("mean_attention_score", sum(weights) / (heads * pairs));
  }

  Var finished(const attnlab::Context& ctx, const Shape& s, const Var& x, const Var& heads) const {
    Var y = project(ctx, "c_proj", merge_heads(heads));
    ctx.report_intermediate("attn_out_before_residual", y);
    const char* names[] = {"", "relu", "gelu", "tanh", "silu"};
    if (activation != ResidualActivation::none) y = apply(names[static_cast<size_t>(activation)], {y});
    if (residual) {
      if (x.size(-1) != s.out_dim)
        throw std::runtime_error("the residual needs inputs of as many channels as outputs");
      y = y + x;
    }
    if (norm == NormOrder::post)
      y = layer_norm(y, ctx.parameter("ln.weight"), ctx.parameter("ln.bias"), norm_epsilon);
    return y;
  }
};

ATTNLAB_PLUGIN(MultiHeadAttention);
