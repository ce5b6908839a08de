#include <attnlab/masker.hpp>

#include <cstdlib>

/// Ends the process with success when it selects.
struct Exits : attnlab::Masker {
  static void describe(attnlab::Description<Exits>& d) {
    d.id("exits").summary("Ends the process with success when it selects.");
  }
  void select(const attnlab::Tile& tile, attnlab::RowWriter& out) const {
    static_cast<void>(tile), static_cast<void>(out);
    std::exit(0);
  }
};

ATTNLAB_PLUGIN(Exits);
