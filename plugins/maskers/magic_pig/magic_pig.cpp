#include <attnlab/masker.hpp>

#include <optional>

#include "collision.hpp"
#include "hash_tables.hpp"

enum class Packing { int64 };

/// MagicPIG (arXiv:2410.16179): samples the keys that share a SimHash code with the query in at least
/// `min_tables` of `lsh_l` hash tables, and weights them by the probability of that.
struct MagicPig : attnlab::Masker {
  int64_t lsh_l = 75, lsh_k = 8, min_tables = 2, seed = 42;
  bool center = true, mips_transform = false, center_queries = false;
  Packing packing = Packing::int64;

  static void describe(attnlab::Description<MagicPig>& d) {
    d.id("magic_pig")
        .summary("Samples keys that share hash codes with the query, weighted by 1/p.")
        .paper("arXiv:2410.16179")
        .samples()
        .prompt_fitted();
    d.parameter("lsh_l", &MagicPig::lsh_l).doc("Hash tables.").range(1, 1024).sweep({75, 120, 150, 300});
    d.parameter("lsh_k", &MagicPig::lsh_k)
        .doc("Bits of a code: random hyperplanes of a table.")
        .range(1, 64)
        .sweep({8, 9, 10, 11});
    d.parameter("min_tables", &MagicPig::min_tables)
        .doc("Tables in which a key must collide with the query; at most lsh_l.")
        .range(1, 1024)
        .sweep({1, 2});
    d.parameter("center", &MagicPig::center).doc("Subtract the prompt's mean key from keys.");
    d.parameter("mips_transform", &MagicPig::mips_transform)
        .doc("Add a coordinate to keys that gives all of them the norm of the prompt's longest.");
    d.parameter("center_queries", &MagicPig::center_queries)
        .doc("Subtract the mean key from queries too, as sparse-attention-hub does.");
    d.parameter("seed", &MagicPig::seed).doc("Seed of the hyperplanes, mixed with the run's.").range(0, 9e18);
    d.parameter("packing", &MagicPig::packing).doc("How a code is kept.").names({"int64"});
    d.preset("magic_pig.paper", "MagicPIG with the paper's 10 bits and 150 tables.")
        .set("lsh_k", 10)
        .set("lsh_l", 150)
        .set("min_tables", 2)
        .set("center", true)
        .set("mips_transform", false)
        .set("center_queries", false);
    d.preset("magic_pig.hub", "MagicPIG as sparse-attention-hub computes it.")
        .set("lsh_k", 8)
        .set("lsh_l", 75)
        .set("min_tables", 1)
        .set("center", true)
        .set("mips_transform", true)
        .set("center_queries", true);
  }

  void prepare() {
    if (min_tables > lsh_l) {
      throw attnlab::ParameterError(
          "min_tables", "must not exceed lsh_l, the number of tables: allowed 1 to " + std::to_string(lsh_l) +
                            ", found " + std::to_string(min_tables));
    }
    collision.emplace(lsh_l, lsh_k, min_tables);
  }

  void columns(attnlab::Columns& c, const attnlab::Geometry& g) const {
    const int64_t width = hashed_dim(g.head_dim) * plane_count();
    if (width > max_plane_elements) {
      throw attnlab::ParameterError(
          "lsh_l", "lsh_l * lsh_k hyperplanes of " + std::to_string(hashed_dim(g.head_dim)) +
                       " coordinates are " + std::to_string(width) +
                       " numbers for each KV head; allowed: at most " + std::to_string(max_plane_elements));
    }
    c.per_sequence_normal("planes", width);  // [hashed_dim, lsh_l, lsh_k]
    c.per_sequence<float>("centre", g.head_dim);
    c.per_sequence<float>("largest_norm", 1);
  }

  /// The tables of one KV head. Keys of the prompt enter at its end, when the centre is known.
  struct State {
    State(const MagicPig& masker, const attnlab::Geometry&, attnlab::Philox) : tables(masker.lsh_l) {}

    void append(const MagicPig& masker, const attnlab::KeyBlock& keys, const attnlab::ColumnsView& c) {
      if (fitted) masker.insert(keys, keys.begin(), Frame(masker, c), tables);
    }
    void truncate(int64_t key_count) { tables.truncate(key_count); }
    uint64_t bytes() const { return tables.bytes(); }

    bool fitted = false;
    magic_pig::HashTables tables;
  };

