#include <attnlab/scorer.hpp>

/// The keys with the largest exact logits: the bound that every top-k method is measured against.
struct OracleTopK : attnlab::Scorer {
  static void describe(attnlab::Description<OracleTopK>& d) {
    d.id("oracle_top_k").summary("Keeps the keys with the largest exact logits.").selector("top_k").oracle();
  }

  void score(const attnlab::Tile& tile, attnlab::Scores& out) const { out = tile.logits(); }
};

ATTNLAB_PLUGIN(OracleTopK);
