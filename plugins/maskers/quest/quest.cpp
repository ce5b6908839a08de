#include <attnlab/kernels.hpp>
#include <attnlab/quantise.hpp>
#include <attnlab/scorer.hpp>

#include <limits>
#include <vector>

using attnlab::Quantiser;

/// Quest: bounds q.k from above for each page of keys by its channel-wise extremes (arXiv:2406.10774).
struct Quest : attnlab::Scorer {
  int64_t page_size = 16;
  int64_t label_bits = 16;

  static void describe(attnlab::Description<Quest>& d) {
    d.id("quest")
        .summary("Keeps the pages with the largest bound on their logits.")
        .paper("arXiv:2406.10774")
        .selector("top_k");
    d.parameter("page_size", &Quest::page_size)
        .doc("Keys that are kept or left together.")
        .unit("keys")
        .range(1, 4096)
        .log_scale()
        .sweep({8, 16, 32, 64});
    d.parameter("label_bits", &Quest::label_bits)
        .doc("Bits of each stored extreme; 16: float32, not rounded.")
        .unit("bits")
        .range(1, 16)
        .sweep({2, 4, 8, 16});
  }

  int64_t score_page_size() const { return page_size; }

  void columns(attnlab::Columns& c, const attnlab::Geometry& g) const {
    if (!rounded()) {
      c.per_page<float>("extremes", page_size, 2 * g.head_dim);
      return;
    }
    c.per_page<uint8_t>("levels", page_size, 2 * Quantiser::bytes(g.head_dim, label_bits));
    c.per_page<float>("grids", page_size, 2 * Quantiser::grid_width);
  }

  void encode(const attnlab::KeyBlock& keys, attnlab::ColumnsView& c) const {
    const auto width = keys.key(keys.begin()).size();
    std::vector<float> extremes(2 * width);
    // A block begins with a page.
    for (int64_t begin = keys.begin(); begin < keys.end(); begin += page_size) {
      const int64_t page = begin / page_size, end = std::min(begin + page_size, keys.end());
      for (int64_t j = begin; j < end; ++j) extend(keys.key(j), j == begin, extremes);
      if (!rounded()) {
        std::copy(extremes.begin(), extremes.end(), c.column<float>("extremes")[page].begin());
        continue;
      }
      const auto levels = c.column<uint8_t>("levels")[page];
      const auto grids = c.column<float>("grids")[page];
      for (size_t side : {0, 1}) {
        Quantiser(label_bits)
            .pack(half(std::span<const float>(extremes), side), half(levels, side), half(grids, side));
      }
    }
  }

  void score(const attnlab::Tile& tile, attnlab::Scores& out) const {
    score_stored(tile, out);
    const auto seen = tile.scratch<float>(2 * tile.head_dim());
    for (auto query : tile.queries()) {
      int64_t whole_pages = 0;
      for (int64_t page = 0; page < out.unit_count(); ++page) {
        const int64_t begin = page * page_size, end = begin + page_size;
        if (tile.all_visible(query, {static_cast<int32_t>(begin), static_cast<int32_t>(end)})) {
          ++whole_pages;
        } else if (visible_extremes(tile, query, begin, end, seen)) {
          attnlab::kernels::interval(tile.query_rows(query), page_of(seen), tile.scale(),
                                     out.from(query.row, page));
        } else {
          for (int64_t row = query.row; row < query.row + query.rows; ++row)
            out.row(row)[static_cast<size_t>(page)] = -std::numeric_limits<float>::infinity();
        }
      }
      // Each query pays for what it needs; one reading serves those of a tile.
      tile.count_read(whole_pages * record_bytes(tile.head_dim()));
      for (int64_t row = query.row; row < query.row + query.rows; ++row)
        add_largest_bias(tile, query, row, out);
    }
  }

 private:
  bool rounded() const { return label_bits < 16; }

  int64_t record_bytes(int64_t head_dim) const {
    constexpr auto float_bytes = static_cast<int64_t>(sizeof(float));
    return rounded() ? 2 * (Quantiser::bytes(head_dim, label_bits) + Quantiser::grid_width * float_bytes)
                     : 2 * head_dim * float_bytes;
  }

