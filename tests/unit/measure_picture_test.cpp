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
  attention::TileOutcome outcome(bool dense, size_t pipeline = 0) const {
    attention::TileOutcome o;
    o.tile = &tile;
    o.pipeline = pipeline;
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
  mutable attention::Tile tile;  // computes its logits when asked
  attention::Selection selection;
  std::vector<float> out, lse;
};

TEST(MeasurePicture, CountsWhatTheBlocksHold) {
  for (unsigned seed = 0; seed < 12; ++seed) {
    const Scene scene(seed, seed % 2 == 1);
    for (int64_t side : {1, 5, 13, 20, 29, 100}) {
      PictureCounter counter(3, 1, 7, query_count, key_count, 2, side);
      // Pipeline 0 is dense, 1 is not. In any order: from the last row to the first.
      for (int64_t row = scene.tile.rows() - 1; row >= 0; --row) {
        if (row % group != 1) continue;
        for (size_t pipeline : {1, 0}) counter.add(scene.outcome(pipeline == 0, pipeline), row, row / group);
      }
      const std::vector<uint32_t> active[] = {counter.take_active(0), counter.take_active(1)};
      const Plane plane = counter.take_plane();
      EXPECT_EQ(plane.layer, 3);
      EXPECT_EQ(plane.head, 1);
      EXPECT_EQ(plane.first_query, 7);
      EXPECT_EQ(plane.queries, query_count);
      EXPECT_EQ(plane.keys, key_count);
      const auto cells = static_cast<size_t>(plane.rows * plane.columns);
      std::vector<uint32_t> visible(cells), expected[] = {visible, visible};
      for (int64_t q = 0; q < query_count; ++q) {
        for (int32_t key = 0; key < key_count; ++key) {
          const auto cell = static_cast<size_t>(q * plane.rows / query_count * plane.columns +
                                                key * plane.columns / key_count);
          const int64_t row = q * group + 1;
          visible[cell] += attention::visible(scene.tile, row, key) ? 1 : 0;
          for (size_t pipeline : {0, 1})
            expected[pipeline][cell] += scene.probability(row, key, pipeline == 0) > 0 ? 1 : 0;
        }
      }
      EXPECT_EQ(plane.visible, visible) << seed << " side " << side;
      for (size_t pipeline : {0, 1})
        EXPECT_EQ(active[pipeline], expected[pipeline]) << seed << " side " << side;
    }
  }
}

TEST(MeasurePicture, BlocksAreSingleEntriesWhileTheyFit) {
  struct Case {
    int64_t queries, keys, rows, columns;
  };
  for (const Case& c : std::vector<Case>{{1, 1, 1, 1},
                                         {512, 512, 512, 512},
                                         {513, 513, 512, 512},
                                         {1769, 1769, 512, 512},
                                         {256, 4096, 256, 1024},
                                         {1, 200000, 1, 200000},
                                         {1, 1 << 20, 1, 1 << 18},
                                         {1 << 20, 1, 1 << 18, 1},
                                         {100000, 64, 4096, 64},
                                         {1 << 20, 1 << 20, 512, 512}}) {
    PictureCounter counter(0, 0, 0, c.queries, c.keys, 1);
    const Plane plane = counter.take_plane();
    EXPECT_EQ(plane.rows, c.rows) << c.queries << " x " << c.keys;
    EXPECT_EQ(plane.columns, c.columns) << c.queries << " x " << c.keys;
    EXPECT_EQ(counter.take_active(0).size(), static_cast<size_t>(c.rows * c.columns));
  }
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
