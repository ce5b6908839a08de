#include <attnlab/masker.hpp>

/// Every stride-th key, counted from the start of the sequence (Sparse Transformers, arXiv:1904.10509).
struct Strided : attnlab::Masker {
  int64_t stride = 64;
  int64_t offset = 0;

  static void describe(attnlab::Description<Strided>& d) {
    d.id("strided").summary("Keeps every stride-th visible key.").paper("arXiv:1904.10509");
    d.parameter("stride", &Strided::stride)
        .doc("Distance between two kept keys.")
        .unit("keys")
        .range(1, 1 << 30)
        .log_scale()
        .sweep({16, 32, 64, 128});
    d.parameter("offset", &Strided::offset)
        .doc("Index of the first kept key; less than the stride.")
        .unit("keys")
        .range(0, 1 << 30);
  }

  void prepare() {
    if (offset >= stride) throw attnlab::ParameterError("offset", "must be less than the stride");
  }

  void select(const attnlab::Tile& tile, attnlab::RowWriter& out) const {
    for (auto query : tile.queries()) {
      int64_t end = tile.visible_end(query);
      auto ids = out.reserve(query, end > offset ? (end - offset + stride - 1) / stride : 0);
      for (size_t i = 0; i < ids.size(); ++i)
        ids[i] = static_cast<int32_t>(offset + static_cast<int64_t>(i) * stride);
      out.commit(static_cast<int64_t>(ids.size()));
    }
  }
};

ATTNLAB_PLUGIN(Strided);
