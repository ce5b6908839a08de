#include <attnlab/abi.h>

// What a plugin looks like that was built against the SDK of another release.
#undef ATTNLAB_ABI_MINOR
#define ATTNLAB_ABI_MINOR 99
#include <attnlab/masker.hpp>

struct OtherAbi : attnlab::Masker {
  static void describe(attnlab::Description<OtherAbi>& d) {
    d.id("other_abi").summary("Built for another plugin ABI.");
  }
  void select(const attnlab::Tile&, attnlab::RowWriter&) const {}
};

ATTNLAB_PLUGIN(OtherAbi);
