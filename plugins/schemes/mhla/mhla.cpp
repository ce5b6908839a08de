#include "mhla.hpp"

#include <cmath>

namespace mhla {

using attnlab::ParameterError;

void MultiHeadLinearAttention::describe(attnlab::Description<MultiHeadLinearAttention>& d) {
  using Self = MultiHeadLinearAttention;
  d.id("mhla")
      .summary("Linear attention over blocks whose summaries each query block mixes with weights of its own.")
      .paper("arXiv:2601.07832");
  d.parameter("feature_map", &Self::map)
      .doc("What queries and keys become, element by element.")
      .names(attnlab::kFeatureMapNames);
  d.parameter("feature_epsilon", &Self::feature_epsilon).doc("Added to every feature.").at_least(0);
  d.parameter("block_size", &Self::block_size)
      .doc("Tokens of a block; 0: 64, unless token_heads or grid say how many blocks there are.")
      .unit("tokens")
      .at_least(0)
      .sweep({16, 32, 64, 128});
  d.parameter("token_heads", &Self::token_heads)
      .doc("Blocks into which a whole sequence falls; strided: groups; 0: by block_size. No decoding.")
      .at_least(0);
  d.parameter("grid", &Self::grid)
      .doc("Rows and columns of blocks that lie in a plane; empty: blocks lie on a line.");
  d.parameter("image", &Self::image)
      .doc("Rows and columns of tokens in raster order, to be cut into the grid; empty: block after block.");
  d.parameter("grouping", &Self::grouping)
      .doc("contiguous blocks, or strided: token t in group t mod token_heads, and groups are not mixed.")
      .names({"contiguous", "strided"});
  d.parameter("mixing", &Self::mixing)
      .doc("Weights of the summaries; low_rank and relative decode with a constant state.")
      .names({"local", "uniform", "learned", "low_rank", "relative"});
  d.parameter("init", &Self::init).doc("learned: what the weights start as.").names({"local", "uniform"});
  d.parameter("blocks", &Self::blocks)
      .doc("Blocks for which there are weights; 0: token_heads or the grid, else 32 where they are learned.")
      .at_least(0);
  d.parameter("rank", &Self::rank)
      .doc("low_rank: rank of the weights; relative: exponentials of the block distance.")
      .range(1, 1024);
  d.parameter("per_head", &Self::per_head).doc("Learned weights for each KV head instead of one for all.");
  d.parameter("parametrisation", &Self::parametrisation)
      .doc("How learned weights stay positive: softplus, exp, clamp at 0; free: they need not.")
      .names({"softplus", "exp", "clamp", "free"});
  d.parameter("normalise_mixing", &Self::normalise_mixing)
      .doc("What sums to 1: nothing, the weights of a query block, of a key block, or a softmax's row.")
      .names({"none", "row", "column", "softmax"});
  d.parameter("normaliser", &Self::normaliser)
      .doc("Denominator of the outputs: none, that of equation 4, or the released vision code's.")
      .names({"none", "eq4", "released"});
  d.parameter("epsilon", &Self::epsilon)
      .doc("Added to the denominator; 0: a row whose denominator is 0 is 0.")
      .at_least(0);
  d.parameter("scale", &Self::scale)
      .doc("Of the queries' features; 0: 1, without normaliser that of the layer's logits.")
      .at_least(0);
}

void MultiHeadLinearAttention::prepare() {
  if (epsilon > 0 && !normalises()) throw ParameterError("epsilon", "has no meaning with normaliser none");
  grouping == Grouping::strided ? prepare_strided() : prepare_blocks();
}

void MultiHeadLinearAttention::prepare_strided() const {
  if (token_heads == 0) throw ParameterError("token_heads", "is wanted: the groups of grouping strided");
  const std::pair<const char*, bool> others[] = {
      {"block_size", block_size != 0}, {"blocks", blocks != 0},
      {"grid", !grid.empty()},         {"image", !image.empty()},
      {"per_head", per_head},          {"normaliser", normaliser == Normaliser::released}};
  for (const auto& [key, is_set] : others) {
    if (is_set) throw ParameterError(key, "belongs to grouping contiguous: strided groups are not mixed");
  }
}

void MultiHeadLinearAttention::prepare_blocks() const {
  const std::pair<const char*, const std::vector<int64_t>*> planes[] = {{"grid", &grid}, {"image", &image}};
  for (const auto& [key, extents] : planes) {
    if (extents->empty()) continue;
    if (extents->size() != 2 || *std::min_element(extents->begin(), extents->end()) < 1)
      throw ParameterError(key, "wants two numbers of at least 1: rows and columns");
  }
  if (block_size > 0 && token_heads > 0)
    throw ParameterError("token_heads", "and block_size both say how long a block is: set one of them");
  if (!grid.empty() && token_heads > 0)
    throw ParameterError("token_heads", "is given by the grid already: " + std::to_string(grid_blocks()));
  if (blocks > 0 && (!grid.empty() || token_heads > 0))
    throw ParameterError("blocks", std::string("is given by ") + (grid.empty() ? "token_heads" : "the grid"));
  if (!image.empty()) {
    if (grid.empty()) throw ParameterError("image", "needs a grid of blocks to be cut into");
    if (block_size > 0) throw ParameterError("block_size", "is given by image and grid");
    for (size_t axis = 0; axis < 2; ++axis) {
      if (image[axis] < grid[axis])
        throw ParameterError("image/" + std::to_string(axis), "is less than the grid's blocks there");
    }
  }
  const bool column = normalise_mixing == NormaliseMixing::column;
  if (carries() && (column || normalise_mixing == NormaliseMixing::softmax)) {
    throw ParameterError(
        "normalise_mixing",
        "is none or row for mixing low_rank and relative: their other sums need every block");
  }
  if (normalise_mixing == NormaliseMixing::softmax && mixing != MixingKind::learned)
    throw ParameterError("normalise_mixing", "softmax is for mixing learned");
  if (mixing == MixingKind::relative && blocks > 0)
    throw ParameterError("blocks", "has no meaning for mixing relative, which has weights for any distance");
  if (mixing == MixingKind::relative && !grid.empty())
    throw ParameterError("grid",
                         "has no meaning for mixing relative, whose distances are of blocks on a line");
}

void MultiHeadLinearAttention::declare(attnlab::Declaration& d) const {
  if (grouping == Grouping::strided) return;
  auto tensor = [&](const char* name, std::vector<int64_t> shape, const attnlab::Init& start) {
    if (per_head) shape.insert(shape.begin(), d.kv_heads());
    d.parameter(name, shape, start);
  };
  const int64_t table = table_blocks();
  if (mixing == MixingKind::learned) tensor("mixing", {table, table}, {.rule = "zeros"});
  // Equal factors would stay equal: they start a little apart.
  const attnlab::Init apart{.rule = "normal", .scale = 0.1};
  if (mixing == MixingKind::low_rank) {
    tensor("mixing_query", {table, rank}, apart);
    tensor("mixing_key", {table, rank}, apart);
  }
  if (mixing == MixingKind::relative) {
    tensor("mixing_weight", {rank}, {.rule = "zeros"});
    tensor("mixing_rate", {rank}, {.rule = "zeros"});
  }
}

Var MultiHeadLinearAttention::forward(Context& ctx, Var q, Var k, Var v) const {
  const Var query = query_features(ctx, q), key = key_features(k);
  report_state(ctx, q.size(-1) * (v.size(-1) + (normalises() ? 1 : 0)));
  if (grouping == Grouping::strided) return strided(ctx, nullptr, query, key, v);
  if (!ctx.causal()) return full_blocks(ctx, query, key, v);
  if (normaliser == Normaliser::released) {
    throw ParameterError(
        "normaliser", "released is not causal: each denominator has terms of other blocks' queries; eq4 is");
  }
  if (!image.empty())
    throw ParameterError("image", "cuts a plane into blocks, which have no causal order in the sequence");
  return causal_blocks(ctx, nullptr, query, key, v, 0);
}

Var MultiHeadLinearAttention::step(Context& ctx, State& state, Var q, Var k, Var v) const {
  if (!ctx.causal()) throw std::runtime_error("decoding needs a causal layer");
  const Var query = query_features(ctx, q), key = key_features(k);
  if (grouping == Grouping::strided) return strided(ctx, &state, query, key, v);
  if (block_size == 0 && (token_heads > 0 || !grid.empty())) {
    throw ParameterError(
        token_heads > 0 ? "token_heads" : "grid",
        "makes blocks of a whole sequence: for decoding set block_size, and blocks beside it");
  }
  if (normaliser == Normaliser::released)
    throw ParameterError("normaliser", "released is not causal, so it cannot be decoded step by step");
  return step_blocks(ctx, state, query, key, v);
}

/// What decoding keeps of a sequence, in numbers: `channels` are those of a summary with its key sum.
void MultiHeadLinearAttention::report_state(const Context& ctx, int64_t channels) const {
  const bool by_length =
      grouping == Grouping::contiguous && block_size == 0 && (token_heads > 0 || !grid.empty());
  if (!ctx.causal() || by_length) return;  // there is no decoding
  const double summary = static_cast<double>(ctx.kv_heads() * channels);
  double fixed = 2, growing = 0;
  if (grouping == Grouping::strided) {
    fixed = static_cast<double>(token_heads);
  } else if (carries()) {
    fixed = static_cast<double>(rank) + 2;
  } else {
    growing = 1 / static_cast<double>(partition(1).block);
  }
  ctx.report_metric("state_elements", ctx.constant(fixed * summary));
  ctx.report_metric("state_elements_per_token", ctx.constant(growing * summary));
}

Var MultiHeadLinearAttention::key_features(const Var& k) const {
  const Var features = attnlab::feature_map(map, k);
  return feature_epsilon > 0 ? features + feature_epsilon : features;
}

Var MultiHeadLinearAttention::query_features(const Context& ctx, const Var& q) const {
  const double factor = scale > 0 ? scale : normalises() ? 1 : ctx.scale();
  return factor == 1 ? key_features(q) : key_features(q) * factor;
}

Var MultiHeadLinearAttention::with_ones(const Var& v) const {
  if (!normalises()) return v;
  std::vector<int64_t> shape = v.shape();
  shape.back() = 1;
  return concat(v, broadcast(scalar(v, 1), shape));
}

Var MultiHeadLinearAttention::causal_rows(const Var& q, const Var& k, const Var& v, const Var& v_ones,
                                          const Var& sums) const {
  if (!normalises() || epsilon > 0)
    return divided(linear_attend(q, k, v_ones, {.causal = true, .normalise = false, .state = sums}));
  attnlab::LinearAttend options{.causal = true, .normalise = true};
  if (sums) {
    const auto [state, key_sum] = split(sums, v.size(-1));
    options.state = state;
    options.key_sum = reshape(key_sum, {sums.size(0), sums.size(1), sums.size(2)});
  }
  return linear_attend(q, k, v, options);
}

Var MultiHeadLinearAttention::divided(const Var& sums) const {
  if (!normalises()) return sums;
  const auto [numerator, denominator] = split(sums, sums.size(-1) - 1);
  return divided(numerator, denominator);
}

Var MultiHeadLinearAttention::divided(const Var& numerator, const Var& denominator) const {
  const Var d = epsilon > 0 ? denominator + epsilon : denominator;
  const Var is_zero = attnlab::apply("equal", {d, scalar(d, 0)});
  const Var quotient = numerator / select(is_zero, scalar(d, 1), d);
  return select(is_zero, scalar(d, 0), quotient);
}

Var by_kv_head(const Var& x, int64_t kv_heads) {
  const auto s = x.shape();
  return permute(reshape(x, {s[0], kv_heads, s[1] / kv_heads, s[2], s[3], s[4]}), {0, 1, 3, 2, 4, 5});
}

Var visible(const Context& ctx, int64_t first, int64_t rows, int64_t columns, bool strictly) {
  std::vector<double> plane(static_cast<size_t>(rows * columns), 0);
  for (int64_t a = 0; a < rows; ++a) {
    const int64_t end = std::min(columns, a + first + (strictly ? 0 : 1));
    std::fill_n(plane.begin() + a * columns, end, 1.0);
  }
  return ctx.constant(plane, {rows, columns});
}

}  // namespace mhla

ATTNLAB_PLUGIN(mhla::MultiHeadLinearAttention);