  /// A record holds what belongs to the lowest elements, then what belongs to the highest.
  template <class T>
  static std::span<T> half(std::span<T> both, size_t side) {
    return both.subspan(side * both.size() / 2, both.size() / 2);
  }

  static void extend(std::span<const float> key, bool first, std::span<float> extremes) {
    const auto lowest = half(extremes, 0), highest = half(extremes, 1);
    for (size_t i = 0; i < key.size(); ++i) {
      lowest[i] = first ? key[i] : std::min(lowest[i], key[i]);
      highest[i] = first ? key[i] : std::max(highest[i], key[i]);
    }
  }

  /// Extremes of close keys may cross when they are rounded; the bound takes the larger product, whichever it
  /// is.
  static void order(std::span<float> extremes) {
    const auto lowest = half(extremes, 0), highest = half(extremes, 1);
    for (size_t i = 0; i < lowest.size(); ++i) {
      const float a = lowest[i], b = highest[i];
      lowest[i] = std::min(a, b);
      highest[i] = std::max(a, b);
    }
  }

  static attnlab::Matrix<float> page_of(std::span<const float> extremes) {
    const auto width = static_cast<int64_t>(extremes.size());
    return {extremes.data(), 1, width, width};
  }

  /// Scores of all rows for the stored pages that some query sees whole. The stored extremes hold all keys of
  /// a page, also those that a row must not know: where a row does not see the whole page, its score is
  /// replaced.
  void score_stored(const attnlab::Tile& tile, attnlab::Scores& out) const {
    int64_t pages = 0;
    for (auto query : tile.queries()) pages = std::max(pages, tile.visible_end(query) / page_size);
    if (!rounded()) {
      attnlab::kernels::interval(tile.query_rows(), tile.uncounted_column<float>("extremes").matrix(0, pages),
                                 tile.scale(), out.from(0, 0));
      return;
    }
    constexpr int64_t block_pages = 32;
    const int64_t width = 2 * tile.head_dim();
    const auto levels = tile.uncounted_column<uint8_t>("levels");
    const auto grids = tile.uncounted_column<float>("grids");
    const auto unpacked = tile.scratch<float>(block_pages * width);
    for (int64_t first = 0; first < pages; first += block_pages) {
      const int64_t count = std::min(block_pages, pages - first);
      for (int64_t page = 0; page < count; ++page) {
        const auto extremes = unpacked.subspan(static_cast<size_t>(page * width), static_cast<size_t>(width));
        for (size_t side : {0, 1}) {
          Quantiser(label_bits)
              .unpack(half(levels[first + page], side), half(grids[first + page], side),
                      half(extremes, side));
        }
        order(extremes);
      }
      attnlab::kernels::interval(tile.query_rows(), {unpacked.data(), count, width, width}, tile.scale(),
                                 out.from(0, first));
    }
  }

  /// False when no key of the page is visible. Rounded as stored extremes are, so that a page does not change
  /// its score for being whole.
  bool visible_extremes(const attnlab::Tile& tile, attnlab::Query query, int64_t begin, int64_t end,
                        std::span<float> extremes) const {
    bool any = false;
    for (int64_t j = begin; j < std::min(end, tile.visible_end(query)); ++j) {
      if (!tile.is_visible(query, j)) continue;
      extend(tile.key(j), !any, extremes);
      any = true;
    }
    if (any && rounded()) {
      for (size_t side : {0, 1}) Quantiser(label_bits).round(half(extremes, side));
      order(extremes);
    }
    return any;
  }

  /// The bound stays one under an additive bias.
  void add_largest_bias(const attnlab::Tile& tile, attnlab::Query query, int64_t row,
                        attnlab::Scores& out) const {
    const float* const* bias = tile.table()->bias;
    if (bias == nullptr || bias[row] == nullptr) return;
    const auto scores = out.row(row);
    for (int64_t page = 0; page < out.unit_count(); ++page) {
      float largest = -std::numeric_limits<float>::infinity();
      const int64_t end = std::min((page + 1) * page_size, tile.visible_end(query));
      for (int64_t j = page * page_size; j < end; ++j) {
        if (tile.is_visible(query, j)) largest = std::max(largest, bias[row][j]);
      }
      scores[static_cast<size_t>(page)] += largest;
    }
  }
};

ATTNLAB_PLUGIN(Quest);
