#include <attnlab/masker.hpp>
#include <bit>
#include <cmath>
#include <numbers>

/// MagicPIG: samples the keys that share a K-bit SimHash with the query in at least `min_tables` of L tables,
/// and weights them by the probability of that event (arXiv:2410.16179). Keys are centred, the query is not.
struct MagicPig : attnlab::Masker {
  int64_t lsh_l = 75, lsh_k = 8, min_tables = 2;
  bool center = true;

  static void describe(attnlab::Description<MagicPig>& d) {
    d.id("stub.magic_pig")
        .summary("Samples keys by hash collisions with the query.")
        .paper("arXiv:2410.16179");
    d.samples().prompt_fitted();
    d.parameter("lsh_l", &MagicPig::lsh_l).doc("Hash tables.").range(1, 1024).sweep({75, 120, 150, 300});
    d.parameter("lsh_k", &MagicPig::lsh_k).doc("Bits per hash.").range(1, 64).sweep({8, 9, 10, 11});
    d.parameter("min_tables", &MagicPig::min_tables)
        .doc("Collisions that make a sample.")
        .at_least(1)
        .sweep({1, 2});
    d.parameter("center", &MagicPig::center).doc("Subtracts the mean key of the prompt before hashing.");
  }

  void prepare() {
    if (min_tables > lsh_l)
      throw attnlab::ParameterError("min_tables", "must not exceed the number of tables, lsh_l");
    for (int64_t j = 0; j <= lsh_l; ++j) {
      log_choose.push_back(
          j == 0 ? 0
                 : log_choose.back() + std::log(static_cast<double>(lsh_l - j + 1) / static_cast<double>(j)));
    }
    for (int64_t t = 0; t < codes_per_word(); ++t) top_bits |= uint64_t{1} << (t * lsh_k + lsh_k - 1);
  }

  void columns(attnlab::Columns& c, const attnlab::Geometry& g) const {
    c.per_sequence<uint8_t>("fitted", 1);
    c.per_sequence<float>("planes", g.head_dim * lsh_k * lsh_l);  // [head_dim, tables, bits]
    c.per_sequence<float>("centre", g.head_dim);
    c.per_token<uint64_t>("codes", word_count());
  }

  void end_prompt(const attnlab::Prompt& prompt, attnlab::ColumnsView& c) const {
    auto random = prompt.random();
    for (float& weight : c.column<float>("planes")[0]) weight = static_cast<float>(random.normal());
    auto centre = c.column<float>("centre")[0];
    const attnlab::KeyBlock& keys = prompt.keys();
    for (size_t i = 0; center && keys.end() > 0 && i < centre.size(); ++i) {
      double sum = 0;
      for (int64_t j = 0; j < keys.end(); ++j) sum += static_cast<double>(keys.key(j)[i]);
      centre[i] = static_cast<float>(sum / static_cast<double>(keys.end()));
    }
    c.column<uint8_t>("fitted")[0][0] = 1;
    encode(keys, c);
  }

  void encode(const attnlab::KeyBlock& keys, attnlab::ColumnsView& c) const {
    if (c.column<uint8_t>("fitted")[0][0] == 0) return;
    auto planes = c.column<float>("planes")[0], centre = c.column<float>("centre")[0];
    auto codes = c.column<uint64_t>("codes");
    std::vector<float> key(centre.size()), projections(static_cast<size_t>(lsh_k * lsh_l));
    for (int64_t j = keys.begin(); j < keys.end(); ++j) {
      for (size_t i = 0; i < key.size(); ++i) key[i] = keys.key(j)[i] - centre[i];
      hash(key, planes, projections, codes[j]);
    }
  }

