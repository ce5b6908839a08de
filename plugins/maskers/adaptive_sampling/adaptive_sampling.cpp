#include <attnlab/sampling.hpp>

#include <limits>

#include "budget.hpp"

namespace {

using adaptive_sampling::Moments;
using attnlab::Candidates;
using attnlab::Query;

/// Keys that share a record of the norm columns.
constexpr int64_t page_size = 16;

double norm(std::span<const float> vector) {
  double square = 0;
  for (float x : vector) square += static_cast<double>(x) * static_cast<double>(x);
  return std::sqrt(square);
}

/// The longest vector of the block's page `page`, rounded up to float.
template <class VectorOf>
float longest(const attnlab::KeyBlock& keys, int64_t page, const VectorOf& vector_of) {
  double largest = 0;
  const int64_t end = std::min(keys.end(), (page + 1) * page_size);
  for (int64_t j = page * page_size; j < end; ++j) largest = std::max(largest, norm(vector_of(j)));
  return std::nextafter(static_cast<float>(largest), std::numeric_limits<float>::infinity());
}

/// vAttention: draws as many of the remaining keys as a pilot says are needed for a relative error of at most
/// epsilon with probability 1 - delta (arXiv:2510.05688).
struct AdaptiveSampling : attnlab::Masker {
  enum class Target { denominator, numerator, output };
  enum class Bound { clt, hoeffding, bernstein };

  attnlab::CountOrFraction base_rate_sampling = 0.05;
  double epsilon = 0.05, delta = 0.05;
  attnlab::Offset init_offset = 0, local_offset = 0;
  Target target = Target::denominator;
  Bound bound = Bound::clt;

  static void describe(attnlab::Description<AdaptiveSampling>& d) {
    d.id("adaptive_sampling")
        .summary("Samples as many remaining keys as a relative error needs, judged by a pilot.")
        .paper("arXiv:2510.05688")
        .samples();
    d.parameter("base_rate_sampling", &AdaptiveSampling::base_rate_sampling)
        .doc("Keys of the pilot, at least 2; they stay active with p = 1.")
        .sweep({0.01, 0.02, 0.05});
    d.parameter("epsilon", &AdaptiveSampling::epsilon)
        .doc("Relative error allowed.")
        .above(0)
        .below(1)
        .log_scale()
        .sweep({0.05, 0.1, 0.2, 0.3});
    d.parameter("delta", &AdaptiveSampling::delta)
        .doc("Probability with which the error may be larger.")
        .above(0)
        .below(1)
        .log_scale()
        .sweep({0.05, 0.1, 0.2, 0.3});
    d.parameter("init_offset", &AdaptiveSampling::init_offset).doc("First keys that are never sampled.");
    d.parameter("local_offset", &AdaptiveSampling::local_offset).doc("Last keys that are never sampled.");
    d.parameter("target", &AdaptiveSampling::target)
        .doc("What the error is of: the softmax denominator, the numerator vector, or their ratio.")
        .names({"denominator", "numerator", "output"});
    d.parameter("bound", &AdaptiveSampling::bound)
        .doc("Where the budget comes from: a normal limit, or inequalities that hold for any keys.")
        .names({"clt", "hoeffding", "bernstein"});
  }

  void prepare() {
    // Below 1e-290 the quantile itself is out of range; no run is that long.
    const double tail = std::max(target == Target::output ? delta / 2 : delta, 1e-290);
    denominator_quantile_ = adaptive_sampling::chi_square_upper(tail, 1);
    numerator_quantile_ = adaptive_sampling::worst_chi_square(tail);
  }

  void columns(attnlab::Columns& c, const attnlab::Geometry&) const {
    if (bound == Bound::clt) return;
    c.per_page<float>("key_norm", page_size, 1);
    if (target != Target::denominator) c.per_page<float>("value_norm", page_size, 1);
  }

