#include <attnlab/masker.hpp>

/// Emits a weighted key although its description does not say that it samples.
struct UndeclaredSampler : attnlab::Masker {
  static void describe(attnlab::Description<UndeclaredSampler>& d) {
    d.id("undeclared_sampler").summary("Samples without having declared it.");
  }
  void select(const attnlab::Tile& tile, attnlab::RowWriter& out) const {
    for (auto query : tile.queries()) {
      auto drawn = out.reserve_weighted(query, 1);
      drawn.ids[0] = 0;
      drawn.log_weight[0] = 1;
      out.commit(1);
    }
  }
};

ATTNLAB_PLUGIN(UndeclaredSampler);
