#include <attnlab/masker.hpp>

/// Keeps a key where a chaotic sequence is high: about every other one. Its steps begin with a multiplication
/// and an addition, so one fused multiply-add anywhere changes all later keys.
struct EveryOther : attnlab::Masker {
  double rate = 3.9;
  bool by_head = true;

  static void describe(attnlab::Description<EveryOther>& d) {
    d.id("every_other_" VARIANT).summary("Keeps about every other key.");
    d.parameter("rate", &EveryOther::rate).doc("Rate of the logistic map.").range(3.6, 4);
    d.parameter("by_head", &EveryOther::by_head).doc("Another pattern for each KV head.");
  }

  void select(const attnlab::Tile& tile, attnlab::RowWriter& out) const {
    const auto head = static_cast<uint32_t>(by_head ? tile.kv_head() : 0);
    const auto [normal, other] = attnlab::normal_pair(0x9e3779b9u * (head + 1), 0x85ebca6bu);
    for (auto query : tile.queries()) {
      const int64_t end = tile.visible_end(query);
      double x = 0.5 + 0.01 * normal + 0.001 * other;
      auto ids = out.reserve(query, end);
      int64_t count = 0;
      for (int64_t key = 0; key < end; ++key) {
        x = rate * x - rate * x * x;
        if (x > 0.6) ids[static_cast<size_t>(count++)] = static_cast<int32_t>(key);
      }
      out.commit(count);
    }
  }
};

ATTNLAB_PLUGIN(EveryOther);
