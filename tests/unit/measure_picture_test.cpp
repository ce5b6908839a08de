// Small pictures of masks and dumped planes against the entries themselves.
#include "core/measure/picture.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "core/measure/dump.hpp"
#include "tests/unit/attention_test_support.hpp"

namespace attnlab::measure {
namespace {

constexpr int64_t group = 2, query_count = 13, key_count = 29, width = 3;

/// A tile of 13 queries of 2 heads over 29 keys with a random selection in each row: runs, ids and sampled
/// keys.
struct Scene {
  explicit Scene(unsigned seed, bool hidden)
      : problem(attention::random_problem({1, group, 1, query_count, key_count, 4, width}, seed)) {
    if (hidden) attention::hide_at_random(problem, group, 0.3, seed);
    tile = attention::tile_of(problem);
    selection.reset(tile.rows());
    std::mt19937 random(seed);
    for (int64_t row = 0; row < tile.rows(); ++row) {
      attention::RowList& list = selection.assign(row, 1);
      for (int32_t key = 0; key < key_count; ++key) {
        if (!attention::visible(tile, row, key)) continue;
        const auto kind = random() % 5;
        if (kind == 0) {
          list.runs.push_back({key, key + 1});
        } else if (kind == 1) {
          list.ids.push_back(key);
        } else if (kind == 2) {
          list.sampled.push_back(key);
          list.log_weight.push_back(0.25f * static_cast<float>(1 + random() % 8));
        }
      }
      attention::normalise_runs(list.runs);
    }
    for (int64_t i = 0; i < tile.rows() * width; ++i) out.push_back(static_cast<float>(i) / 7);
    for (int64_t row = 0; row < tile.rows(); ++row) lse.push_back(0.5f + static_cast<float>(row) / 16);
  }
  attention::TileOutcome outcome(bool dense) {
    attention::TileOutcome o;
    o.tile = &tile;
    o.selection = dense ? nullptr : &selection;
    o.out = out.data();
    o.lse = lse.data();
    return o;
  }
  /// Inclusion probability of a key, 0 when it is not active.
  double probability(int64_t row, int32_t key, bool dense) const {
    if (dense) return attention::visible(tile, row, key) ? 1 : 0;
    const attention::RowList& list = selection.list(row);
    for (const auto& run : list.runs) {
      if (run.begin <= key && key < run.end) return 1;
    }
    if (std::count(list.ids.begin(), list.ids.end(), key) > 0) return 1;
    for (size_t i = 0; i < list.sampled.size(); ++i) {
      if (list.sampled[i] == key) return std::exp(-double{list.log_weight[i]});
    }
    return 0;
  }

