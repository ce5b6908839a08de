#include <attnlab/scorer.hpp>

#include <limits>

/// Scores key 2 with NaN, all others with 0.
struct NanScores : attnlab::Scorer {
  static void describe(attnlab::Description<NanScores>& d) {
    d.id("nan_scores").summary("Scores a key with NaN.").selector("top_k");
  }
  void score(const attnlab::Tile& tile, attnlab::Scores& out) const {
    for (int64_t row = 0; row < tile.row_count(); ++row) {
      auto scores = out.row(row);
      std::fill(scores.begin(), scores.end(), 0.0f);
      scores[2] = std::numeric_limits<float>::quiet_NaN();
    }
  }
};

ATTNLAB_PLUGIN(NanScores);
