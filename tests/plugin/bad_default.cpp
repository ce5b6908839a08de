#include <attnlab/masker.hpp>

/// A default outside its own bounds: no config that leaves the parameter out could be valid.
struct BadDefault : attnlab::Masker {
  double rate = 2;

  static void describe(attnlab::Description<BadDefault>& d) {
    d.id("bad_default").summary("Contradicts its own table.");
    d.parameter("rate", &BadDefault::rate).doc("A share.").range(0, 1);
  }
  void select(const attnlab::Tile&, attnlab::RowWriter&) const {}
};

ATTNLAB_PLUGIN(BadDefault);
