#include <algorithm>
#include <attnlab/masker.hpp>
#include <limits>

/// H2O: a cache of bounded size that keeps recent keys and those that received most attention so far
/// (arXiv:2306.14048, algorithm 1). A key that was evicted never comes back.
struct H2O : attnlab::Masker {
  attnlab::CountOrFraction budget = 256;
  attnlab::CountOrFraction recent = 256;

  static void describe(attnlab::Description<H2O>& d) {
    d.id("h2o").summary("Evicts the keys that received least attention so far.").paper("arXiv:2306.14048");
    d.retains().needs_feedback();
    d.parameter("budget", &H2O::budget)
        .doc("Keys kept for the attention that they received, beside the recent ones.")
        .sweep({64, 128, 256, 512});
    d.parameter("recent", &H2O::recent).doc("Latest keys, which are never evicted.").sweep({16, 64, 256});
  }

  void columns(attnlab::Columns& c, const attnlab::Geometry&) const { c.per_token<float>("mass", 1); }

  /// After each step: adds the attention of its rows and evicts down to the budget. O(keys).
  void feedback(const attnlab::Feedback& step, attnlab::ColumnsView& c) const {
    auto mass = c.column<float>("mass");
    const auto keys = static_cast<int64_t>(step.mass().size());
    for (int64_t j = 0; j < keys; ++j) mass[j][0] += step.mass()[static_cast<size_t>(j)];
    std::vector<int64_t> older;
    for (int64_t j = 0; j < keys - recent.of(keys); ++j) {
      if (mass[j][0] != evicted) older.push_back(j);
    }
    const int64_t kept = budget.of(keys);
    if (kept >= static_cast<int64_t>(older.size())) return;
    std::nth_element(older.begin(), older.begin() + kept, older.end(), [&](int64_t a, int64_t b) {
      return mass[a][0] != mass[b][0] ? mass[a][0] > mass[b][0] : a < b;
    });
    std::for_each(older.begin() + kept, older.end(), [&](int64_t j) { mass[j][0] = evicted; });
  }

  void select(const attnlab::Tile& tile, attnlab::RowWriter& out) const {
    auto mass = tile.column<float>("mass");
    // Runs of kept keys, at most one for every two keys.
    const auto alive = tile.scratch<attnlab::Range>(tile.key_count() / 2 + 1);
    for (auto query : tile.queries()) {
      auto records = mass.records(0, tile.visible_end(query));
      size_t runs = 0;
      for (int32_t j = 0; j < static_cast<int32_t>(records.size()); ++j) {
        if (records[static_cast<size_t>(j)] == evicted) continue;
        if (runs == 0 || alive[runs - 1].end != j) alive[runs++].begin = j;
        alive[runs - 1].end = j + 1;
      }
      out.ranges(query, alive.first(runs));
    }
  }

 private:
  // Absorbs whatever mass is added to it.
  static constexpr float evicted = -std::numeric_limits<float>::infinity();
};

ATTNLAB_PLUGIN(H2O);
