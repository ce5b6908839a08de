#include <attnlab/sampling.hpp>

/// Draws a tenth of the candidates and says that it was a fifth: weights half of what they should be.
struct OverstatesProbability : attnlab::Masker {
  static void describe(attnlab::Description<OverstatesProbability>& d) {
    d.id("overstates_probability").summary("A biased sample: p is too large.").samples();
  }
  void select(const attnlab::Tile& tile, const attnlab::Prior& prior, attnlab::RowWriter& out) const {
    auto seen = tile.scratch<uint64_t>((tile.key_count() + 63) / 64);
    for (auto query : tile.rows()) {
      auto candidates = prior.candidates(query.row);
      const int64_t count = candidates.count / 10;
      if (count == 0) continue;
      auto drawn = out.reserve_weighted(query, count);
      auto random = tile.random(query.row);
      attnlab::sample_without_replacement(random, candidates, count,
                                          seen.first(static_cast<size_t>((candidates.count + 63) / 64)),
                                          drawn.ids);
      std::fill(drawn.log_weight.begin(), drawn.log_weight.end(), std::log(5.0f));
      out.commit(count);
    }
  }
};

ATTNLAB_PLUGIN(OverstatesProbability);
