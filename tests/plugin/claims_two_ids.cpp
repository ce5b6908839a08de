#include <attnlab/masker.hpp>

/// Its note names a second method that it does not hold.
struct ClaimsTwoIds : attnlab::Masker {
  static void describe(attnlab::Description<ClaimsTwoIds>& d) {
    d.id("claims_two_ids").summary("Its note names a second method that it does not hold.");
  }
  void select(const attnlab::Tile& tile, attnlab::RowWriter& out) const {
    for (auto query : tile.queries()) out.range(query, 0, tile.visible(query));
  }
};

ATTNLAB_PLUGIN(ClaimsTwoIds);
