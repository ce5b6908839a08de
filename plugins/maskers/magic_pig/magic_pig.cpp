#include <attnlab/masker.hpp>

#include <bit>
#include <optional>

#include "collision.hpp"
#include "hash_tables.hpp"
#include "vector_loops.hpp"

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
    State(const MagicPig& masker, const attnlab::Geometry&, attnlab::Philox)
        : tables(masker.lsh_l, masker.lsh_k) {}

    void append(const MagicPig& masker, const attnlab::KeyBlock& keys, const attnlab::ColumnsView& c) {
      if (fitted) masker.insert(keys, keys.begin(), Frame(masker, c), *this);
    }
    void truncate(int64_t key_count) {
      tables.truncate(key_count);
      norms.resize(std::min(norms.size(), static_cast<size_t>(key_count)));
    }
    uint64_t bytes() const { return tables.bytes() + norms.size() * sizeof(double); }

    bool fitted = false;
    magic_pig::HashTables tables;
    std::vector<double> norms;  // of the hashed keys, without the coordinate of mips_transform
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
    state.tables = magic_pig::HashTables(lsh_l, lsh_k);
    state.norms.clear();
    insert(keys, 0, Frame(*this, c), state);
  }

  void select(const attnlab::Tile& tile, const attnlab::Prior& prior, attnlab::RowWriter& out) const {
    // Counters no wider than needed: those of 32768 keys stay in the first-level cache.
    if (lsh_l <= UINT8_MAX) {
      select_counting<uint8_t>(tile, prior, out);
    } else {
      select_counting<uint16_t>(tile, prior, out);
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
  void insert(const attnlab::KeyBlock& keys, int64_t begin, const Frame& frame, State& state) const {
    constexpr int64_t block = 4096, part = 64;  // keys whose codes are in memory, and of one task
    const auto head_dim = static_cast<int64_t>(frame.centre.size());
    const int64_t dim = hashed_dim(head_dim);
    std::vector<uint64_t> codes(static_cast<size_t>(lsh_l * std::min(block, keys.end() - begin)));
    state.norms.resize(static_cast<size_t>(keys.end()));
    for (; begin < keys.end(); begin += block) {
      const int64_t count = std::min(block, keys.end() - begin);  // codes: [lsh_l, count]
      host().parallel_for((count + part - 1) / part, [&](int64_t task) {
        const int64_t first = task * part, rows = std::min(part, count - first);
        std::vector<float> hashed(static_cast<size_t>(rows * dim));
        std::vector<float> projections(static_cast<size_t>(rows * plane_count()));
        for (int64_t r = 0; r < rows; ++r) {
          const auto key = keys.key(begin + first + r);
          float* x = hashed.data() + r * dim;
          for (size_t i = 0; i < key.size(); ++i) x[i] = key[i] - frame.centre[i];
          const double square = squared_norm(key, frame.centre);
          state.norms[static_cast<size_t>(begin + first + r)] = std::sqrt(square);
          if (mips_transform) {
            // A key longer than the prompt's longest keeps its own norm.
            const double rest = std::max(0.0, frame.largest_norm * frame.largest_norm - square);
            x[head_dim] = static_cast<float>(std::sqrt(rest));
          }
        }
        magic_pig::vector_loops().project(hashed.data(), rows, dim, frame.planes.data(), plane_count(),
                                          projections.data());
        for (int64_t r = 0; r < rows; ++r)
          pack(projections.data() + r * plane_count(), codes.data() + first + r, count);
      });
      host().parallel_for(lsh_l, [&](int64_t table) {
        for (int64_t j = 0; j < count; ++j) {
          state.tables.insert(table, codes[static_cast<size_t>(table * count + j)],
                              static_cast<int32_t>(begin + j));
        }
      });
    }
  }

  /// The code of table t goes to codes[t * stride]: bit b says that projection t * lsh_k + b is not negative.
  void pack(const float* projection, uint64_t* codes, int64_t stride) const {
    for (int64_t table = 0; table < lsh_l; ++table, projection += lsh_k) {
      uint64_t code = 0;
      for (int64_t b = 0; b < lsh_k; ++b) code |= static_cast<uint64_t>(projection[b] >= 0) << b;
      codes[table * stride] = code;
    }
  }

  /// The query heads of one query: what is hashed of them, and how long they are.
  struct Queries {
    std::span<double> query;       // [group, head_dim]
    std::span<float> hashed;       // [group, hashed_dim]
    std::span<float> projections;  // [group, lsh_l * lsh_k]
    std::span<uint64_t> codes;     // [group, lsh_l]
  };

  template <class Count>
  void select_counting(const attnlab::Tile& tile, const attnlab::Prior& prior,
                       attnlab::RowWriter& out) const {
    const State& state = tile.state<State>();
    if (!state.fitted) return;
    const int64_t group = tile.group(), dim = tile.head_dim();
    const Queries queries{tile.scratch<double>(group * dim), tile.scratch<float>(group * hashed_dim(dim)),
                          tile.scratch<float>(group * plane_count()), tile.scratch<uint64_t>(group * lsh_l)};
    const auto hits = tile.scratch<Count>(tile.key_count());
    const auto buckets = tile.scratch<std::span<const int32_t>>(lsh_l);
    const auto drawn = tile.scratch<uint64_t>((tile.key_count() + 63) / 64);
    const auto ids = tile.scratch<int32_t>(tile.key_count() + 1);
    const magic_pig::VectorLoops& loops = magic_pig::vector_loops();
    std::optional<Frame> frame;
    for (auto row : tile.rows()) {
      const int64_t member = row.row % group;
      if (member == 0) {
        // The query heads of one query share what they read of the frame.
        frame.emplace(*this, tile);
        hash_queries(tile, row.row, *frame, queries);
        for (size_t i = 0; i < queries.codes.size(); ++i)
          state.tables.prefetch(static_cast<int64_t>(i) % lsh_l, queries.codes[i]);
      }
      const auto candidates = prior.candidates(row.row);
      if (candidates.count == 0) continue;
      const auto codes =
          queries.codes.subspan(static_cast<size_t>(member * lsh_l), static_cast<size_t>(lsh_l));
      draw(tile, state.tables, codes, buckets, hits.first(static_cast<size_t>(tile.visible_end(row))), ids,
           drawn);
      const size_t count = keep_candidates(drawn, candidates, ids);

      const auto query = queries.query.subspan(static_cast<size_t>(member * dim), static_cast<size_t>(dim));
      double square = 0, on_centre = 0;
      for (size_t i = 0; i < query.size(); ++i) {
        square += query[i] * query[i];
        on_centre += query[i] * static_cast<double>(frame->centre[i]);
      }
      const double norm = std::sqrt(square);
      const auto slots = out.reserve_weighted(row, static_cast<int64_t>(count));
      constexpr size_t fetch_ahead = 8;
      const auto key = [&](size_t i) { return tile.table()->key + ids[i] * tile.table()->key_stride; };
      for (size_t i = 0; i < count; ++i) {
        if (i + fetch_ahead < count) {
          __builtin_prefetch(&state.norms[static_cast<size_t>(ids[i + fetch_ahead])]);
          for (int64_t d = 0; d < dim; d += 16) __builtin_prefetch(key(i + fetch_ahead) + d);
        }
        const double key_norm = std::max(state.norms[static_cast<size_t>(ids[i])], frame->largest_norm);
        const double product = loops.dot(query.data(), key(i), dim) - on_centre;
        slots.ids[i] = ids[i];
        slots.log_weight[i] = static_cast<float>(-collision->log(cosine(product, norm, key_norm)));
      }
      tile.count_read(static_cast<int64_t>(count * (query.size() * sizeof(float) + sizeof(double))));
      out.commit(static_cast<int64_t>(count));
    }
  }

  /// Rows [first, first + group).
  void hash_queries(const attnlab::Tile& tile, int64_t first, const Frame& frame,
                    const Queries& queries) const {
    const int64_t group = tile.group(), dim = tile.head_dim();
    for (int64_t member = 0; member < group; ++member) {
      const auto values = tile.query(first + member);
      double* query = queries.query.data() + member * dim;
      float* hashed = queries.hashed.data() + member * hashed_dim(dim);
      for (size_t i = 0; i < values.size(); ++i) {
        query[i] = static_cast<double>(values[i]);
        if (center_queries) query[i] -= static_cast<double>(frame.centre[i]);
        hashed[i] = static_cast<float>(query[i]);
      }
      if (mips_transform) hashed[dim] = 0;
    }
    magic_pig::vector_loops().project(queries.hashed.data(), group, hashed_dim(dim), frame.planes.data(),
                                      plane_count(), queries.projections.data());
    for (int64_t member = 0; member < group; ++member) {
      pack(queries.projections.data() + member * plane_count(), queries.codes.data() + member * lsh_l, 1);
    }
  }

  /// Sets the bits of the keys that lie in the query's bucket in at least min_tables tables. The other spans
  /// are scratch: `buckets` one per table, `hits` one per visible key, `order` one longer than it.
  template <class Count>
  void draw(const attnlab::Tile& tile, const magic_pig::HashTables& tables, std::span<const uint64_t> codes,
            std::span<std::span<const int32_t>> buckets, std::span<Count> hits, std::span<int32_t> order,
            std::span<uint64_t> drawn) const {
    const auto end = static_cast<int32_t>(hits.size());
    for (size_t table = 0; table < codes.size(); ++table) {
      buckets[table] = tables.bucket(static_cast<int64_t>(table), codes[table]);
      for (size_t i = 0; i < buckets[table].size(); i += 16) __builtin_prefetch(&buckets[table][i]);
    }
    std::fill(hits.begin(), hits.end(), Count{0});
    const auto wanted = static_cast<Count>(min_tables);
    size_t ids_read = 0, count = 0;
    for (auto bucket : buckets) {
      if (!bucket.empty() && bucket.back() >= end) {
        bucket = {bucket.begin(), std::lower_bound(bucket.begin(), bucket.end(), end)};
      }
      ids_read += bucket.size();
      for (int32_t key : bucket) {
        // Written always, kept when the key has its last hit that counts: a branch would cost more.
        order[count] = key;
        count += ++hits[static_cast<size_t>(key)] == wanted ? 1 : 0;
      }
    }
    std::fill(drawn.begin(), drawn.end(), uint64_t{0});
    for (int32_t key : order.first(count)) drawn[static_cast<size_t>(key / 64)] |= uint64_t{1} << (key % 64);
    tile.count_read(static_cast<int64_t>(ids_read * sizeof(int32_t) + codes.size() * sizeof(uint64_t)));
  }

  /// The candidates among the drawn keys, ascending.
  static size_t keep_candidates(std::span<const uint64_t> drawn, const attnlab::Candidates& candidates,
                                std::span<int32_t> ids) {
    size_t count = 0;
    for (auto run : candidates.runs) {
      for (int32_t word = run.begin / 64; word * 64 < run.end; ++word) {
        uint64_t bits = drawn[static_cast<size_t>(word)];
        if (word * 64 < run.begin) bits &= ~uint64_t{0} << (run.begin % 64);
        if (word * 64 > run.end - 64) bits &= ~uint64_t{0} >> (-run.end & 63);
        for (; bits != 0; bits &= bits - 1) ids[count++] = word * 64 + std::countr_zero(bits);
      }
    }
    return count;
  }

  /// Cosine of the hashed vectors. A zero vector has the code of all ones, which agrees with each bit of
  /// another vector with probability 1/2, as a right angle does, and with another zero vector always.
  static double cosine(double product, double query_norm, double key_norm) {
    if (query_norm == 0 || key_norm == 0) return query_norm == key_norm ? 1 : 0;
    return std::clamp(product / (query_norm * key_norm), -1.0, 1.0);
  }

  std::optional<magic_pig::CollisionTable> collision;
};

ATTNLAB_PLUGIN(MagicPig);
