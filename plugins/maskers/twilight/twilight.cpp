#include <algorithm>
#include <attnlab/masker.hpp>
#include <cmath>

/// Twilight: of the keys that earlier stages selected, keeps the fewest that hold a share of their softmax
/// mass (arXiv:2502.02770, section 4.1).
struct Twilight : attnlab::Masker {
  double top_p = 0.9;

  static void describe(attnlab::Description<Twilight>& d) {
    d.id("twilight")
        .summary("Prunes what earlier stages selected to a share of its softmax mass.")
        .paper("arXiv:2502.02770")
        .refine();
    d.parameter("top_p", &Twilight::top_p)
        .doc("Share of the softmax mass of the selected keys that is kept; 1 keeps them all.")
        .above(0)
        .at_most(1)
        .sweep({0.5, 0.8, 0.9, 0.95, 0.99});
  }

  void select(const attnlab::Tile& tile, const attnlab::Prior& prior, attnlab::RowWriter& out) const {
    auto key_memory = tile.scratch<int32_t>(tile.key_count());
    auto logit_memory = tile.scratch<float>(tile.key_count());
    auto order_memory = tile.scratch<int32_t>(tile.key_count());
    for (auto query : tile.rows()) {
      auto keys = prior.row(query.row).keys(key_memory);
      if (keys.empty()) continue;
      auto logits = logit_memory.first(keys.size());
      tile.logits(query.row, keys, logits);
      auto order = order_memory.first(keys.size());
      for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int32_t>(i);
      auto logit = [&](int32_t i) { return logits[static_cast<size_t>(i)]; };
      auto key = [&](int32_t i) { return keys[static_cast<size_t>(i)]; };
      std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
        return logit(a) != logit(b) ? logit(a) > logit(b) : key(a) < key(b);
      });
      auto mass = [&](int32_t i) {
        return std::exp(static_cast<double>(logit(i)) - static_cast<double>(logit(order[0])));
      };
      double total = 0, held = 0;
      for (int32_t i : order) total += mass(i);
      size_t kept = 0;
      while (kept < order.size() && (top_p == 1 || held < top_p * total)) held += mass(order[kept++]);
      auto ids = out.reserve(query, static_cast<int64_t>(kept));
      for (size_t i = 0; i < kept; ++i) ids[i] = key(order[i]);
      out.commit_unsorted(static_cast<int64_t>(kept));
    }
  }
};

ATTNLAB_PLUGIN(Twilight);
