#include <attnlab/sampling.hpp>

/// vAttention: draws as many of the remaining keys as a pilot says are needed for a relative error of at most
/// epsilon with probability 1 - delta (arXiv:2510.05688).
struct AdaptiveSampling : attnlab::Masker {
  enum class Target { denominator, numerator, output };

  attnlab::CountOrFraction base_rate_sampling = 0.05;
  double epsilon = 0.05, delta = 0.05;
  attnlab::Offset init_offset = 0, local_offset = 0;
  Target target = Target::denominator;

  static void describe(attnlab::Description<AdaptiveSampling>& d) {
    d.id("stub.adaptive_sampling")
        .summary("Samples as many keys as an error bound needs.")
        .paper("arXiv:2510.05688");
    d.samples();
    d.parameter("base_rate_sampling", &AdaptiveSampling::base_rate_sampling).doc("Keys of the pilot sample.");
    d.parameter("epsilon", &AdaptiveSampling::epsilon)
        .doc("Relative error.")
        .above(0)
        .below(1)
        .sweep({0.05, 0.1, 0.25});
    d.parameter("delta", &AdaptiveSampling::delta)
        .doc("Its probability.")
        .above(0)
        .below(1)
        .sweep({0.05, 0.1, 0.25});
    d.parameter("init_offset", &AdaptiveSampling::init_offset).doc("First keys that are never sampled.");
    d.parameter("local_offset", &AdaptiveSampling::local_offset).doc("Last keys that are never sampled.");
    d.parameter("target", &AdaptiveSampling::target)
        .doc("What the error bound is about.")
        .names({"denominator", "numerator", "output"});
  }

  void select(const attnlab::Tile& tile, const attnlab::Prior& prior, attnlab::RowWriter& out) const {
    auto runs = tile.scratch<attnlab::Range>(tile.key_count()),
         rest_runs = tile.scratch<attnlab::Range>(tile.key_count());
    auto seen = tile.scratch<uint64_t>((tile.key_count() + 63) / 64);
    auto key_memory = tile.scratch<int32_t>(tile.key_count());
    auto weight_memory = tile.scratch<float>(tile.key_count());
    for (auto query : tile.rows()) {
      const int64_t visible = tile.visible(query);
      const attnlab::Range window{tile.first(query, init_offset.of(visible)).end,
                                  tile.last(query, local_offset.of(visible)).begin};
      auto residual = attnlab::within(prior.candidates(query.row), window, runs);
      const int64_t pilot_size = std::max<int64_t>(2, base_rate_sampling.of(visible));
      if (pilot_size >= residual.count) {
        out.ranges(query, residual.runs);
        continue;
      }
      // 1. The pilot stays active with p = 1: the budget depends on it, so counting it as a sample would be
      // biased.
      auto random = tile.random(query.row);
      auto known = prior.row(query.row).keys(key_memory);
      auto pilot = key_memory.subspan(known.size(), static_cast<size_t>(pilot_size));
      attnlab::sample_without_replacement(random, residual, pilot_size, words(seen, residual), pilot);
      out.ids(query, pilot);
      known = key_memory.first(known.size() + pilot.size());
      auto rest = attnlab::without(residual, pilot, rest_runs);
      // 2. and 3. Variance and budget.
      auto weights = weight_memory.first(known.size());
      tile.logits(query.row, known, weights);
      const float largest = *std::max_element(weights.begin(), weights.end());
      for (float& weight : weights) weight = std::exp(weight - largest);
      const int64_t size = budget(tile, known, weights, pilot.size(), rest.count);
      // 4. The draw.
      if (size == rest.count) {
        out.ranges(query, rest.runs);
        continue;
      }
      auto drawn = out.reserve_weighted(query, size);
      attnlab::sample_without_replacement(random, rest, size, words(seen, rest), drawn.ids);
      const double p = static_cast<double>(size) / static_cast<double>(rest.count);
      std::fill(drawn.log_weight.begin(), drawn.log_weight.end(), static_cast<float>(-std::log(p)));
      out.commit(size);
    }
  }

 private:
  static std::span<uint64_t> words(std::span<uint64_t> seen, const attnlab::Candidates& candidates) {
    return seen.first(static_cast<size_t>((candidates.count + 63) / 64));
  }

  int64_t budget(const attnlab::Tile& tile, std::span<const int32_t> known, std::span<const float> weights,
                 size_t pilot, int64_t rest) const {
    const bool both = target == Target::output;
    const double e = both ? epsilon / 4 : epsilon, d = both ? delta / 2 : delta;
    double needed = 0;
    if (target != Target::numerator) {
      const double z = attnlab::normal_quantile(1 - d / 2);
      needed = draws(e, z * z, 1, weights, pilot, rest, [](size_t, size_t) { return 1.0; });
    }
    if (target != Target::denominator) {
      double quantile = 0;
      for (int r = 1; r <= 64; ++r) quantile = std::max(quantile, attnlab::chi_square_quantile(1 - d, r) / r);
      auto value = [&](size_t i, size_t c) { return static_cast<double>(tile.value(known[i])[c]); };
      needed = std::max(needed, draws(e, quantile, tile.value(0).size(), weights, pilot, rest, value));
    }
    return std::min(rest, std::max<int64_t>(2, static_cast<int64_t>(std::ceil(needed))));
  }

  /// Draws out of `rest` keys for the vector sum of weight * value; the last `pilot` known keys are the
  /// pilot.
  template <class Value>
  static double draws(double relative_error, double quantile, size_t width, std::span<const float> weights,
                      size_t pilot, int64_t rest, const Value& value) {
    double variance = 0, target_norm = 0;
    const auto n = static_cast<double>(pilot), left = static_cast<double>(rest);
    for (size_t c = 0; c < width; ++c) {
      double total = 0, mean = 0, squares = 0;
      auto term = [&](size_t i) { return static_cast<double>(weights[i]) * value(i, c); };
      for (size_t i = 0; i < weights.size(); ++i) total += term(i);
      for (size_t i = weights.size() - pilot; i < weights.size(); ++i) mean += term(i) / n;
      for (size_t i = weights.size() - pilot; i < weights.size(); ++i)
        squares += (term(i) - mean) * (term(i) - mean);
      variance += squares / attnlab::chi_square_quantile(0.2, n - 1);  // upper 80 % confidence bound
      target_norm += (total + left * mean) * (total + left * mean);
    }
    if (variance == 0) return 0;
    // ceil(m0 / (1 + m0 / rest)) of maskers.md in a form that survives m0 = infinity.
    const double m0 = left * left * quantile * variance / (relative_error * relative_error * target_norm);
    return 1 / (1 / m0 + 1 / left);
  }
};

ATTNLAB_PLUGIN(AdaptiveSampling);