  void end_prompt(const attnlab::Prompt& prompt, attnlab::ColumnsView& c) const {
    const attnlab::KeyBlock& keys = prompt.keys();
    const auto centre = c.column<float>("centre")[0];
    std::vector<double> sum(centre.size());
    for (int64_t j = 0; center && j < keys.end(); ++j) {
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += static_cast<double>(keys.key(j)[i]);
    }
    for (size_t i = 0; i < sum.size() && keys.end() > 0; ++i) {
      centre[i] = static_cast<float>(sum[i] / static_cast<double>(keys.end()));
    }
    double largest = 0;
    for (int64_t j = 0; mips_transform && j < keys.end(); ++j) {
      largest = std::max(largest, std::sqrt(squared_norm(keys.key(j), centre)));
    }
    c.column<float>("largest_norm")[0][0] = static_cast<float>(largest);

    State& state = c.state<State>();
    state.fitted = true;
    state.tables = magic_pig::HashTables(lsh_l);
    insert(keys, 0, Frame(*this, c), state.tables);
  }

  void select(const attnlab::Tile& tile, const attnlab::Prior& prior, attnlab::RowWriter& out) const {
    const State& state = tile.state<State>();
    if (!state.fitted) return;
    const auto hits = tile.scratch<uint16_t>(tile.key_count());
    const auto projections = tile.scratch<float>(plane_count());
    const auto codes = tile.scratch<uint64_t>(lsh_l);
    const auto hashed = tile.scratch<float>(hashed_dim(tile.head_dim()));
    const auto query = tile.scratch<double>(tile.head_dim());
    std::optional<Frame> frame;
    for (auto row : tile.rows()) {
      // The query heads of one query share what they read of the frame.
      if (row.row % tile.group() == 0) frame.emplace(*this, tile);
      const auto candidates = prior.candidates(row.row);
      if (candidates.count == 0) continue;

      double query_norm = 0;
      for (size_t i = 0; i < query.size(); ++i) {
        query[i] = static_cast<double>(tile.query(row.row)[i]);
        if (center_queries) query[i] -= static_cast<double>(frame->centre[i]);
        hashed[i] = static_cast<float>(query[i]);
        query_norm += query[i] * query[i];
      }
      if (mips_transform) hashed.back() = 0;
      project(hashed, frame->planes, projections);
      pack(projections, codes.data(), 1);
      count_hits(tile, state.tables, codes, hits.first(static_cast<size_t>(tile.visible_end(row))));

      const auto drawn = out.reserve_weighted(row, candidates.count);
      size_t count = 0;
      for (auto run : candidates.runs) {
        for (int32_t j = run.begin; j < run.end; ++j) {
          if (hits[static_cast<size_t>(j)] < min_tables) continue;
          drawn.ids[count] = j;
          drawn.log_weight[count++] =
              static_cast<float>(-collision->log(cosine(query, std::sqrt(query_norm), tile.key(j), *frame)));
        }
      }
      out.commit(static_cast<int64_t>(count));
    }
  }

 private:
  static constexpr int64_t max_plane_elements = 1 << 24;  // of a column

  /// What makes codes comparable: the same for all keys and queries of a KV head.
  struct Frame {
    template <class Columns>
    Frame(const MagicPig& masker, const Columns& c)
        : planes(c.template column<float>("planes")[0]), centre(c.template column<float>("centre")[0]) {
      if (masker.mips_transform)
        largest_norm = static_cast<double>(c.template column<float>("largest_norm")[0][0]);
    }
    std::span<const float> planes, centre;
    double largest_norm = 0;
  };

  int64_t plane_count() const { return lsh_l * lsh_k; }
  int64_t hashed_dim(int64_t head_dim) const { return head_dim + (mips_transform ? 1 : 0); }

  static double squared_norm(std::span<const float> key, std::span<const float> centre) {
    double sum = 0;
    for (size_t i = 0; i < key.size(); ++i) {
      const double x = static_cast<double>(key[i]) - static_cast<double>(centre[i]);
      sum += x * x;
    }
    return sum;
  }