  attention::SmallProblem problem;
  attention::Tile tile;
  attention::Selection selection;
  std::vector<float> out, lse;
};

TEST(MeasurePicture, CountsWhatTheBlocksHold) {
  for (unsigned seed = 0; seed < 12; ++seed) {
    Scene scene(seed, seed % 2 == 1);
    const bool dense = seed % 3 == 2;
    for (int64_t size : {1, 5, 13, 20, 29, 100}) {
      PictureCounter counter(3, 1, query_count, key_count, size);
      // In any order: from the last row to the first.
      for (int64_t row = scene.tile.rows() - 1; row >= 0; --row) {
        if (row % group == 1) counter.add(scene.outcome(dense), row, row / group);
      }
      const Picture picture = counter.picture();
      EXPECT_EQ(picture.layer, 3);
      EXPECT_EQ(picture.head, 1);
      EXPECT_EQ(picture.queries, query_count);
      EXPECT_EQ(picture.keys, key_count);
      ASSERT_EQ(picture.rows, std::min(size, query_count));
      ASSERT_EQ(picture.columns, std::min(size, key_count));
      const auto cells = static_cast<size_t>(picture.rows * picture.columns);
      ASSERT_EQ(picture.density.size(), cells);
      std::vector<int> active(cells), visible(cells);
      for (int64_t q = 0; q < query_count; ++q) {
        for (int32_t key = 0; key < key_count; ++key) {
          const auto cell = static_cast<size_t>(q * picture.rows / query_count * picture.columns +
                                                key * picture.columns / key_count);
          const int64_t row = q * group + 1;
          active[cell] += scene.probability(row, key, dense) > 0 ? 1 : 0;
          visible[cell] += attention::visible(scene.tile, row, key) ? 1 : 0;
        }
      }
      for (size_t cell = 0; cell < cells; ++cell) {
        const float expected =
            visible[cell] == 0 ? -1.0f : static_cast<float>(double(active[cell]) / visible[cell]);
        ASSERT_EQ(picture.density[cell], expected) << seed << " size " << size << " cell " << cell;
      }
    }
  }
}

TEST(MeasurePicture, NothingAddedMeansNothingVisible) {
  const Picture picture = PictureCounter(0, 0, 4, 6, 2).picture();
  EXPECT_EQ(picture.density, std::vector<float>(4, -1.0f));
}

class MeasureDumpTest : public ::testing::Test {
 protected:
  tensor::Tensor read(const std::string& name) { return io::read_npy(folder_ / name); }
  io::TemporaryFolder folder_;
};

TEST_F(MeasureDumpTest, PlanesHoldProbabilitiesWeightsAndOutputs) {
  for (bool dense : {false, true}) {
    Scene scene(5, true);
    const data::Geometry& g = scene.problem.geometry;
    Dump dump({true, true, true}, folder_.path(), "p_", g, query_count);
    for (int64_t row = 0; row < scene.tile.rows(); ++row) dump.put(scene.outcome(dense), row, row / group);
    dump.commit();
    const tensor::Tensor mask = read("p_mask.npy"), weights = read("p_weights.npy"),
                         output = read("p_output.npy");
    ASSERT_EQ(mask.shape(), (tensor::Shape{1, group, query_count, key_count}));
    ASSERT_EQ(weights.shape(), mask.shape());
    ASSERT_EQ(output.shape(), (tensor::Shape{1, group, query_count, width}));
    for (int64_t row = 0; row < scene.tile.rows(); ++row) {
      const int64_t line = row % group * query_count + row / group;
      const float* logits = scene.tile.logits() + row * scene.tile.logits_stride();
      for (int32_t key = 0; key < key_count; ++key) {
        const auto at = static_cast<size_t>(line * key_count + key);
        const double p = scene.probability(row, key, dense);
        ASSERT_NEAR(mask.values<float>()[at], p, 1e-6) << row << " " << key;
        const double weight =
            p == 0 ? 0 : std::exp(double{logits[key]} - scene.lse[static_cast<size_t>(row)]) / p;
        ASSERT_NEAR(weights.values<float>()[at], weight, 1e-5 * (1 + weight));
      }
      for (int64_t d = 0; d < width; ++d) {
        ASSERT_EQ(output.values<float>()[static_cast<size_t>(line * width + d)],
                  scene.out[static_cast<size_t>(row * width + d)]);
      }
    }
  }
}

TEST_F(MeasureDumpTest, WritesOnlyWhatIsAskedForAndOnlyWhenCommitted) {
  const data::Geometry g{2, 4, 2, 5, 7, 3, 6};
  {
    Dump dump({true, false, false}, folder_.path(), "", g, 5);
    Dump dropped({true, true, true}, folder_.path(), "dropped_", g, 5);
    dump.commit();
  }
  EXPECT_EQ(folder_.file_count(), 1u);
  EXPECT_EQ(read("mask.npy").shape(), (tensor::Shape{2, 4, 5, 7}));
}

TEST_F(MeasureDumpTest, TheSizeIsKnownBefore) {
  const data::Geometry g{2, 4, 2, 5, 7, 3, 6};
  EXPECT_EQ(dump_bytes({}, g, 5), 0u);
  EXPECT_EQ(dump_bytes({true, false, false}, g, 5), 2u * 4 * 5 * 7 * 4);
  EXPECT_EQ(dump_bytes({false, true, false}, g, 5), 2u * 4 * 5 * 6 * 4);
  EXPECT_EQ(dump_bytes({true, true, true}, g, 3), 2u * 4 * 3 * (7 + 7 + 6) * 4);
  EXPECT_FALSE(DumpChoice{}.any());
  EXPECT_TRUE((DumpChoice{false, false, true}.any()));
}

}  // namespace
}  // namespace attnlab::measure