  void encode(const attnlab::KeyBlock& keys, attnlab::ColumnsView& c) const {
    if (bound == Bound::clt) return;
    auto key_norm = c.column<float>("key_norm");
    for (int64_t page = keys.begin() / page_size; page * page_size < keys.end(); ++page)
      key_norm[page][0] = longest(keys, page, [&](int64_t j) { return keys.key(j); });
    if (target == Target::denominator) return;
    auto value_norm = c.column<float>("value_norm");
    for (int64_t page = keys.begin() / page_size; page * page_size < keys.end(); ++page)
      value_norm[page][0] = longest(keys, page, [&](int64_t j) { return keys.value(j); });
  }

  void select(const attnlab::Tile& tile, const attnlab::Prior& prior, attnlab::RowWriter& out) const {
    Workspace work(tile);
    for (auto query : tile.rows()) {
      const int64_t visible = tile.visible(query);
      const attnlab::Range window{tile.first(query, init_offset.of(visible)).end,
                                  tile.last(query, local_offset.of(visible)).begin};
      const Candidates residual = attnlab::within(prior.candidates(query.row), window, work.runs);
      const int64_t pilot_size = std::max<int64_t>(2, base_rate_sampling.of(visible));
      if (pilot_size >= residual.count) {
        out.ranges(query, residual.runs);
        continue;
      }
      // The pilot stays active with p = 1: the budget depends on it, so counting it as a sample would be
      // biased.
      auto random = tile.random(query.row);
      const auto earlier = prior.row(query.row).keys(work.keys);
      const auto pilot = work.keys.subspan(earlier.size(), static_cast<size_t>(pilot_size));
      attnlab::sample_without_replacement(random, residual, pilot_size, words(work.seen, residual), pilot);
      out.ids(query, pilot);
      const Candidates rest = attnlab::without(residual, pilot, work.rest_runs);

      const auto known = work.keys.first(earlier.size() + pilot.size());
      const int64_t size = budget(tile, query, known, earlier.size(), rest, work);
      if (size == rest.count) {
        out.ranges(query, rest.runs);
        continue;
      }
      auto drawn = out.reserve_weighted(query, size);
      attnlab::sample_without_replacement(random, rest, size, words(work.seen, rest), drawn.ids);
      const double p = static_cast<double>(size) / static_cast<double>(rest.count);
      std::fill(drawn.log_weight.begin(), drawn.log_weight.end(), static_cast<float>(-std::log(p)));
      out.commit(size);
    }
  }

 private:
  struct Workspace {
    explicit Workspace(const attnlab::Tile& tile)
        : runs(tile.scratch<attnlab::Range>(tile.key_count())),
          rest_runs(tile.scratch<attnlab::Range>(tile.key_count())),
          seen(tile.scratch<uint64_t>((tile.key_count() + 63) / 64)),
          keys(tile.scratch<int32_t>(tile.key_count())),
          logits(tile.scratch<float>(tile.key_count())),
          total(tile.scratch<double>(value_dim(tile))),
          mean(tile.scratch<double>(value_dim(tile))) {}
    static int64_t value_dim(const attnlab::Tile& tile) { return tile.table()->value_dim; }

    std::span<attnlab::Range> runs, rest_runs;
    std::span<uint64_t> seen;
    std::span<int32_t> keys;
    std::span<float> logits;
    std::span<double> total, mean;
  };

  /// No unknown key has a larger logit or a longer value.
  struct Ceiling {
    double logit = -std::numeric_limits<double>::infinity();
    double value = 0;
  };

  static std::span<uint64_t> words(std::span<uint64_t> seen, const Candidates& candidates) {
    return seen.first(static_cast<size_t>((candidates.count + 63) / 64));
  }

