#include <attnlab/masker.hpp>

#include <unistd.h>

/// Never comes back from layer 1.
struct HangsInSelect : attnlab::Masker {
  static void describe(attnlab::Description<HangsInSelect>& d) {
    d.id("hangs_in_select").summary("Never comes back from layer 1.");
  }
  void select(const attnlab::Tile& tile, attnlab::RowWriter& out) const {
    while (tile.layer() == 1) ::pause();
    for (auto query : tile.queries()) out.range(query, 0, 1);
  }
};

ATTNLAB_PLUGIN(HangsInSelect);
