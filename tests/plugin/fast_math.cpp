#include <attnlab/masker.hpp>

/// Compiled and linked with -ffast-math.
struct FastMath : attnlab::Masker {
  static void describe(attnlab::Description<FastMath>& d) {
    d.id("fast_math").summary("Compiled and linked with -ffast-math.");
  }
  void select(const attnlab::Tile& tile, attnlab::RowWriter& out) const {
    for (auto query : tile.queries()) out.range(query, 0, tile.visible(query));
  }
};

ATTNLAB_PLUGIN(FastMath);
