#include <attnlab/masker.hpp>

#include <cstdint>

namespace {
// The array keeps the compiler from turning the recursion into a loop.
[[gnu::noinline]] int64_t depth(int64_t n) {
  volatile char frame[4096];
  frame[0] = static_cast<char>(n);
  return n == 0 ? 0 : depth(n + 1) + frame[0];
}
}  // namespace

/// Recurses without end.
struct OverflowsStack : attnlab::Masker {
  static void describe(attnlab::Description<OverflowsStack>& d) {
    d.id("overflows_stack").summary("Recurses without end.");
  }
  void select(const attnlab::Tile& tile, attnlab::RowWriter& out) const {
    out.range(*tile.queries().begin(), 0, depth(tile.layer() + 1));
  }
};

ATTNLAB_PLUGIN(OverflowsStack);
