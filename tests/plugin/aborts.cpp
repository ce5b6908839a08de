#include <attnlab/masker.hpp>

#include <cstdlib>

/// Aborts when it selects.
struct Aborts : attnlab::Masker {
  static void describe(attnlab::Description<Aborts>& d) { d.id("aborts").summary("Aborts when it selects."); }
  void select(const attnlab::Tile& tile, attnlab::RowWriter& out) const {
    static_cast<void>(tile), static_cast<void>(out);
    std::abort();
  }
};

ATTNLAB_PLUGIN(Aborts);
