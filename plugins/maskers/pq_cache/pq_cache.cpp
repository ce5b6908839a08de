#include <attnlab/kernels.hpp>
#include <attnlab/scorer.hpp>

#include <limits>

#include "kmeans.hpp"

/// PQCache: product quantisation of keys (arXiv:2407.12820). Each key is cut into sub-vectors, each
/// sub-vector is coded by its nearest centre, and a query scores all keys through one table of its products
/// with the centres.
struct PqCache : attnlab::Scorer {
  enum class Metric { euclidean, ip };

  int64_t pq_group_factor = 2;
  int64_t pq_bits = 6;
  int64_t kmeans_iter = 10;
  int64_t init_offset = 0;
  Metric metric = Metric::euclidean;

  static void describe(attnlab::Description<PqCache>& d) {
    d.id("pq_cache")
        .summary("Keeps the keys whose product-quantised copies have the largest logits.")
        .paper("arXiv:2407.12820")
        .selector("top_k")
        .prompt_fitted();
    d.parameter("pq_group_factor", &PqCache::pq_group_factor)
        .doc("Sub-vectors per key; a divisor of head_dim.")
        .range(1, 4096)
        .sweep({1, 2, 4, 8, 16});
    d.parameter("pq_bits", &PqCache::pq_bits)
        .doc("Bits per sub-vector: 2^pq_bits centres.")
        .unit("bits")
        .range(1, 12)
        .sweep({4, 6, 8});
    d.parameter("kmeans_iter", &PqCache::kmeans_iter)
        .doc("Updates of the centres at most.")
        .range(1, 1000)
        .log_scale()
        .sweep({5, 10, 25});
    d.parameter("init_offset", &PqCache::init_offset)
        .doc("First keys that are neither fitted nor scored.")
        .unit("keys")
        .range(0, std::numeric_limits<int32_t>::max());
    d.parameter("metric", &PqCache::metric)
        .doc("Distance of k-means: plain, or with a channel that makes all keys equally long.")
        .names({"euclidean", "ip"})
        .sweep({Metric::euclidean, Metric::ip});
  }

  void columns(attnlab::Columns& c, const attnlab::Geometry& g) const {
    if (g.head_dim % pq_group_factor != 0) {
      throw attnlab::ParameterError("pq_group_factor",
                                    std::to_string(pq_group_factor) + " sub-vectors do not divide head_dim " +
                                        std::to_string(g.head_dim) + "; allowed are divisors of it");
    }
    const Layout layout(*this, g.head_dim);
    if (layout.width() > max_width) {
      throw attnlab::ParameterError("pq_bits", std::to_string(layout.capacity) + " centres for head_dim " +
                                                   std::to_string(g.head_dim) +
                                                   " exceed the 16777216 numbers allowed; use fewer bits");
    }
    if (short_codes()) {
      c.per_token<uint8_t>("codes", layout.groups);
    } else {
      c.per_token<int32_t>("codes", layout.groups);
    }
    c.per_sequence<float>("centroids", layout.width());
    c.per_sequence<int32_t>("centre_count", layout.groups);
    c.per_sequence<float>("phi", layout.groups);
  }

  /// The code of a key belongs to the centres of the sequence; until they are fitted it is 0.
  void encode(const attnlab::KeyBlock& keys, attnlab::ColumnsView& c) const {
    if (short_codes()) {
      write_codes(keys, c, c.column<uint8_t>("codes"));
    } else {
      write_codes(keys, c, c.column<int32_t>("codes"));
    }
  }

  void end_prompt(const attnlab::Prompt& prompt, attnlab::ColumnsView& c) const {
    const attnlab::KeyBlock& keys = prompt.keys();
    const int64_t count = keys.end() - init_offset;
    if (count <= 0) return;
    const Layout layout(*this, static_cast<int64_t>(keys.key(keys.begin()).size()));
    const auto centroids = c.column<float>("centroids")[0], phi = c.column<float>("phi")[0];
    const auto centre_count = c.column<int32_t>("centre_count")[0];
    attnlab::Philox random = prompt.random();
    std::vector<uint64_t> group_keys(static_cast<size_t>(layout.groups));
    for (uint64_t& key : group_keys) key = random.next_u64();
    host().parallel_for(layout.groups, [&](int64_t group) {
      const auto g = static_cast<size_t>(group);
      std::vector<float> values(static_cast<size_t>(count * layout.point_dim));
      const auto point = [&](int64_t i) {
        return std::span(values).subspan(static_cast<size_t>(i * layout.point_dim),
                                         static_cast<size_t>(layout.point_dim));
      };
      phi[g] = 0;
      for (int64_t i = 0; i < count; ++i) {
        phi[g] = std::max(phi[g], squared_norm(layout.part(keys.key(init_offset + i), group)));
      }
      for (int64_t i = 0; i < count; ++i) {
        fill_point(layout.part(keys.key(init_offset + i), group), phi[g], point(i));
      }
      centre_count[g] = static_cast<int32_t>(
          pq_cache::fit({values, count, layout.point_dim}, kmeans_iter, attnlab::Philox(group_keys[g]),
                        {layout.centres(centroids, group), layout.capacity, 0}));
    });
    encode(keys, c);
  }

