// A decoder-only transformer whose attention layers are schemes (GPT-2 with the usual choices).
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/model/layer.hpp"
#include "core/model/parameters.hpp"

namespace attnlab::model {

enum class Norm : uint8_t { layer, rms };
enum class Position : uint8_t { learned, rope, none };
enum class Mlp : uint8_t { gelu, swiglu };

/// Extents and choices. Defaults are those of the small character model.
struct GptShape {
  int64_t vocabulary = 0;
  int64_t block = 64;  ///< longest sequence
  int64_t layers = 4;
  int64_t embed_dim = 128;
  int64_t query_heads = 4, kv_heads = 4;
  Norm norm = Norm::layer;
  Position position = Position::learned;
  Mlp mlp = Mlp::gelu;
  int64_t mlp_dim = 0;  ///< hidden width; 0: 4 embed_dim, of swiglu 8/3 embed_dim
  bool bias = false;
  bool tied_head = true;
  double dropout = 0;
  double rope_theta = 10000;

  int64_t head_dim() const { return embed_dim / query_heads; }
  int64_t hidden() const;
};

/// What one pass made. Nodes live as long as this object.
struct Pass {
  std::unique_ptr<Bound> parameters;
  // Before the values, which name the graphs as long as they live.
  std::unique_ptr<graph::Graph> graph;
  std::vector<std::unique_ptr<LayerGraph>> layers;

  Var logits;  ///< [batch, tokens, vocabulary]
  std::unique_ptr<std::vector<Report>> reports = std::make_unique<std::vector<Report>>();
};

/// What decoding keeps: one state per layer.
struct DecodeState {
  std::vector<LayerState> layers;
  int64_t length = 0;  ///< positions kept

  uint64_t bytes() const;
};

/// Tokens of a pass.
struct TokenBlock {
  int64_t batch = 0, tokens = 0;
  std::span<const int64_t> ids;  ///< [batch, tokens], each below the vocabulary
};

/// The model: structure and parameters. Passes may run at the same time while nobody writes the parameters.
/// Parameter names are nanoGPT's: transformer.wte.weight, transformer.h.0.attn.<of the scheme> ....
class Gpt {
 public:
  /// `schemes`: one per layer. Throws base::UserError for what a scheme refuses. [main thread]
  Gpt(const GptShape& shape, const std::vector<std::shared_ptr<const plugin::Scheme>>& schemes,
      graph::Element precision = graph::Element::f32);

  const GptShape& shape() const { return shape_; }
  ParameterSet& parameters() { return parameters_; }
  const ParameterSet& parameters() const { return parameters_; }
  const std::vector<AttentionLayer>& layers() const { return layers_; }
  /// See AttentionLayer::select_keys.
  void select_keys(int64_t layer, std::shared_ptr<const graph::KeySelector> selector) {
    layers_.at(static_cast<size_t>(layer)).select_keys(std::move(selector));
  }

  /// `training`: gradients will be asked for and dropout drops; `rng_key` then decides what.
  Pass forward(const TokenBlock& input, bool training = false, uint64_t rng_key = 0) const;
  /// Logits of `input.tokens` new positions after those in `state`, which takes them up.
  Pass step(const TokenBlock& input, DecodeState& state) const;
  DecodeState new_state() const { return {std::vector<LayerState>(layers_.size()), 0}; }

 private:
  Pass run(const TokenBlock& input, bool training, uint64_t rng_key, DecodeState* state) const;

  GptShape shape_;
  ParameterSet parameters_;
  std::vector<AttentionLayer> layers_;
};

}  // namespace attnlab::model
