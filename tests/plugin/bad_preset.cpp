#include <attnlab/masker.hpp>

/// A preset outside the bounds of its own parameter.
struct BadPreset : attnlab::Masker {
  int tables = 1;

  static void describe(attnlab::Description<BadPreset>& d) {
    d.id("bad_preset").summary("Has a preset that no config could use.");
    d.parameter("tables", &BadPreset::tables).doc("A count.").range(1, 100);
    d.preset("bad_preset.paper", "Too many.").set("tables", 101);
  }
  void select(const attnlab::Tile&, attnlab::RowWriter&) const {}
};

ATTNLAB_PLUGIN(BadPreset);
