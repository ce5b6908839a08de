#include <attnlab/masker.hpp>

#include <xmmintrin.h>

/// Turns on flush-to-zero and leaves it on.
struct ChangesFpuMode : attnlab::Masker {
  static void describe(attnlab::Description<ChangesFpuMode>& d) {
    d.id("changes_fpu_mode").summary("Turns on flush-to-zero and leaves it on.");
  }
  void select(const attnlab::Tile& tile, attnlab::RowWriter& out) const {
    _mm_setcsr(_mm_getcsr() | 0x8040);
    for (auto query : tile.queries()) out.range(query, 0, 1);
  }
};

ATTNLAB_PLUGIN(ChangesFpuMode);