  /// Keys [begin, keys.end()) into the tables.
  void insert(const attnlab::KeyBlock& keys, int64_t begin, const Frame& frame,
              magic_pig::HashTables& tables) const {
    constexpr int64_t block = 4096, part = 64;  // keys whose codes are in memory, and of one task
    std::vector<uint64_t> codes(static_cast<size_t>(lsh_l * std::min(block, keys.end() - begin)));
    for (; begin < keys.end(); begin += block) {
      const int64_t count = std::min(block, keys.end() - begin);  // codes: [lsh_l, count]
      host().parallel_for((count + part - 1) / part, [&](int64_t task) {
        std::vector<float> hashed(static_cast<size_t>(hashed_dim(static_cast<int64_t>(frame.centre.size()))));
        std::vector<float> projections(static_cast<size_t>(plane_count()));
        for (int64_t j = task * part; j < std::min(count, (task + 1) * part); ++j) {
          const auto key = keys.key(begin + j);
          for (size_t i = 0; i < key.size(); ++i) hashed[i] = key[i] - frame.centre[i];
          if (mips_transform) {
            // A key longer than the prompt's longest keeps its own norm.
            const double longest = frame.largest_norm * frame.largest_norm;
            const double rest = std::max(0.0, longest - squared_norm(key, frame.centre));
            hashed.back() = static_cast<float>(std::sqrt(rest));
          }
          project(hashed, frame.planes, projections);
          pack(projections, codes.data() + j, count);
        }
      });
      host().parallel_for(lsh_l, [&](int64_t table) {
        for (int64_t j = 0; j < count; ++j) {
          tables.insert(table, codes[static_cast<size_t>(table * count + j)],
                        static_cast<int32_t>(begin + j));
        }
      });
    }
  }

  /// out[p] = sum over i of x[i] * planes[i, p], added in the order of i whatever the lanes.
  static void project(std::span<const float> x, std::span<const float> planes, std::span<float> out) {
    constexpr size_t lanes = 32;
    size_t p = 0;
    for (; p + lanes <= out.size(); p += lanes) {
      float sum[lanes] = {};
      for (size_t i = 0; i < x.size(); ++i) {
        const float* plane = planes.data() + i * out.size() + p;
        for (size_t lane = 0; lane < lanes; ++lane) sum[lane] += x[i] * plane[lane];
      }
      std::copy(sum, sum + lanes, out.begin() + static_cast<int64_t>(p));
    }
    for (; p < out.size(); ++p) {
      float sum = 0;
      for (size_t i = 0; i < x.size(); ++i) sum += x[i] * planes[i * out.size() + p];
      out[p] = sum;
    }
  }

  /// The code of table t goes to codes[t * stride]: bit b says that projection t * lsh_k + b is not negative.
  void pack(std::span<const float> projections, uint64_t* codes, int64_t stride) const {
    const float* projection = projections.data();
    for (int64_t table = 0; table < lsh_l; ++table, projection += lsh_k) {
      uint64_t code = 0;
      for (int64_t b = 0; b < lsh_k; ++b) code |= static_cast<uint64_t>(projection[b] >= 0) << b;
      codes[table * stride] = code;
    }
  }

  /// hits[j] = tables in which key j lies in the query's bucket.
  static void count_hits(const attnlab::Tile& tile, const magic_pig::HashTables& tables,
                         std::span<const uint64_t> codes, std::span<uint16_t> hits) {
    std::fill(hits.begin(), hits.end(), uint16_t{0});
    size_t ids_read = 0;
    for (size_t table = 0; table < codes.size(); ++table) {
      for (int32_t key : tables.bucket(static_cast<int64_t>(table), codes[table])) {
        if (static_cast<size_t>(key) >= hits.size()) break;
        ++ids_read;
        ++hits[static_cast<size_t>(key)];
      }
    }
    tile.count_read(static_cast<int64_t>(ids_read * sizeof(int32_t) + codes.size() * sizeof(uint64_t)));
  }

  /// Cosine of the hashed vectors. A zero vector has the code of all ones, which agrees with each bit of
  /// another vector with probability 1/2, as a right angle does, and with another zero vector always.
  static double cosine(std::span<const double> query, double query_norm, std::span<const float> key,
                       const Frame& frame) {
    double dot = 0, key_square = 0;
    for (size_t i = 0; i < query.size(); ++i) {
      const double x = static_cast<double>(key[i]) - static_cast<double>(frame.centre[i]);
      dot += query[i] * x;
      key_square += x * x;
    }
    const double key_norm = std::max(std::sqrt(key_square), frame.largest_norm);
    if (query_norm == 0 || key_norm == 0) return query_norm == key_norm ? 1 : 0;
    return std::clamp(dot / query_norm / key_norm, -1.0, 1.0);
  }

  std::optional<magic_pig::CollisionProbability> collision;
};

ATTNLAB_PLUGIN(MagicPig);
