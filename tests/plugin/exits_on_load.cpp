#include <attnlab/masker.hpp>

#include <cstdlib>

namespace {
[[maybe_unused]] const bool gone = [] {
  std::exit(0);
  return true;
}();
}  // namespace

/// Ends whoever loads it.
struct ExitsOnLoad : attnlab::Masker {
  static void describe(attnlab::Description<ExitsOnLoad>& d) {
    d.id("exits_on_load").summary("Ends whoever loads it.");
  }
  void select(const attnlab::Tile& tile, attnlab::RowWriter& out) const {
    static_cast<void>(tile), static_cast<void>(out);
  }
};

ATTNLAB_PLUGIN(ExitsOnLoad);
