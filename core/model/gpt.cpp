#include "core/model/gpt.hpp"

#include <attnlab/philox.hpp>

#include <algorithm>

#include "core/base/error.hpp"

namespace attnlab::model {
namespace {

using graph::Array;
using graph::Element;
using graph::Graph;

std::string block_name(int64_t layer) {
  return "transformer.h." + std::to_string(layer) + ".";
}

/// The parts of a pass that are not attention.
class Parts {
 public:
  Parts(const GptShape& shape, const Graph& graph, const Bound& parameters, bool training, uint64_t rng_key)
      : shape_(shape), graph_(graph), parameters_(parameters), training_(training), random_(rng_key, 1) {}

  Var parameter(const std::string& name) const {
    const graph::NodePtr node = parameters_.find(name);
    return node ? graph_.share(node.get()) : Var();
  }
  Var linear(const Var& x, const std::string& name, const char* activation = "none") const {
    return attnlab::linear(x, parameter(name + ".weight"), parameter(name + ".bias"), activation);
  }
  Var norm(const Var& x, const std::string& name) const {
    const Var weight = parameter(name + ".weight");
    return shape_.norm == Norm::rms ? rms_norm(x, weight, 1e-5)
                                    : layer_norm(x, weight, parameter(name + ".bias"), 1e-5);
  }
  Var dropped(const Var& x) {
    const uint64_t key = random_.next_u64();
    return training_ ? dropout(x, shape_.dropout, key) : x;
  }
  Var mlp(const Var& x, const std::string& block) {
    const std::string name = block + "mlp.";
    const Var hidden = shape_.mlp == Mlp::gelu
                           ? linear(x, name + "c_fc", "gelu")
                           : linear(x, name + "c_gate", "silu") * linear(x, name + "c_fc");
    return dropped(linear(hidden, name + "c_proj"));
  }
  Var embedding(const TokenBlock& input, int64_t past) {
    Array ids(Element::i64, {input.batch, input.tokens});
    std::copy(input.ids.begin(), input.ids.end(), ids.mutable_data<int64_t>());
    Var x = gather(parameter("transformer.wte.weight"), graph_.constant(ids), 0);
    if (shape_.position == Position::learned)
      x = x + slice(parameter("transformer.wpe.weight"), 0, past, past + input.tokens);
    return dropped(x);
  }

 private:
  const GptShape& shape_;
  const Graph& graph_;
  const Bound& parameters_;
  bool training_;
  attnlab::Philox random_;
};

void declare_parts(const GptShape& s, ParameterSet& set) {
  auto matrix = [&](const std::string& name, int64_t out, int64_t in, bool residual) {
    set.add("", {name + ".weight", {out, in}, "normal", 0.02, residual});
    if (s.bias) set.add("", {name + ".bias", {out}, "zeros", 0, false});
  };
  auto norm = [&](const std::string& name) {
    set.add("", {name + ".weight", {s.embed_dim}, "ones", 1, false});
    if (s.bias && s.norm == Norm::layer) set.add("", {name + ".bias", {s.embed_dim}, "zeros", 0, false});
  };
  set.add("", {"transformer.wte.weight", {s.vocabulary, s.embed_dim}, "normal", 0.02, false});
  if (s.position == Position::learned)
    set.add("", {"transformer.wpe.weight", {s.block, s.embed_dim}, "normal", 0.02, false});
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    const std::string block = block_name(layer);
    norm(block + "ln_1");
    norm(block + "ln_2");
    if (s.mlp == Mlp::swiglu) matrix(block + "mlp.c_gate", s.hidden(), s.embed_dim, false);
    matrix(block + "mlp.c_fc", s.hidden(), s.embed_dim, false);
    matrix(block + "mlp.c_proj", s.embed_dim, s.hidden(), true);
  }
  norm("transformer.ln_f");
  if (!s.tied_head) set.add("", {"lm_head.weight", {s.vocabulary, s.embed_dim}, "normal", 0.02, false});
}

}  // namespace

int64_t GptShape::hidden() const {
  if (mlp_dim > 0) return mlp_dim;
  return mlp == Mlp::gelu ? 4 * embed_dim : (8 * embed_dim + 2) / 3;
}

uint64_t DecodeState::bytes() const {
  uint64_t total = 0;
  for (const LayerState& layer : layers) total += layer.bytes();
  return total;
}

Gpt::Gpt(const GptShape& shape, const std::vector<std::shared_ptr<const plugin::Scheme>>& schemes,
         Element precision)
    : shape_(shape), parameters_(precision) {
  ATTNLAB_CHECK(static_cast<int64_t>(schemes.size()) == shape.layers, "one scheme per layer");
  declare_parts(shape_, parameters_);
  const Lift lift{shape.bias, shape.position == Position::rope, shape.rope_theta};
  for (int64_t layer = 0; layer < shape.layers; ++layer) {
    plugin::SchemeGeometry geometry;
    geometry.layer = static_cast<int32_t>(layer);
    geometry.embed_dim = shape.embed_dim;
    geometry.query_heads = shape.query_heads, geometry.kv_heads = shape.kv_heads;
    geometry.head_dim = geometry.value_dim = shape.head_dim();
    layers_.emplace_back(schemes[static_cast<size_t>(layer)], geometry, lift, block_name(layer) + "attn.",
                         parameters_);
  }
}

Pass Gpt::run(const TokenBlock& input, bool training, uint64_t rng_key, DecodeState* state) const {
  Pass pass;
  pass.parameters = std::make_unique<Bound>(parameters_, training);
  pass.graph = std::make_unique<Graph>(parameters_.precision());
  const int64_t past = state != nullptr ? state->length : 0;
  ATTNLAB_CHECK(past + input.tokens <= shape_.block || shape_.position != Position::learned,
                "more positions than the model has");
  Parts parts(shape_, *pass.graph, *pass.parameters, training, rng_key);
  Var x = parts.embedding(input, past);
  for (size_t i = 0; i < layers_.size(); ++i) {
    const AttentionLayer& layer = layers_[i];
    const std::string block = block_name(static_cast<int64_t>(i));
    pass.layers.push_back(
        std::make_unique<LayerGraph>(parameters_.precision(), layer, *pass.parameters, *pass.reports));
    const Graph& graph = pass.layers.back()->graph();
    const plugin::SchemeCall call{input.batch, input.tokens, past, training, attnlab::mix_key(rng_key, 2, i)};
    const Var normed = parts.norm(x, block + "ln_1");
    const Var attended = state != nullptr ? layer.step(graph, call, state->layers[i], normed)
                                          : layer.forward(graph, call, {&normed, 1});
    x = x + parts.dropped(attended);
    x = x + parts.mlp(parts.norm(x, block + "ln_2"), block);
  }
  const Var head = parts.parameter(shape_.tied_head ? "transformer.wte.weight" : "lm_head.weight");
  pass.logits = linear(parts.norm(x, "transformer.ln_f"), head);
  if (state != nullptr) state->length += input.tokens;
  return pass;
}

Pass Gpt::forward(const TokenBlock& input, bool training, uint64_t rng_key) const {
  return run(input, training, rng_key, nullptr);
}

Pass Gpt::step(const TokenBlock& input, DecodeState& state) const {
  return run(input, false, 0, &state);
}

}  // namespace attnlab::model
