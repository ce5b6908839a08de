#include <attnlab/masker.hpp>

/// Calls itself sink, as one of ours does.
struct ClaimsTakenId : attnlab::Masker {
  static void describe(attnlab::Description<ClaimsTakenId>& d) {
    d.id("sink").summary("Calls itself sink, as one of ours does.");
  }
  void select(const attnlab::Tile& tile, attnlab::RowWriter& out) const {
    for (auto query : tile.queries()) out.range(query, 0, tile.visible(query));
  }
};

ATTNLAB_PLUGIN(ClaimsTakenId);
