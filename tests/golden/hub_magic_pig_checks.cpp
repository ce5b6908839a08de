// magic_pig on the reference's own hyperplanes, and against theory over many seeds.
#include <attnlab/tile.hpp>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/attention/session.hpp"
#include "core/io/npy.hpp"
#include "plugins/maskers/magic_pig/collision.hpp"
#include "tests/golden/hub_checks.hpp"
#include "tests/golden/hub_compare.hpp"
#include "tests/support/catalog.hpp"

namespace attnlab::golden {
namespace {

using io::Json;

/// The case's stages with the reference's semantics, as far as ours has them.
Json reference_stages(const HubCase& golden) {
  Json stages = golden.stages();
  for (auto& stage : stages) {
    if (stage["masker"] != "magic_pig") continue;
    stage.erase("packing");
    stage["min_tables"] = 1;
    stage["mips_transform"] = true;
    stage["center_queries"] = stage.value("center", true);
  }
  return stages;
}

/// A case in memory, to be run with many seeds or other hyperplanes.
class Runner {
 public:
  explicit Runner(const HubCase& golden) : golden_(golden) {
    const HubShape& s = golden.shape();
    geometry_ = {s.batch, s.query_heads, s.kv_heads, s.queries, s.keys, s.head_dim, s.value_dim};
    layer_.query = tensor::view_bhsd(golden.inputs().at("q"));
    layer_.key = tensor::view_bhsd(golden.inputs().at("k"));
    layer_.value = tensor::view_bhsd(golden.inputs().at("v"));
    layer_.valid.assign(static_cast<size_t>(s.batch), s.keys);
    pipelines_ = test::bind(test::document_with(Json{{"case", reference_stages(golden)}}.dump()));
  }

  /// Inclusion probabilities. `planes` [D + 1, L * K] replaces those that the seed gives, unless empty.
  Plane mask(uint64_t seed, std::span<const float> planes) const {
    attention::AttentionOptions options;
    options.causal = golden_.causal();
    options.scale = static_cast<float>(golden_.scale());
    options.on_empty_row = config::EmptyRow::zeros;
    options.seed = seed;
    attention::Session session(pipelines_, layer_, geometry_, options);
    if (!planes.empty()) {
      for (const auto& head : session.state(0).back()) {
        const auto column = attnlab::detail::find_column<float>(&head.columns(), "planes")[0];
        EXPECT_EQ(column.size(), planes.size());
        std::copy(planes.begin(), planes.end(), column.begin());
      }
    }
    session.append(geometry_.keys);
    session.end_prompt();
    Plane mask(golden_.shape().rows(), geometry_.keys, 0);
    attention::Engine engine({&kernels::best_table(), 1 << 22, false});
    engine.attend(session, 0, geometry_.queries, {}, [&](const attention::TileOutcome& outcome) {
      for (int64_t r = 0; r < outcome.tile->rows(); ++r) {
        const int64_t head = outcome.tile->index().batch * geometry_.query_heads + outcome.tile->head_of(r);
        const auto row = mask.row(head * geometry_.queries + outcome.tile->query_of(r));
        const auto& list = outcome.selection->list(r);
        for (auto run : list.runs) std::fill(row.begin() + run.begin, row.begin() + run.end, 1.0f);
        for (int32_t key : list.ids) row[static_cast<size_t>(key)] = 1;
        for (size_t i = 0; i < list.sampled.size(); ++i) {
          row[static_cast<size_t>(list.sampled[i])] = std::exp(-list.log_weight[i]);
        }
      }
    });
    return mask;
  }

 private:
  const HubCase& golden_;
  data::Geometry geometry_;
  data::LayerProblem layer_;
  std::vector<attention::Pipeline> pipelines_;
};

/// By definition and in double: centred keys of norm N after augmentation, centred queries.
class Theory {
 public:
  explicit Theory(const HubCase& golden) : golden_(golden) {
    const HubShape& s = golden.shape();
    const auto key = golden.inputs().at("k").values<float>();
    const bool centred = reference_stages(golden).back().value("center", true);
    for (int64_t head = 0; head < s.batch * s.kv_heads; ++head) {
      std::vector<double> keys(key.begin() + head * s.keys * s.head_dim,
                               key.begin() + (head + 1) * s.keys * s.head_dim);
      std::vector<double> centre(static_cast<size_t>(s.head_dim));
      for (size_t i = 0; centred && i < keys.size(); ++i)
        centre[i % centre.size()] += keys[i] / static_cast<double>(s.keys);
      double largest = 0, square = 0;
      for (size_t i = 0; i < keys.size(); ++i) {
        keys[i] -= centre[i % centre.size()];
        square = (i % centre.size() == 0 ? 0 : square) + keys[i] * keys[i];
        largest = std::max(largest, std::sqrt(square));
      }
      keys_.push_back(keys);
      centre_.push_back(centre);
      largest_.push_back(largest);
    }
  }