  void score(const attnlab::Tile& tile, attnlab::Scores& out) const {
    if (short_codes()) {
      score_with(tile, tile.column<uint8_t>("codes"), out);
    } else {
      score_with(tile, tile.column<int32_t>("codes"), out);
    }
  }

 private:
  static constexpr int64_t max_width = int64_t{1} << 24;

  /// How a head is cut up. A point is a sub-vector, with one more channel for the metric ip.
  struct Layout {
    int64_t groups, sub_dim, point_dim, capacity;
    Layout(const PqCache& method, int64_t head_dim)
        : groups(method.pq_group_factor),
          sub_dim(head_dim / groups),
          point_dim(sub_dim + (method.metric == Metric::ip ? 1 : 0)),
          capacity(int64_t{1} << method.pq_bits) {}

    int64_t width() const { return groups * point_dim * capacity; }
    std::span<const float> part(std::span<const float> vector, int64_t group) const {
      return vector.subspan(static_cast<size_t>(group * sub_dim), static_cast<size_t>(sub_dim));
    }
    /// Of the record [group, channel, centre].
    template <class T>
    std::span<T> centres(std::span<T> record, int64_t group) const {
      return record.subspan(static_cast<size_t>(group * point_dim * capacity),
                            static_cast<size_t>(point_dim * capacity));
    }
  };

  bool short_codes() const { return pq_bits <= 8; }

  static float squared_norm(std::span<const float> x) {
    float sum = 0;
    for (float value : x) sum += value * value;
    return sum;
  }

  /// Largest inner product becomes smallest distance when every key is lengthened to sqrt(phi) by a channel
  /// that is 0 in queries. A later key may be longer already.
  void fill_point(std::span<const float> part, float phi, std::span<float> point) const {
    std::copy(part.begin(), part.end(), point.begin());
    if (metric == Metric::ip) point.back() = std::sqrt(std::max(0.0f, phi - squared_norm(part)));
  }

  template <class Code>
  void write_codes(const attnlab::KeyBlock& keys, const attnlab::ColumnsView& c,
                   attnlab::Column<Code> codes) const {
    if (keys.begin() == keys.end()) return;
    const Layout layout(*this, static_cast<int64_t>(keys.key(keys.begin()).size()));
    const auto centroids = c.column<float>("centroids")[0], phi = c.column<float>("phi")[0];
    const auto centre_count = c.column<int32_t>("centre_count")[0];
    std::vector<float> distances(static_cast<size_t>(layout.capacity));
    std::vector<float> point(static_cast<size_t>(layout.point_dim));
    for (int64_t j = keys.begin(); j < keys.end(); ++j) {
      const auto record = codes[j];
      for (int64_t group = 0; group < layout.groups; ++group) {
        const auto g = static_cast<size_t>(group);
        fill_point(layout.part(keys.key(j), group), phi[g], point);
        const pq_cache::Centres<float> centres{layout.centres(centroids, group), layout.capacity,
                                               centre_count[g]};
        record[g] = static_cast<Code>(pq_cache::nearest<float>(point, centres, distances).centre);
      }
    }
  }

  template <class Code>
  void score_with(const attnlab::Tile& tile, attnlab::Column<const Code> codes, attnlab::Scores& out) const {
    const Layout layout(*this, tile.head_dim());
    const auto centroids = tile.column<float>("centroids");
    const auto centre_count = tile.column<int32_t>("centre_count");
    const int64_t entries = layout.groups * layout.capacity;
    const auto tables = tile.scratch<float>(tile.group() * entries);
    for (auto query : tile.queries()) {
      const int64_t end = tile.visible_end(query), begin = std::min(init_offset, end);
      const auto centres = centroids.records(0, 1);
      const auto counts = centre_count.records(0, 1);
      for (int64_t i = 0; i < query.rows; ++i) {
        const auto table = tables.subspan(static_cast<size_t>(i * entries), static_cast<size_t>(entries));
        multiply_centres(layout, tile.query(query.row + i), tile.scale(), centres, counts, table);
        const auto scores = out.row(query.row + i);
        std::fill(scores.begin(), scores.begin() + begin, -std::numeric_limits<float>::infinity());
        std::fill(scores.begin() + end, scores.end(), -std::numeric_limits<float>::infinity());
      }
      attnlab::kernels::lut({tables.data(), query.rows, entries, entries}, layout.capacity,
                            codes.matrix(begin, end), out.from(query.row, begin));
    }
  }

  /// scale * q_s . c for every centre c of every sub-vector s; 0 where no centre exists.
  static void multiply_centres(const Layout& layout, std::span<const float> query, float scale,
                               std::span<const float> centroids, std::span<const int32_t> counts,
                               std::span<float> table) {
    std::fill(table.begin(), table.end(), 0.0f);
    for (int64_t group = 0; group < layout.groups; ++group) {
      const pq_cache::Centres<const float> centres{layout.centres(centroids, group), layout.capacity,
                                                   counts[static_cast<size_t>(group)]};
      float* products = table.data() + group * layout.capacity;
      const auto part = layout.part(query, group);
      for (size_t d = 0; d < part.size(); ++d) {
        const float* channel = centres.channel(d);
        const float factor = scale * part[d];
        for (int64_t c = 0; c < centres.used; ++c) products[c] += factor * channel[c];
      }
    }
  }
};

ATTNLAB_PLUGIN(PqCache);
