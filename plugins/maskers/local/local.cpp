#include <attnlab/masker.hpp>

/// Sliding window: every row keeps the most recent keys, its own position included (Longformer,
/// arXiv:2004.05150).
struct Local : attnlab::Masker {
  attnlab::CountOrFraction window_size = 128;

  static void describe(attnlab::Description<Local>& d) {
    d.id("local").summary("Keeps the last visible keys of each row.").paper("arXiv:2004.05150");
    d.parameter("window_size", &Local::window_size)
        .doc("Keys kept up to and including the row's own position.")
        .sweep({16, 64, 128, 256});
  }

  void select(const attnlab::Tile& tile, attnlab::RowWriter& out) const {
    for (auto query : tile.queries()) out.range(query, tile.last(query, window_size.of(tile.visible(query))));
  }
};

ATTNLAB_PLUGIN(Local);
