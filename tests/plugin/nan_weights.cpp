#include <attnlab/masker.hpp>

#include <limits>

/// Draws a key with a weight that is no number.
struct NanWeights : attnlab::Masker {
  static void describe(attnlab::Description<NanWeights>& d) {
    d.id("nan_weights").summary("Samples with weights that are no numbers.").samples();
  }
  void select(const attnlab::Tile& tile, attnlab::RowWriter& out) const {
    for (auto query : tile.queries()) {
      auto drawn = out.reserve_weighted(query, 1);
      drawn.ids[0] = 0;
      drawn.log_weight[0] = std::numeric_limits<float>::quiet_NaN();
      out.commit(1);
    }
  }
};

ATTNLAB_PLUGIN(NanWeights);
