// Weights m_ib >= 0 of key block b for query block i. They depend on the blocks' places alone, never on what
// the blocks hold.
#include "mhla.hpp"

#include <cmath>

namespace mhla {

using attnlab::ParameterError;

namespace {

/// An exact 0 has no inverse under softplus and exp, and no slope under a clamp: weights start at this or
/// more.
constexpr double kLeastStart = 0.01;

/// log(1 + e^x), which is x beyond 30 in every precision here.
Var softplus(const Var& x) {
  return log(1 + exp(minimum(x, scalar(x, 30)))) + relu(x - 30);
}

std::vector<int64_t> with_heads(const Var& like, int64_t rank, std::vector<int64_t> shape) {
  const auto extents = like.shape();
  if (static_cast<int64_t>(extents.size()) > rank) shape.insert(shape.begin(), extents[0]);
  return shape;
}

/// Sums to divide by: those of nothing but zeros become 1.
Var divisors(const Var& sums) {
  return select(attnlab::apply("equal", {sums, scalar(sums, 0)}), scalar(sums, 1), sums);
}

}  // namespace

int64_t MultiHeadLinearAttention::table_blocks() const {
  if (blocks > 0) return blocks;
  if (!grid.empty()) return grid_blocks();
  if (token_heads > 0) return token_heads;
  return mixing == MixingKind::learned || mixing == MixingKind::low_rank ? 32 : 0;
}

void MultiHeadLinearAttention::require_blocks(int64_t count) const {
  const int64_t table = table_blocks();
  const bool column = normalise_mixing == NormaliseMixing::column;
  const bool bound = mixing != MixingKind::relative && (mixing != MixingKind::uniform || column);
  if (!bound || table == 0 || count <= table) return;
  throw ParameterError(grid.empty() ? "blocks" : "grid",
                       "has weights for " + std::to_string(table) + " blocks, the sequence needs " +
                           std::to_string(count) + " of " + std::to_string(partition(1).block) +
                           " tokens: raise it or block_size, or use mixing relative, which has no end");
}

/// 1 - dist(i, b) / max_k dist(i, k) over the blocks k < reference, in a causal sequence without end over
/// k <= i.
double MultiHeadLinearAttention::locality(int64_t i, int64_t b, int64_t reference, bool causal) const {
  auto distance = [&](int64_t x, int64_t y) {
    if (grid.empty()) return std::abs(static_cast<double>(x - y));
    return std::hypot(static_cast<double>(x / grid[1] - y / grid[1]),
                      static_cast<double>(x % grid[1] - y % grid[1]));
  };
  const int64_t last = causal && reference == 0 ? i : reference - 1;
  // The farthest block of a rectangle is one of its corners.
  double most = std::max(distance(i, 0), distance(i, last));
  if (!grid.empty()) most = std::max({most, distance(i, grid[1] - 1), distance(i, last - (grid[1] - 1))});
  return most == 0 ? 1 : 1 - distance(i, b) / most;
}

/// First values of a part of the weights, which are the weights where nothing is learned.
std::vector<double> MultiHeadLinearAttention::start(bool causal, int64_t first, int64_t rows, int64_t columns,
                                                    int64_t present) const {
  const bool local =
      mixing == MixingKind::local || (mixing == MixingKind::learned && init == MixingInit::local);
  std::vector<double> values(static_cast<size_t>(rows * columns), 1);
  if (!local) return values;
  const int64_t table = table_blocks(), reference = table > 0 ? table : causal ? 0 : present;
  for (int64_t a = 0; a < rows; ++a) {
    for (int64_t b = 0; b < columns; ++b) {
      values[static_cast<size_t>(a * columns + b)] = locality(first + a, b, reference, causal);
    }
  }
  return values;
}

/// A positive function of a free tensor that is `base` where the tensor is 0.
Var MultiHeadLinearAttention::positive(const Context& ctx, const Var& free, std::vector<double> base,
                                       const std::vector<int64_t>& shape) const {
  if (parametrisation != Parametrisation::free) {
    for (double& value : base) value = std::max(value, kLeastStart);
  }
  if (parametrisation == Parametrisation::softplus) {
    for (double& value : base) value = std::log(std::expm1(value));
  }
  const Var origin = ctx.constant(base, shape);
  switch (parametrisation) {
    case Parametrisation::softplus:
      return softplus(origin + free);
    case Parametrisation::exponential:
      return origin * exp(free);
    case Parametrisation::clamp:
      return relu(origin + free);
    case Parametrisation::free:
      break;
  }
  return origin + free;
}

/// Blocks first, first + 1 ... of a factor of the low-rank weights, [..., rows, rank]; their product starts
/// near 1.
Var MultiHeadLinearAttention::weight_factor(const Context& ctx, const char* name, int64_t first,
                                            int64_t rows) const {
  const std::vector<double> base(static_cast<size_t>(rows * rank), 1 / std::sqrt(static_cast<double>(rank)));
  return positive(ctx, slice(ctx.parameter(name), -2, first, first + rows), base, {rows, rank});
}

/// Rates [..., rank, 1] by which the exponentials of the block distance decay: their half-lives start at 1,
/// 2, 4 ... blocks.
Var MultiHeadLinearAttention::decay_rates(const Context& ctx) const {
  std::vector<double> base(static_cast<size_t>(rank));
  for (size_t r = 0; r < base.size(); ++r) base[r] = std::log(2) * std::pow(0.5, static_cast<double>(r));
  const Var free = ctx.parameter("mixing_rate");
  return reshape(ctx.constant(base, {rank}) * exp(free), with_heads(free, 1, {rank, 1}));
}

Var MultiHeadLinearAttention::raw_weights(const Context& ctx, int64_t first, int64_t rows, int64_t columns,
                                          int64_t present) const {
  switch (mixing) {
    case MixingKind::local:
    case MixingKind::uniform:
      return ctx.constant(start(ctx.causal(), first, rows, columns, present), {rows, columns});
    case MixingKind::learned: {
      const Var table = slice(slice(ctx.parameter("mixing"), -2, first, first + rows), -1, 0, columns);
      return positive(ctx, table, start(ctx.causal(), first, rows, columns, present), {rows, columns});
    }
    case MixingKind::low_rank: {
      return matmul(weight_factor(ctx, "mixing_query", first, rows),
                    transpose(weight_factor(ctx, "mixing_key", 0, columns)));
    }
    case MixingKind::relative:
      break;
  }
  std::vector<double> distance(static_cast<size_t>(rows * columns));
  for (int64_t a = 0; a < rows; ++a) {
    for (int64_t b = 0; b < columns; ++b) {
      // What is not visible is no matter, but must not overflow.
      distance[static_cast<size_t>(a * columns + b)] = static_cast<double>(std::abs(first + a - b));
    }
  }
  const Var rates = decay_rates(ctx);
  const Var decayed = exp(-(rates * ctx.constant(distance, {1, rows * columns})));
  const Var free = ctx.parameter("mixing_weight");
  const std::vector<double> base(static_cast<size_t>(rank), 1 / static_cast<double>(rank));
  const Var amounts = reshape(positive(ctx, free, base, {rank}), with_heads(free, 1, {1, rank}));
  return reshape(matmul(amounts, decayed), with_heads(free, 1, {rows, columns}));
}

/// Sums over the query blocks that see each of the first `columns` key blocks, [..., 1, columns].
Var MultiHeadLinearAttention::column_sums(const Context& ctx, int64_t columns, int64_t present) const {
  const int64_t rows = ctx.causal() ? table_blocks() : present;
  if (rows == 0) {
    throw ParameterError("normalise_mixing",
                         "column of a causal layer needs blocks: a key block's sum is over all later ones");
  }
  Var all = raw_weights(ctx, 0, rows, rows, present);
  if (ctx.causal()) all = all * visible(ctx, 0, rows, rows, false);
  return slice(sum(all, -2), -1, 0, columns);
}

Weights MultiHeadLinearAttention::mixing_weights(const Context& ctx, int64_t first, int64_t rows,
                                                 int64_t columns, int64_t present) const {
  const bool causal = ctx.causal();
  if (normalise_mixing == NormaliseMixing::softmax) {
    std::vector<double> logits = start(causal, first, rows, columns, present);
    for (int64_t a = 0; a < rows; ++a) {
      for (int64_t b = 0; b < columns; ++b) {
        double& value = logits[static_cast<size_t>(a * columns + b)];
        value = causal && b > first + a ? -INFINITY : std::log(std::max(value, kLeastStart));
      }
    }
    const Var free = slice(slice(ctx.parameter("mixing"), -2, first, first + rows), -1, 0, columns);
    return {softmax(ctx.constant(logits, {rows, columns}) + free), {}};
  }
  Var weights = raw_weights(ctx, first, rows, columns, present);
  if (causal) weights = weights * visible(ctx, first, rows, columns, false);
  if (normalise_mixing == NormaliseMixing::none) return {weights, {}};
  if (normalise_mixing == NormaliseMixing::column)
    return {weights / divisors(column_sums(ctx, columns, present)), {}};
  const Var sums = divisors(sum(weights, -1));
  return {weights / sums, sums};
}

/// What the query blocks take of each memory R, [..., rows, rank].
Var MultiHeadLinearAttention::carry_read(const Context& ctx, int64_t first, int64_t rows) const {
  if (mixing == MixingKind::low_rank) return weight_factor(ctx, "mixing_query", first, rows);
  // R is decayed up to the block before `first`.
  std::vector<double> distance(static_cast<size_t>(rows));
  for (size_t a = 0; a < distance.size(); ++a) distance[a] = static_cast<double>(a + 1);
  const Var free = ctx.parameter("mixing_weight");
  const std::vector<double> base(static_cast<size_t>(rank), 1 / static_cast<double>(rank));
  const Var amounts = reshape(positive(ctx, free, base, {rank}), with_heads(free, 1, {rank, 1}));
  return transpose(amounts * exp(-(decay_rates(ctx) * ctx.constant(distance, {1, rows}))));
}

/// What each memory takes of the blocks first, first + 1 ..., [..., rank, rows].
Var MultiHeadLinearAttention::carry_write(const Context& ctx, int64_t first, int64_t rows) const {
  if (mixing == MixingKind::low_rank) return transpose(weight_factor(ctx, "mixing_key", first, rows));
  std::vector<double> distance(static_cast<size_t>(rows));
  for (size_t a = 0; a < distance.size(); ++a)
    distance[a] = static_cast<double>(rows - 1) - static_cast<double>(a);
  return exp(-(decay_rates(ctx) * ctx.constant(distance, {1, rows})));
}

/// What `rows` more blocks leave of the memories, [..., rank, 1]; empty: all.
Var MultiHeadLinearAttention::carry_decay(const Context& ctx, int64_t rows) const {
  if (mixing == MixingKind::low_rank) return {};
  return exp(-(decay_rates(ctx) * static_cast<double>(rows)));
}

}  // namespace mhla
