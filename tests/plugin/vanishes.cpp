#include <attnlab/masker.hpp>

#include <sys/syscall.h>
#include <unistd.h>

/// Ends the process with success, past every handler.
struct Vanishes : attnlab::Masker {
  static void describe(attnlab::Description<Vanishes>& d) {
    d.id("vanishes").summary("Ends the process with success, past every handler.");
  }
  void select(const attnlab::Tile& tile, attnlab::RowWriter& out) const {
    static_cast<void>(tile), static_cast<void>(out);
    ::syscall(SYS_exit_group, 0);
  }
};

ATTNLAB_PLUGIN(Vanishes);
