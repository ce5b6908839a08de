#include <algorithm>
#include <attnlab/masker.hpp>
#include <cmath>
#include <limits>
#include <numeric>

/// SnapKV: at the end of the prompt, keeps the keys that its last queries attend to, once and for all
/// (arXiv:2404.14469, section 4). Rows of the prompt itself see everything.
struct SnapKV : attnlab::Masker {
  enum class Pooling { mean, max };

  attnlab::CountOrFraction budget = 1024;
  int64_t window = 32, kernel_size = 7;
  Pooling pooling = Pooling::max;

  static void describe(attnlab::Description<SnapKV>& d) {
    d.id("snap_kv")
        .summary("Evicts the prompt's keys that its last queries do not attend to.")
        .paper("arXiv:2404.14469");
    d.retains().prompt_fitted();
    d.parameter("budget", &SnapKV::budget)
        .doc(
            "Keys of the prompt that are kept for their attention, beside the window; a share is of the "
            "prompt.")
        .sweep({128, 256, 512, 1024});
    d.parameter("window", &SnapKV::window)
        .doc("Last queries of the prompt that are observed; the keys at their positions are kept.")
        .range(1, 64)
        .sweep({16, 32, 64});
    d.parameter("kernel_size", &SnapKV::kernel_size)
        .doc("Neighbouring keys that are pooled, an odd number; 1 pools nothing.")
        .range(1, 255)
        .sweep({1, 5, 7, 13});
    d.parameter("pooling", &SnapKV::pooling).doc("How neighbours are pooled.").names({"mean", "max"});
  }

  void prepare() {
    if (kernel_size % 2 == 0)
      throw attnlab::ParameterError("kernel_size", "must be odd: a key and its neighbours");
  }

  void columns(attnlab::Columns& c, const attnlab::Geometry&) const {
    c.per_sequence<int64_t>("prompt_length", 1);
    c.per_token<uint8_t>("evicted", 1);
  }

  void end_prompt(const attnlab::Prompt& prompt, attnlab::ColumnsView& c) const {
    const int64_t keys = prompt.keys().end();
    c.column<int64_t>("prompt_length")[0][0] = keys;
    if (keys == 0) return;
    const int64_t observed = std::min(window, prompt.queries().rows() / prompt.group());
    if (observed == 0) {
      throw attnlab::ParameterError(
          "window",
          "snap_kv looks at the last queries of the prompt, and the input has none before the "
          "measured ones: measure fewer queries than it holds (--queries)");
    }
    const int64_t older = keys - observed;
    const int64_t kept = budget.of(keys);
    if (kept >= older) return;
    const std::vector<double> score = pooled(attention(prompt, observed));
    std::vector<int64_t> order(static_cast<size_t>(older));
    std::iota(order.begin(), order.end(), int64_t{0});
    std::nth_element(order.begin(), order.begin() + kept, order.end(), [&](int64_t a, int64_t b) {
      const double x = score[static_cast<size_t>(a)], y = score[static_cast<size_t>(b)];
      return x != y ? x > y : a < b;
    });
    auto evicted = c.column<uint8_t>("evicted");
    std::for_each(order.begin() + kept, order.end(), [&](int64_t j) { evicted[j][0] = 1; });
  }

  void select(const attnlab::Tile& tile, attnlab::RowWriter& out) const {
    auto prompt_length = tile.column<int64_t>("prompt_length");
    auto evicted = tile.column<uint8_t>("evicted");
    // Runs of kept keys, at most one for every two keys.
    const auto kept = tile.scratch<attnlab::Range>(tile.key_count() / 2 + 1);
    for (auto query : tile.queries()) {
      if (tile.position(query) < prompt_length[0][0]) {
        out.full(query);
        continue;
      }
      auto records = evicted.records(0, tile.visible_end(query));
      size_t runs = 0;
      for (int32_t j = 0; j < static_cast<int32_t>(records.size()); ++j) {
        if (records[static_cast<size_t>(j)] != 0) continue;
        if (runs == 0 || kept[runs - 1].end != j) kept[runs++].begin = j;
        kept[runs - 1].end = j + 1;
      }
      out.ranges(query, kept.first(runs));
    }
  }

 private:
  /// Softmax mass of each key before the window, summed over the observed queries and the heads of the group
  /// (eq. 5).
  static std::vector<double> attention(const attnlab::Prompt& prompt, int64_t observed) {
    const attnlab::KeyBlock& keys = prompt.keys();
    const auto queries = prompt.queries();
    std::vector<double> total(static_cast<size_t>(keys.end() - observed));
    std::vector<double> logits(static_cast<size_t>(keys.end()));
    for (int64_t row = queries.rows() - observed * prompt.group(); row < queries.rows(); ++row) {
      // The last query sits at the prompt's last position.
      const int64_t end = keys.end() - (queries.rows() - 1 - row) / prompt.group();
      const auto query = queries.row(row);
      double largest = -std::numeric_limits<double>::infinity();
      for (int64_t j = 0; j < end; ++j) {
        double dot = 0;
        for (size_t i = 0; i < query.size(); ++i)
          dot += static_cast<double>(query[i]) * static_cast<double>(keys.key(j)[i]);
        logits[static_cast<size_t>(j)] = dot * static_cast<double>(prompt.scale());
        largest = std::max(largest, logits[static_cast<size_t>(j)]);
      }
      double mass = 0;
      for (int64_t j = 0; j < end; ++j) {
        double& logit = logits[static_cast<size_t>(j)];
        logit = std::exp(logit - largest);
        mass += logit;
      }
      for (size_t j = 0; j < total.size(); ++j) total[j] += logits[j] / mass;
    }
    return total;
  }

  /// Pools each key with its neighbours before the window, as many as there are.
  std::vector<double> pooled(const std::vector<double>& mass) const {
    const auto count = static_cast<int64_t>(mass.size());
    std::vector<double> result(mass.size());
    for (int64_t j = 0; j < count; ++j) {
      const int64_t begin = std::max<int64_t>(0, j - kernel_size / 2),
                    end = std::min(count, j + kernel_size / 2 + 1);
      const auto first = mass.begin() + begin, last = mass.begin() + end;
      result[static_cast<size_t>(j)] =
          pooling == Pooling::max ? *std::max_element(first, last)
                                  : std::accumulate(first, last, 0.0) / static_cast<double>(kernel_size);
    }
    return result;
  }
};

ATTNLAB_PLUGIN(SnapKV);
