#include <attnlab/masker.hpp>

#include <unistd.h>

/// Ends the process with success, past all that runs at an exit.
struct ExitsAtOnce : attnlab::Masker {
  static void describe(attnlab::Description<ExitsAtOnce>& d) {
    d.id("exits_at_once").summary("Ends the process with success, past all that runs at an exit.");
  }
  void select(const attnlab::Tile& tile, attnlab::RowWriter& out) const {
    static_cast<void>(tile), static_cast<void>(out);
    ::_exit(0);
  }
};

ATTNLAB_PLUGIN(ExitsAtOnce);
