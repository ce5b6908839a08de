#include <attnlab/sampling.hpp>

/// A uniform sample of the candidates without replacement. Every candidate has the inclusion probability p =
/// n / S exactly, so that the weights 1/p make numerator and denominator unbiased (Horvitz and Thompson,
/// 1952).
struct RandomSampling : attnlab::Masker {
  double sampling_rate = 0.1;

  static void describe(attnlab::Description<RandomSampling>& d) {
    d.id("random_sampling").summary("Samples the remaining keys uniformly, weighted by 1/p.").samples();
    d.parameter("sampling_rate", &RandomSampling::sampling_rate)
        .doc("Share of the candidates that is drawn, without replacement.")
        .above(0)
        .at_most(1)
        .log_scale()
        .required()
        .sweep({0.01, 0.02, 0.05, 0.1, 0.2});
  }

  void select(const attnlab::Tile& tile, const attnlab::Prior& prior, attnlab::RowWriter& out) const {
    auto seen = tile.scratch<uint64_t>((tile.key_count() + 63) / 64);
    for (auto query : tile.rows()) {
      auto candidates = prior.candidates(query.row);
      if (candidates.count == 0) continue;
      auto share = static_cast<int64_t>(std::floor(sampling_rate * static_cast<double>(candidates.count)));
      int64_t count = std::max<int64_t>(1, share);
      auto drawn = out.reserve_weighted(query, count);
      auto random = tile.random(query.row);
      attnlab::sample_without_replacement(random, candidates, count,
                                          seen.first(static_cast<size_t>((candidates.count + 63) / 64)),
                                          drawn.ids);
      double p = static_cast<double>(count) / static_cast<double>(candidates.count);
      std::fill(drawn.log_weight.begin(), drawn.log_weight.end(), static_cast<float>(-std::log(p)));
      out.commit(count);
    }
  }
};

ATTNLAB_PLUGIN(RandomSampling);
