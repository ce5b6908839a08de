#include <attnlab/masker.hpp>

#include <csignal>

/// Loads, and dies of a memory fault when asked what it is.
struct CrashesInDescribe : attnlab::Masker {
  static void describe(attnlab::Description<CrashesInDescribe>& d) {
    d.id("crashes_in_describe").summary("Dies when it describes itself.");
    std::raise(SIGSEGV);
  }
  void select(const attnlab::Tile&, attnlab::RowWriter&) const {}
};

ATTNLAB_PLUGIN(CrashesInDescribe);
