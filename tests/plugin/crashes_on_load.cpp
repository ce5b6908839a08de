#include <attnlab/masker.hpp>

#include <cstdlib>

namespace {
// Runs inside dlopen, before anyone can ask the library what it is.
[[maybe_unused]] const bool crashed = (std::abort(), true);
}  // namespace

struct CrashesOnLoad : attnlab::Masker {
  static void describe(attnlab::Description<CrashesOnLoad>& d) {
    d.id("crashes_on_load").summary("Aborts in its static initialisation.");
  }
  void select(const attnlab::Tile&, attnlab::RowWriter&) const {}
};

ATTNLAB_PLUGIN(CrashesOnLoad);
