#include <attnlab/masker.hpp>

/// A preset that fixes a parameter which does not exist.
struct UnknownInPreset : attnlab::Masker {
  int tables = 1;

  static void describe(attnlab::Description<UnknownInPreset>& d) {
    d.id("unknown_in_preset").summary("Has a preset that no config could use.");
    d.parameter("tables", &UnknownInPreset::tables).doc("A count.");
    d.preset("unknown_in_preset.paper", "Misspelt.").set("tabels", 1);
  }
  void select(const attnlab::Tile&, attnlab::RowWriter&) const {}
};

ATTNLAB_PLUGIN(UnknownInPreset);
