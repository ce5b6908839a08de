#include <attnlab/kernels.hpp>
#include <attnlab/scorer.hpp>

#include <limits>

/// SOCKET: soft collision probability of locality-sensitive hashes, times the value's norm
/// (arXiv:2602.06283).
struct Socket : attnlab::Scorer {
  int64_t K = 4;
  int64_t L = 1;
  double tau = 0.3;

  static void describe(attnlab::Description<Socket>& d) {
    d.id("socket")
        .summary("Keeps the keys in the likeliest hash buckets, weighted by the norm of their values.")
        .paper("arXiv:2602.06283")
        .selector("top_k");
    d.parameter("K", &Socket::K)
        .doc("Random planes per hash table: 2^K buckets.")
        .unit("bits")
        .range(1, 30)
        .sweep({4, 6, 8, 10});
    d.parameter("L", &Socket::L).doc("Hash tables.").range(1, 1024).log_scale().sweep({1, 8, 20, 60});
    d.parameter("tau", &Socket::tau)
        .doc("Temperature of the query's bucket probabilities; small is a hard hash.")
        .above(0)
        .at_most(1e6)
        .log_scale()
        .sweep({0.1, 0.2, 0.3, 0.5});
  }

  void columns(attnlab::Columns& c, const attnlab::Geometry& g) const {
    if (K * L > max_width / g.head_dim) {
      throw attnlab::ParameterError("L", std::to_string(L) + " tables of " + std::to_string(K) +
                                             " planes for head_dim " + std::to_string(g.head_dim) +
                                             " exceed the 16777216 numbers allowed; use fewer tables");
    }
    c.per_sequence_normal("planes", K * L * g.head_dim);
    if (short_buckets()) {
      c.per_token<uint8_t>("buckets", L);
    } else {
      c.per_token<int32_t>("buckets", L);
    }
    c.per_token<float>("value_norm", 1);
  }

  void encode(const attnlab::KeyBlock& keys, attnlab::ColumnsView& c) const {
    if (short_buckets()) {
      write_buckets(keys, c, c.column<uint8_t>("buckets"));
    } else {
      write_buckets(keys, c, c.column<int32_t>("buckets"));
    }
    auto norms = c.column<float>("value_norm");
    for (int64_t j = keys.begin(); j < keys.end(); ++j) {
      double sum = 0;
      for (float value : keys.value(j)) sum += double{value} * double{value};
      // The norm of finite values may exceed float32; 0 times infinity would be NaN.
      norms[j][0] = static_cast<float>(std::min(std::sqrt(sum), double{std::numeric_limits<float>::max()}));
    }
  }

  void score(const attnlab::Tile& tile, attnlab::Scores& out) const {
    if (short_buckets()) {
      score_with(tile, tile.column<uint8_t>("buckets"), out);
    } else {
      score_with(tile, tile.column<int32_t>("buckets"), out);
    }
  }

 private:
  static constexpr int64_t max_width = int64_t{1} << 24;
  /// Up to here a query tabulates the probabilities of all buckets, else it multiplies K factors for each
  /// key.
  static constexpr int64_t max_table_bits = 12;
  /// Of the tables of several rows, which one pass over the buckets serves.
  static constexpr int64_t max_table_floats = int64_t{1} << 20;

  bool short_buckets() const { return K <= 8; }

  /// Products of `x` with all planes. The record is [head_dim, L, K], so that the loop over planes
  /// vectorises without reordering a sum.
  void project(std::span<const float> x, std::span<const float> planes, std::span<double> out) const {
    std::fill(out.begin(), out.end(), 0.0);
    const float* plane = planes.data();
    for (float value : x) {
      for (double& sum : out) sum += double{value} * double{*plane++};
    }
  }

  /// The bit of a table's first plane is the highest.
  template <class Bucket>
  void write_buckets(const attnlab::KeyBlock& keys, const attnlab::ColumnsView& c,
                     attnlab::Column<Bucket> buckets) const {
    const auto planes = c.column<float>("planes")[0];
    std::vector<double> projected(static_cast<size_t>(K * L));
    for (int64_t j = keys.begin(); j < keys.end(); ++j) {
      project(keys.key(j), planes, projected);
      const double* next = projected.data();
      for (Bucket& record : buckets[j]) {
        int32_t bucket = 0;
        for (int64_t k = 0; k < K; ++k) bucket = bucket << 1 | (*next++ >= 0 ? 1 : 0);
        record = static_cast<Bucket>(bucket);
      }
    }
  }

