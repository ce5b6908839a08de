#include <attnlab/masker.hpp>

#include <unistd.h>

namespace {
// Runs inside dlopen and never returns.
[[maybe_unused]] const bool hung = [] {
  while (true) ::pause();
  return true;
}();
}  // namespace

struct HangsOnLoad : attnlab::Masker {
  static void describe(attnlab::Description<HangsOnLoad>& d) {
    d.id("hangs_on_load").summary("Never finishes its static initialisation.");
  }
  void select(const attnlab::Tile&, attnlab::RowWriter&) const {}
};

ATTNLAB_PLUGIN(HangsOnLoad);
