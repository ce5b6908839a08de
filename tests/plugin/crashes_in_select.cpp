#include <attnlab/masker.hpp>

#include <csignal>

/// Passes the probe, and dies of a memory fault at work.
struct CrashesInSelect : attnlab::Masker {
  static void describe(attnlab::Description<CrashesInSelect>& d) {
    d.id("crashes_in_select").summary("Dies when it selects.");
  }
  void select(const attnlab::Tile&, attnlab::RowWriter&) const { std::raise(SIGSEGV); }
};

ATTNLAB_PLUGIN(CrashesInSelect);
