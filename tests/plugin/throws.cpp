#include <attnlab/masker.hpp>

#include <stdexcept>

/// Fails in one layer only, so that a message has a layer to name.
struct Throws : attnlab::Masker {
  int64_t layer = 0;

  static void describe(attnlab::Description<Throws>& d) {
    d.id("throws").summary("Throws an exception in one layer.");
    d.parameter("layer", &Throws::layer).doc("The layer that fails.").at_least(0);
  }
  void select(const attnlab::Tile& tile, attnlab::RowWriter& out) const {
    if (tile.layer() == layer) throw std::runtime_error("the codebook is empty");
    for (auto query : tile.queries()) out.full(query);
  }
};

ATTNLAB_PLUGIN(Throws);
