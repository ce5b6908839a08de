#include <attnlab/masker.hpp>

/// Every visible key: an explicit dense stage (arXiv:1706.03762).
struct Causal : attnlab::Masker {
  static void describe(attnlab::Description<Causal>& d) {
    d.id("causal").summary("Keeps every visible key: dense attention as a stage.").paper("arXiv:1706.03762");
  }

  void select(const attnlab::Tile& tile, attnlab::RowWriter& out) const {
    for (auto query : tile.queries()) out.full(query);
  }
};

ATTNLAB_PLUGIN(Causal);
