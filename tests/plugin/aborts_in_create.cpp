#include <attnlab/masker.hpp>

#include <cstdlib>

/// Passes the probe, and aborts when an instance is made.
struct AbortsInCreate : attnlab::Masker {
  static void describe(attnlab::Description<AbortsInCreate>& d) {
    d.id("aborts_in_create").summary("Aborts when an instance is made.");
  }
  void prepare() { std::abort(); }
  void select(const attnlab::Tile&, attnlab::RowWriter&) const {}
};

ATTNLAB_PLUGIN(AbortsInCreate);
