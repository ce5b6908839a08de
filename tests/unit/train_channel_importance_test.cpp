// Channel importance against its definition.
#include "core/train/channel_importance.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "core/base/parallel.hpp"
#include "core/mask/visibility.hpp"
#include "tests/support/small_problem.hpp"

namespace attnlab::train {
namespace {

struct Extents {
  test::Shape shape;
  const char* name;
};

void PrintTo(const Extents& extents, std::ostream* out) {
  *out << extents.name;
}

float bias_at(const data::LayerProblem& layer, int64_t b, int64_t head, int64_t query, int64_t key) {
  const auto& shape = layer.bias.shape();
  const int64_t row = ((shape[0] == 1 ? 0 : b) * shape[1] + (shape[1] == 1 ? 0 : head)) * shape[2] + query;
  return layer.bias.values<float>()[static_cast<size_t>(row * shape[3] + key)];
}

class Importance : public ::testing::TestWithParam<Extents> {};

TEST_P(Importance, IsTheMeanOverVisiblePairs) {
  const auto problem = test::make_problem(GetParam().shape, 5);
  const auto& g = problem.geometry;
  const bool causal = GetParam().shape.causal;
  const auto ours = channel_importance(problem.layer, g, causal);
  for (int64_t head = 0; head < g.query_heads; ++head) {
    for (int64_t c = 0; c < g.head_dim; ++c) {
      double query = 0, key = 0, product = 0;
      int64_t queries = 0, keys = 0, pairs = 0;
      for (int64_t b = 0; b < g.batch; ++b) {
        const int64_t valid = problem.layer.valid[static_cast<size_t>(b)];
        const auto k = [&](int64_t j) {
          return std::abs(double{problem.layer.key.row(b, head / g.group(), j)[c]});
        };
        for (int64_t j = 0; j < valid; ++j, ++keys) key += k(j);
        for (int64_t i = 0; i < g.queries; ++i) {
          const int64_t position = i + valid - g.queries;
          if (position < 0) continue;
          const double q = std::abs(double{problem.layer.query.row(b, head, i)[c]});
          query += q;
          ++queries;
          for (int64_t j = 0; j < (causal ? position + 1 : valid); ++j) {
            if (!problem.layer.bias.empty() && mask::hides(bias_at(problem.layer, b, head, i, j))) continue;
            product += q * k(j);
            ++pairs;
          }
        }
      }
      const auto at = static_cast<size_t>(head * g.head_dim + c);
      EXPECT_NEAR(ours.query[at], query / static_cast<double>(queries), 1e-12);
      EXPECT_NEAR(ours.key[at], key / static_cast<double>(keys), 1e-12);
      EXPECT_NEAR(ours.product[at], product / static_cast<double>(pairs), 1e-12);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, Importance,
    ::testing::Values(Extents{{.query_heads = 4, .kv_heads = 2, .queries = 5, .keys = 9}, "grouped"},
                      Extents{{.queries = 3, .keys = 8, .causal = false}, "not_causal"},
                      Extents{{.batch = 3, .queries = 6, .keys = 7, .shorter_sequences = true}, "shorter"},
                      Extents{{.batch = 2,
                               .query_heads = 4,
                               .kv_heads = 2,
                               .queries = 5,
                               .keys = 9,
                               .bias = test::Shape::Bias::per_head_holes},
                              "holes"},
                      Extents{{.queries = 1, .keys = 1, .head_dim = 1}, "smallest"}),
    [](const auto& test) { return std::string(test.param.name); });

TEST(ChannelImportance, DoesNotDependOnThreads) {
  const auto problem = test::make_problem({.query_heads = 4, .kv_heads = 2, .queries = 20, .keys = 30}, 6);
  const auto measure = [&](int threads) {
    const base::ThreadLimit limit(threads);
    return channel_importance(problem.layer, problem.geometry, true).product;
  };
  EXPECT_EQ(measure(1), measure(4));
}

TEST(ChannelImportance, SortsEachHeadWithTiesByTheLowerChannel) {
  const double importance[] = {1, 3, 3, 2, /**/ 0, 0, 0, 5};
  EXPECT_EQ(sorted_channels(importance, 4), (std::vector<int32_t>{1, 2, 3, 0, 3, 0, 1, 2}));
}

}  // namespace
}  // namespace attnlab::train
