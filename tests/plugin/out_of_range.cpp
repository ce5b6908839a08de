#include <attnlab/masker.hpp>

/// Writes the key one past the last.
struct OutOfRange : attnlab::Masker {
  static void describe(attnlab::Description<OutOfRange>& d) {
    d.id("out_of_range").summary("Writes a key that does not exist.");
  }
  void select(const attnlab::Tile& tile, attnlab::RowWriter& out) const {
    const auto beyond = static_cast<int32_t>(tile.key_count());
    for (auto query : tile.queries()) out.ids(query, {&beyond, 1});
  }
};

ATTNLAB_PLUGIN(OutOfRange);