  int64_t kv_head(int64_t row) const {
    const HubShape& s = golden_.shape();
    return row / s.queries / (s.query_heads / s.kv_heads);
  }
  /// The head holds the largest key norm of the batch, which the reference uses for all heads.
  bool holds_maximum(int64_t head) const {
    return largest_[static_cast<size_t>(head)] == *std::max_element(largest_.begin(), largest_.end());
  }
  double cosine(int64_t row, int64_t key) const {
    const auto head = static_cast<size_t>(kv_head(row));
    const auto dim = static_cast<size_t>(golden_.shape().head_dim);
    const float* q = golden_.inputs().at("q").values<float>().data() + row * golden_.shape().head_dim;
    double dot = 0, square = 0;
    for (size_t d = 0; d < dim; ++d) {
      const double x = double{q[d]} - centre_[head][d];
      dot += x * keys_[head][static_cast<size_t>(key) * dim + d];
      square += x * x;
    }
    return dot / std::sqrt(square) / largest_[head];
  }
  /// 1 - (1 - s)^L.
  double probability(int64_t row, int64_t key) const {
    const auto bits = golden_.parameter("magic_pig", "lsh_k").get<int64_t>();
    const auto tables = golden_.parameter("magic_pig", "lsh_l").get<int64_t>();
    const double s = std::pow(1 - std::acos(cosine(row, key)) / std::numbers::pi, bits);
    return -std::expm1(static_cast<double>(tables) * std::log1p(-s));
  }

 private:
  const HubCase& golden_;
  std::vector<std::vector<double>> keys_, centre_;  // [B * Hkv]
  std::vector<double> largest_;
};

}  // namespace

void same_collisions(const TableRow& row) {
  const HubCase golden(row.name);
  const tensor::Tensor planes = io::read_npy(golden.path("projection.npy"));
  const Plane ours = Runner(golden).mask(0, planes.values<float>());
  const Plane reference = golden.mask(), collision = Plane::read(golden.path("collision_prob.npy"));
  const Theory theory(golden);
  int64_t compared = 0, drawn = 0;
  for (int64_t r = 0; r < ours.rows(); ++r) {
    const bool exact = theory.holds_maximum(theory.kv_head(r));
    for (int64_t key = 0; key < golden.visible_end(r); ++key) {
      const auto j = static_cast<size_t>(key);
      const double p = double{ours.row(r)[j]};
      if (p > 0) {
        ++drawn;
        EXPECT_NEAR(p, theory.probability(r, key), 1e-5 * p) << "row " << r << ", key " << key;
      }
      if (!exact) continue;
      ++compared;
      EXPECT_EQ(p > 0, reference.row(r)[j] > 0) << "row " << r << ", key " << key;
      EXPECT_NEAR(theory.probability(r, key), double{collision.row(r)[j]}, 1e-4 * theory.probability(r, key));
      if (p > 0) {
        EXPECT_NEAR(p, double{reference.row(r)[j]}, 1e-4 * p) << "row " << r << ", key " << key;
      }
    }
    for (int64_t key = golden.visible_end(r); key < golden.shape().keys; ++key)
      EXPECT_EQ(ours.row(r)[static_cast<size_t>(key)], 0) << "row " << r << ", key " << key;
  }
  EXPECT_GT(compared, 100) << "a KV head holds the maximum";
  EXPECT_GT(drawn, compared / 10);
}

void collides_as_in_theory(const TableRow& row) {
  const HubCase golden(row.name);
  const Theory theory(golden);
  const Runner runner(golden);
  const auto seeds = golden.manifest()["n_seeds"].get<int64_t>();
  const Plane frequency = Plane::read(golden.path("inclusion_frequency.npy"));
  const int64_t rows = golden.shape().rows(), keys = golden.shape().keys;
  Plane times(rows, keys, 0);
  double sum = 0, squares = 0;
  for (int64_t seed = 0; seed < seeds; ++seed) {
    const Plane mask = runner.mask(static_cast<uint64_t>(seed), {});
    double ratio = 0;
    for (int64_t r = 0; r < rows; ++r) {
      const auto logits = golden.logits(r);
      double exact = 0, estimate = 0;
      for (size_t j = 0; j < logits.size(); ++j) {
        exact += std::exp(logits[j]);
        if (mask.row(r)[j] == 0) continue;
        times.row(r)[j] += 1;
        estimate += std::exp(logits[j]) / double{mask.row(r)[j]};
      }
      ratio += estimate / exact / static_cast<double>(rows);
    }
    sum += ratio;
    squares += ratio * ratio;
  }
  // All heads of a seed share keys, so that a seed is the unit.
  const auto n = static_cast<double>(seeds);
  const double mean = sum / n, error = std::sqrt((squares / n - mean * mean) / (n - 1));
  EXPECT_LE(std::abs(mean - 1), 3 * error) << mean << " +- " << error;
  EXPECT_LT(error, 0.05);

  // Each key alone, within 5 standard deviations; 3 draws of slack where the normal approximation is poor.
  const auto sink = golden.parameter("sink", "sink_size").get<int64_t>();
  const auto window = golden.parameter("local", "window_size").get<int64_t>();
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t key = sink; key < keys - window; ++key) {
      const auto j = static_cast<size_t>(key);
      const double p = theory.probability(r, key), slack = 5 * std::sqrt(n * p * (1 - p)) + 3;
      EXPECT_NEAR(double{times.row(r)[j]}, n * p, slack) << "row " << r << ", key " << key;
      if (theory.holds_maximum(theory.kv_head(r))) {
        EXPECT_NEAR(n * double{frequency.row(r)[j]}, n * p, slack) << "row " << r << ", key " << key;
      }
    }
  }
}

}  // namespace attnlab::golden
