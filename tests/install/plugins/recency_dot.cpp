#include <attnlab/scorer.hpp>

#include <cmath>

/// Ranks keys by how recent they are and by what rounding leaves between two ways to q.k, the host's and a
/// plain sum: a fused or reordered sum chooses other keys.
struct RecencyDot : attnlab::Scorer {
  double half_life = 64;

  static void describe(attnlab::Description<RecencyDot>& d) {
    d.id("recency_dot_" VARIANT).summary("Ranks keys by recency and rounding.").selector("top_k");
    d.parameter("half_life", &RecencyDot::half_life)
        .doc("Distance that halves a key's weight.")
        .unit("keys")
        .above(0);
  }

  void score(const attnlab::Tile& tile, attnlab::Scores& out) const {
    const auto logits = tile.logits();
    for (auto query : tile.rows()) {
      const auto q = tile.query(query.row);
      auto scores = out.row(query.row);
      for (int64_t key = 0; key < out.unit_count(); ++key) {
        const auto k = tile.key(key);
        float dot = 0;
        for (size_t i = 0; i < q.size(); ++i) dot += q[i] * k[i];
        const float exact = logits.row(query.row)[static_cast<size_t>(key)];
        const float noise = std::isinf(exact) ? exact : (dot * tile.scale() - exact) * 0x1p20f;
        const auto age = static_cast<double>(tile.position(query) - key);
        scores[static_cast<size_t>(key)] = noise + static_cast<float>(std::exp2(-age / half_life));
      }
    }
  }
};

ATTNLAB_PLUGIN(RecencyDot);
