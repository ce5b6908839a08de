#include <attnlab/masker.hpp>

#include <cstdint>
#include <numeric>
#include <vector>

/// Names every key of the sequence, also those after the query.
struct FutureKeys : attnlab::Masker {
  static void describe(attnlab::Description<FutureKeys>& d) {
    d.id("future_keys").summary("Names every key of the sequence, also those after the query.");
  }
  void select(const attnlab::Tile& tile, attnlab::RowWriter& out) const {
    std::vector<int32_t> ids(static_cast<size_t>(tile.key_count()));
    std::iota(ids.begin(), ids.end(), 0);
    for (auto query : tile.queries()) out.ids(query, ids);
  }
};

ATTNLAB_PLUGIN(FutureKeys);
