#include <attnlab/scorer.hpp>
#include <limits>

/// Quest: bounds q.k from above for each page of keys by its channel-wise extremes (arXiv:2406.10774,
/// section 3.3).
struct Quest : attnlab::Scorer {
  int64_t page_size = 16;

  static void describe(attnlab::Description<Quest>& d) {
    d.id("stub.quest")
        .summary("Keeps the pages with the largest bound on their logits.")
        .paper("arXiv:2406.10774");
    d.selector("top_k");
    d.parameter("page_size", &Quest::page_size)
        .doc("Keys that are kept or left together.")
        .unit("keys")
        .range(1, 4096)
        .sweep({8, 16, 32, 64});
  }

  int64_t score_page_size() const { return page_size; }

  void columns(attnlab::Columns& c, const attnlab::Geometry& g) const {
    c.per_page<float>("lowest", page_size, g.head_dim);
    c.per_page<float>("highest", page_size, g.head_dim);
  }

  void encode(const attnlab::KeyBlock& keys, attnlab::ColumnsView& c) const {
    auto lowest = c.column<float>("lowest"), highest = c.column<float>("highest");
    for (int64_t j = keys.begin(); j < keys.end(); ++j) {
      extend(keys.key(j), j % page_size == 0, lowest[j / page_size], highest[j / page_size]);
    }
  }

  void score(const attnlab::Tile& tile, attnlab::Scores& out) const {
    auto lowest = tile.column<float>("lowest"), highest = tile.column<float>("highest");
    auto low = tile.scratch<float>(tile.head_dim()), high = tile.scratch<float>(tile.head_dim());
    for (auto query : tile.queries()) {
      for (int64_t page = 0; page < out.unit_count(); ++page) {
        const int64_t begin = page * page_size, end = begin + page_size;
        const bool whole = tile.all_visible(query, {static_cast<int32_t>(begin), static_cast<int32_t>(end)});
        // The stored extremes of another page hold keys that this row must not know: take its visible keys
        // alone.
        const bool any = whole || visible_extremes(tile, query, begin, end, low, high);
        for (int64_t row = query.row; row < query.row + query.rows; ++row) {
          out.row(row)[static_cast<size_t>(page)] =
              !any    ? -std::numeric_limits<float>::infinity()
              : whole ? tile.scale() * bound(tile.query(row), lowest[page], highest[page])
                      : tile.scale() * bound(tile.query(row), low, high);
        }
      }
    }
  }

 private:
  static void extend(std::span<const float> key, bool first, std::span<float> lowest,
                     std::span<float> highest) {
    for (size_t i = 0; i < key.size(); ++i) {
      lowest[i] = first ? key[i] : std::min(lowest[i], key[i]);
      highest[i] = first ? key[i] : std::max(highest[i], key[i]);
    }
  }
  static bool visible_extremes(const attnlab::Tile& tile, attnlab::Query query, int64_t begin, int64_t end,
                               std::span<float> lowest, std::span<float> highest) {
    bool any = false;
    for (int64_t j = begin; j < std::min(end, tile.visible_end(query)); ++j) {
      if (!tile.is_visible(query, j)) continue;
      extend(tile.key(j), !any, lowest, highest);
      any = true;
    }
    return any;
  }
  static float bound(std::span<const float> q, std::span<const float> lowest,
                     std::span<const float> highest) {
    float sum = 0;
    for (size_t i = 0; i < q.size(); ++i) sum += std::max(q[i] * lowest[i], q[i] * highest[i]);
    return sum;
  }
};

ATTNLAB_PLUGIN(Quest);