  void select(const attnlab::Tile& tile, const attnlab::Prior& prior, attnlab::RowWriter& out) const {
    auto planes = tile.column<float>("planes")[0], centre = tile.column<float>("centre")[0];
    auto codes = tile.column<uint64_t>("codes");
    auto projections = tile.scratch<float>(lsh_k * lsh_l);
    auto code = tile.scratch<uint64_t>(word_count());
    for (auto query : tile.rows()) {
      hash(tile.query(query.row), planes, projections, code);
      auto candidates = prior.candidates(query.row);
      auto drawn = out.reserve_weighted(query, candidates.count);
      size_t count = 0;
      for (auto run : candidates.runs) {
        for (int32_t j = run.begin; j < run.end; ++j) {
          if (collisions(code, codes[j]) < min_tables) continue;
          drawn.ids[count] = j;
          drawn.log_weight[count++] =
              static_cast<float>(-log_probability(tile.query(query.row), tile.key(j), centre));
        }
      }
      out.commit(static_cast<int64_t>(count));
    }
  }

 private:
  std::vector<double> log_choose;  // ln C(lsh_l, j)
  uint64_t top_bits = 0;           // the highest bit of each code of a word

  int64_t codes_per_word() const { return 64 / lsh_k; }
  int64_t word_count() const { return (lsh_l + codes_per_word() - 1) / codes_per_word(); }

  void hash(std::span<const float> x, std::span<const float> planes, std::span<float> projections,
            std::span<uint64_t> words) const {
    std::fill(projections.begin(), projections.end(), 0.0f);
    for (size_t i = 0; i < x.size(); ++i) {
      const float* plane = planes.data() + i * projections.size();
      for (size_t p = 0; p < projections.size(); ++p) projections[p] += x[i] * plane[p];
    }
    std::fill(words.begin(), words.end(), 0);
    for (int64_t p = 0; p < lsh_k * lsh_l; ++p) {
      const int64_t table = p / lsh_k, bit = table % codes_per_word() * lsh_k + p % lsh_k;
      const uint64_t sign = projections[static_cast<size_t>(p)] >= 0 ? 1 : 0;
      words[static_cast<size_t>(table / codes_per_word())] |= sign << bit;
    }
  }

  int64_t collisions(std::span<const uint64_t> a, std::span<const uint64_t> b) const {
    int64_t differing = 0;
    for (size_t w = 0; w < a.size(); ++w) {
      // Adding all ones below a code's top bit carries into it exactly when one of these bits is set.
      const uint64_t below = (top_bits >> (lsh_k - 1)) * ((uint64_t{1} << (lsh_k - 1)) - 1);
      const uint64_t x = a[w] ^ b[w];
      differing += std::popcount((((x & below) + below) | x) & top_bits);
    }
    return lsh_l - differing;
  }

  /// ln P(Binomial(L, s) >= min_tables) with s = (1 - angle / pi)^K. Positive terms in logs: 1 - P(fewer)
  /// cancels to 0.
  double log_probability(std::span<const float> q, std::span<const float> key,
                         std::span<const float> centre) const {
    double dot = 0, q_norm = 0, k_norm = 0;
    for (size_t i = 0; i < q.size(); ++i) {
      const double x = static_cast<double>(q[i]), y = static_cast<double>(key[i] - centre[i]);
      dot += x * y;
      q_norm += x * x;
      k_norm += y * y;
    }
    const double norms = std::sqrt(q_norm * k_norm);
    const double cosine = norms > 0 ? std::clamp(dot / norms, -1.0, 1.0) : 0;
    const double agreement = std::max(1 - std::acos(cosine) / std::numbers::pi, 1e-12);
    const double hit = static_cast<double>(lsh_k) * std::log(agreement), miss = std::log(-std::expm1(hit));
    if (hit == 0) return 0;
    double largest = -std::numeric_limits<double>::infinity(), sum = 0;
    for (int64_t j = min_tables; j <= lsh_l; ++j) {
      const double term = log_choose[static_cast<size_t>(j)] + static_cast<double>(j) * hit +
                          static_cast<double>(lsh_l - j) * miss;
      sum = term > largest ? sum * std::exp(largest - term) + 1 : sum + std::exp(term - largest);
      largest = std::max(largest, term);
    }
    return std::min(0.0, largest + std::log(sum));
  }
};

ATTNLAB_PLUGIN(MagicPig);
