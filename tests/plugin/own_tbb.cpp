#include <attnlab/masker.hpp>

#include <tbb/parallel_for.h>

#include <vector>

/// Links its own TBB and starts threads with it.
struct OwnTbb : attnlab::Masker {
  static void describe(attnlab::Description<OwnTbb>& d) {
    d.id("own_tbb").summary("Links its own TBB and starts threads with it.");
  }
  void select(const attnlab::Tile& tile, attnlab::RowWriter& out) const {
    std::vector<int64_t> visible(static_cast<size_t>(tile.row_count()));
    tbb::parallel_for(size_t{0}, visible.size(), [&](size_t i) { visible[i] = static_cast<int64_t>(i); });
    for (auto query : tile.queries()) out.range(query, 0, tile.visible(query));
  }
};

ATTNLAB_PLUGIN(OwnTbb);