  template <class Bucket>
  void score_with(const attnlab::Tile& tile, attnlab::Column<const Bucket> buckets,
                  attnlab::Scores& out) const {
    const auto plane_column = tile.column<float>("planes"), norm_column = tile.column<float>("value_norm");
    const int64_t entries = K <= max_table_bits ? L << K : 0;
    const int64_t table_rows =
        std::clamp<int64_t>(max_table_floats / std::max<int64_t>(1, entries), 1, tile.group());
    const auto tables = tile.scratch<float>(table_rows * entries);
    const auto projected = tile.scratch<double>(K * L);
    const auto factors = tile.scratch<float>(2 * K * L);
    for (auto query : tile.queries()) {
      const int64_t end = tile.visible_end(query);
      const auto planes = plane_column.records(0, 1), norms = norm_column.records(0, end);
      const auto records = buckets.matrix(0, end);
      const int64_t query_end = query.row + query.rows;
      for (int64_t first = query.row; first < query_end; first += table_rows) {
        const int64_t rows = std::min(table_rows, query_end - first);
        for (int64_t row = first; row < first + rows; ++row) {
          project(tile.query(row), planes, projected);
          bit_factors(projected, tile.head_dim(), factors);
          if (entries > 0) {
            tabulate(factors, tables.subspan(static_cast<size_t>((row - first) * entries),
                                             static_cast<size_t>(entries)));
          } else {
            add_probabilities(factors, records, out.row(row));
          }
        }
        if (entries > 0) {
          attnlab::kernels::lut({tables.data(), rows, entries, entries}, entries / L, records,
                                out.from(first, 0));
        }
        for (int64_t row = first; row < first + rows; ++row) {
          const auto scores = out.row(row);
          for (size_t j = 0; j < norms.size(); ++j) scores[j] *= norms[j];
          std::fill(scores.begin() + end, scores.end(), -std::numeric_limits<float>::infinity());
        }
      }
    }
  }

  /// Sums over the tables, where they are too large to be written down.
  template <class Bucket>
  void add_probabilities(std::span<const float> factors, const attnlab::Matrix<Bucket>& buckets,
                         std::span<float> scores) const {
    for (int64_t j = 0; j < buckets.rows(); ++j) {
      float sum = 0;
      for (size_t l = 0; l < static_cast<size_t>(L); ++l) sum += probability(factors, l, buckets.row(j)[l]);
      scores[static_cast<size_t>(j)] = sum;
    }
  }

  /// Probability that a plane's bit is 0, and 1. The softmax of <u, corner> / tau over the corners {-1, 1}^K,
  /// u = tanh(projection) / sqrt(head_dim), is a product of K logistic functions, one for each plane.
  void bit_factors(std::span<const double> projected, int64_t head_dim, std::span<float> factors) const {
    const double root = std::sqrt(static_cast<double>(head_dim));
    for (size_t i = 0; i < projected.size(); ++i) {
      const double odds = 2 * std::tanh(projected[i]) / root / tau;
      factors[2 * i] = static_cast<float>(1 / (1 + std::exp(odds)));
      factors[2 * i + 1] = static_cast<float>(1 / (1 + std::exp(-odds)));
    }
  }

  float probability(std::span<const float> factors, size_t l, int32_t bucket) const {
    const float* pair = factors.data() + 2 * static_cast<int64_t>(l) * K;
    float product = 1;
    for (int64_t k = 0; k < K; ++k) product *= pair[2 * k + ((bucket >> (K - 1 - k)) & 1)];
    return product;
  }

  /// `probability` of every bucket, with the products in the same order.
  void tabulate(std::span<const float> factors, std::span<float> table) const {
    for (int64_t l = 0; l < L; ++l) {
      float* row = table.data() + (l << K);
      row[0] = 1;
      for (int64_t k = 0; k < K; ++k) {
        const float* pair = factors.data() + 2 * (l * K + k);
        for (int64_t prefix = (int64_t{1} << k) - 1; prefix >= 0; --prefix) {
          const float product = row[prefix];
          row[2 * prefix] = product * pair[0];
          row[2 * prefix + 1] = product * pair[1];
        }
      }
    }
  }
};

ATTNLAB_PLUGIN(Socket);