  /// Draws out of `rest`. The first `earlier` known keys are those of earlier stages, the others the pilot.
  int64_t budget(const attnlab::Tile& tile, Query query, std::span<const int32_t> known, size_t earlier,
                 const Candidates& rest, Workspace& work) const {
    const auto logits = work.logits.first(known.size());
    tile.logits(query.row, known, logits);
    const double largest = static_cast<double>(*std::max_element(logits.begin(), logits.end()));
    if (!std::isfinite(largest)) return rest.count;

    static constexpr float one[] = {1};
    double sum = 0, mean = 0;
    Moments denominator({&sum, 1}, {&mean, 1}), numerator(work.total, work.mean);
    for (size_t i = 0; i < known.size(); ++i) {
      const double weight = std::exp(static_cast<double>(logits[i]) - largest);
      const bool is_pilot = i >= earlier;
      is_pilot ? denominator.add_pilot(weight, one) : denominator.add(weight, one);
      if (target == Target::denominator) continue;
      const auto value = tile.value(known[i]);
      is_pilot ? numerator.add_pilot(weight, value) : numerator.add(weight, value);
    }

    const bool both = target == Target::output;
    const double e = both ? epsilon / 4 : epsilon, d = both ? delta / 2 : delta;
    const auto left = static_cast<double>(rest.count);
    double needed = 0;
    if (bound == Bound::clt) {
      if (target != Target::numerator)
        needed = normal_draws(denominator, left, denominator_quantile_, e * denominator.estimate(left));
      if (target != Target::denominator)
        needed = std::max(needed,
                          normal_draws(numerator, left, numerator_quantile_, e * numerator.estimate(left)));
    } else {
      const Ceiling top = ceiling(tile, query, rest, known.subspan(earlier));
      const double weight = std::exp(top.logit - largest);
      const bool variance = bound == Bound::bernstein;
      if (target != Target::numerator)
        needed = bounded_draws(denominator, left, e, d, weight, true, variance);
      if (target != Target::denominator)
        needed =
            std::max(needed, bounded_draws(numerator, left, e, d, 2 * weight * top.value, false, variance));
    }
    // Also where figures have overflowed: NaN is not below.
    return needed < left ? std::min(rest.count, std::max<int64_t>(2, static_cast<int64_t>(std::ceil(needed))))
                         : rest.count;
  }

  /// Over the rest and the pilot, whose population is one. |q| |k| bounds q.k; norms come from the pages'
  /// records, or from the keys themselves where the row does not see the whole page.
  Ceiling ceiling(const attnlab::Tile& tile, Query query, const Candidates& rest,
                  std::span<const int32_t> pilot) const {
    const auto key_norm = tile.column<float>("key_norm");
    const bool values = target != Target::denominator;
    const float* const* biases = tile.table()->bias;
    const float* bias = biases == nullptr ? nullptr : biases[query.row];
    // Worst rounding of a float32 product of this width.
    const double slack = 1 + 2.4e-7 * static_cast<double>(tile.head_dim() + 4);
    const double query_norm =
        std::abs(static_cast<double>(tile.scale())) * norm(tile.query(query.row)) * slack;
    Ceiling top;
    auto raise = [&](double key_length, double value_length, int64_t begin, int64_t end) {
      double largest_bias = 0;
      if (bias != nullptr) {
        largest_bias = static_cast<double>(*std::max_element(bias + begin, bias + end));
        tile.count_read((end - begin) * static_cast<int64_t>(sizeof(float)));
        largest_bias += std::abs(largest_bias) * 2.4e-7;
      }
      top.logit = std::max(top.logit, query_norm * key_length + largest_bias);
      top.value = std::max(top.value, value_length);
    };
    auto raise_range = [&](int32_t begin, int32_t end) {
      for (int64_t page = begin / page_size; page * page_size < end; ++page) {
        const auto first = static_cast<int32_t>(page * page_size), last = first + int32_t{page_size};
        const int32_t from = std::max(begin, first), to = std::min(end, last);
        if (tile.all_visible(query, {first, last})) {
          const double value = values ? static_cast<double>(tile.column<float>("value_norm")[page][0]) : 0;
          raise(static_cast<double>(key_norm[page][0]), value, from, to);
          continue;
        }
        for (int32_t j = from; j < to; ++j)
          raise(norm(tile.key(j)), values ? norm(tile.value(j)) : 0, j, j + 1);
      }
    };
    for (attnlab::Range run : rest.runs) raise_range(run.begin, run.end);
    for (int32_t key : pilot) raise_range(key, key + 1);
    return top;
  }

  double denominator_quantile_ = 0, numerator_quantile_ = 0;
};

}  // namespace

ATTNLAB_PLUGIN(AdaptiveSampling);
