#include <attnlab/masker.hpp>

/// Commits descending ids without saying that they are unsorted.
struct Unsorted : attnlab::Masker {
  static void describe(attnlab::Description<Unsorted>& d) {
    d.id("unsorted").summary("Writes keys in descending order.");
  }
  void select(const attnlab::Tile& tile, attnlab::RowWriter& out) const {
    const int32_t ids[] = {1, 0};
    for (auto query : tile.queries()) out.ids(query, ids);
  }
};

ATTNLAB_PLUGIN(Unsorted);
