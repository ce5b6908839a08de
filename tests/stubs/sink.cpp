#include <attnlab/masker.hpp>

/// Attention sinks: every row keeps the first keys (StreamingLLM, arXiv:2309.17453).
struct Sink : attnlab::Masker {
  attnlab::CountOrFraction sink_size = 128;

  static void describe(attnlab::Description<Sink>& d) {
    d.id("stub.sink").summary("Keeps the first keys of the sequence.").paper("arXiv:2309.17453");
    d.parameter("sink_size", &Sink::sink_size).doc("Keys kept at the start.").sweep({4, 16, 64, 128});
  }

  void select(const attnlab::Tile& tile, attnlab::RowWriter& out) const {
    for (auto query : tile.queries()) out.range(query, tile.first(query, sink_size.of(tile.visible(query))));
  }
};

ATTNLAB_PLUGIN(Sink);
