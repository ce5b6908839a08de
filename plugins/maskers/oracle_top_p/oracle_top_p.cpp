#include <attnlab/scorer.hpp>

/// The fewest keys that together hold a share of the exact softmax mass (cf. Twilight, arXiv:2502.02770).
struct OracleTopP : attnlab::Scorer {
  static void describe(attnlab::Description<OracleTopP>& d) {
    d.id("oracle_top_p")
        .summary("Keeps the fewest keys that hold a share of the exact softmax mass.")
        .paper("arXiv:2502.02770")
        .selector("top_p")
        .oracle();
  }

  void score(const attnlab::Tile& tile, attnlab::Scores& out) const { out = tile.logits(); }
};

ATTNLAB_PLUGIN(OracleTopP);
