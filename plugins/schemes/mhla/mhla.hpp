// Multi-head linear attention (arXiv:2601.07832): blocks of tokens are summarised as in linear attention, and
// each block of queries reads a mixture of the summaries. One class in four files: mhla.cpp (parameters,
// forward and step), mixing.cpp (weights of the mixture), blocks.cpp (contiguous blocks), strided.cpp (the
// seed's groups).
#pragma once

#include <attnlab/feature_map.hpp>
#include <attnlab/scheme.hpp>

#include <algorithm>
#include <string>
#include <vector>

namespace mhla {

using attnlab::Context, attnlab::State, attnlab::Var;

enum class Grouping { contiguous, strided };
enum class MixingKind { local, uniform, learned, low_rank, relative };
enum class MixingInit { local, uniform };
enum class Parametrisation { softplus, exponential, clamp, free };
enum class NormaliseMixing { none, row, column, softmax };
enum class Normaliser { none, eq4, released };

/// How a sequence falls into blocks.
struct Partition {
  int64_t tokens, block, count;  ///< the last block may be partial
};

/// Weights of key blocks [0, columns) for some query blocks, the shape being [rows, columns] or [KV heads,
/// rows, columns]; 0 where a query block does not see a key block.
struct Weights {
  Var values;
  Var row_sums;  ///< by which rows were divided, [..., rows, 1]; empty: they were not
};

/// Keys and values by block.
struct KeyBlocks {
  Var k;        ///< features [B, KV heads, blocks, block, d]; 0 beyond the last token
  Var v;        ///< [B, KV heads, blocks, block, dv]
  Var v_ones;   ///< v, with a channel of ones when outputs are normalised: [..., e]
  Var summary;  ///< S_b, with z_b as its last column: [B, KV heads, blocks, d, e]
};

struct MultiHeadLinearAttention : attnlab::AttentionScheme {
  int64_t token_heads = 0, block_size = 0, blocks = 0;
  std::vector<int64_t> grid, image;
  Grouping grouping = Grouping::contiguous;
  attnlab::FeatureMap map = attnlab::FeatureMap::elu_plus_one;
  double feature_epsilon = 0, epsilon = 0, scale = 0;
  Normaliser normaliser = Normaliser::eq4;
  MixingKind mixing = MixingKind::learned;
  MixingInit init = MixingInit::local;
  Parametrisation parametrisation = Parametrisation::softplus;
  NormaliseMixing normalise_mixing = NormaliseMixing::row;
  bool per_head = false;
  int64_t rank = 4;

  static void describe(attnlab::Description<MultiHeadLinearAttention>& d);
  void prepare();
  void declare(attnlab::Declaration& d) const;
  Var forward(Context& ctx, Var q, Var k, Var v) const;
  Var step(Context& ctx, State& state, Var q, Var k, Var v) const;

 private:
  // mhla.cpp
  void prepare_strided() const;
  void prepare_blocks() const;
  void report_state(const Context& ctx, int64_t channels) const;
  Var query_features(const Context& ctx, const Var& q) const;
  Var key_features(const Var& k) const;
  bool normalises() const { return normaliser != Normaliser::none; }
  /// v, with a channel of ones that sums up the denominators when outputs are normalised.
  Var with_ones(const Var& v) const;
  /// Causal linear attention of [B, heads, tokens, channels] after sums [B, heads, d, e]; empty: none.
  Var causal_rows(const Var& q, const Var& k, const Var& v, const Var& v_ones, const Var& sums) const;
  /// Rows of numerators, whose last channel is the denominator when outputs are normalised.
  Var divided(const Var& sums) const;
  Var divided(const Var& numerator, const Var& denominator) const;

  // mixing.cpp
  int64_t grid_blocks() const { return grid.empty() ? 0 : grid[0] * grid[1]; }
  /// Blocks for which there are weights; 0: any number.
  int64_t table_blocks() const;
  bool carries() const { return mixing == MixingKind::low_rank || mixing == MixingKind::relative; }
  void require_blocks(int64_t count) const;
  double locality(int64_t i, int64_t b, int64_t reference, bool causal) const;
  std::vector<double> start(bool causal, int64_t first, int64_t rows, int64_t columns, int64_t present) const;
  Var positive(const Context& ctx, const Var& free, std::vector<double> base,
               const std::vector<int64_t>& shape) const;
  Var weight_factor(const Context& ctx, const char* name, int64_t first, int64_t rows) const;
  Var decay_rates(const Context& ctx) const;
  Var raw_weights(const Context& ctx, int64_t first, int64_t rows, int64_t columns, int64_t present) const;
  Var column_sums(const Context& ctx, int64_t columns, int64_t present) const;
  /// `present`: blocks of a whole sequence, for which alone the full mixing is defined.
  Weights mixing_weights(const Context& ctx, int64_t first, int64_t rows, int64_t columns,
                         int64_t present) const;
  /// Mixing of constant state: P_i = sum_r read_ir R_r, R = decay R + write S, [..., rows, rank] and so on.
  Var carry_read(const Context& ctx, int64_t first, int64_t rows) const;
  Var carry_write(const Context& ctx, int64_t first, int64_t rows) const;
  Var carry_decay(const Context& ctx, int64_t rows) const;

  // blocks.cpp
  Partition partition(int64_t tokens) const;
  Var to_blocks(const Var& x, const Partition& p) const;
  Var from_blocks(const Var& x, const Partition& p) const;
  KeyBlocks key_blocks(const Var& k, const Var& v, const Partition& p) const;
  Var full_blocks(const Context& ctx, const Var& q, const Var& k, const Var& v) const;
  Var causal_blocks(const Context& ctx, const State* state, const Var& q, const Var& k, const Var& v,
                    int64_t past) const;
  Var prefixes(const Context& ctx, const State* state, const Weights& weights, const Var& summary,
               int64_t first) const;
  void keep_blocks(const Context& ctx, const State& state, const Var& summary, const Var& prefix,
                   int64_t first, int64_t complete) const;
  void complete_blocks(const Context& ctx, const State& state, const Var& summary, int64_t first) const;
  Var open_block(const Context& ctx, const State& state, const Var& q, const Var& k, const Var& v) const;
  Var step_blocks(const Context& ctx, const State& state, const Var& q, const Var& k, const Var& v) const;

  // strided.cpp
  Var strided(const Context& ctx, const State* state, const Var& q, const Var& k, const Var& v) const;
};

/// Blocks of heads [B, H, M, C, d] as the rows of their KV heads: [B, KV heads, M, H / KV heads, C, d].
Var by_kv_head(const Var& x, int64_t kv_heads);
/// Where b <= a + first, or b < a + first: 1, else 0; [rows, columns].
Var visible(const Context& ctx, int64_t first, int64_t rows, int64_t columns, bool strictly);

}  // namespace mhla
