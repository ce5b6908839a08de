// quest and double_sparsity against their definitions in double precision.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/support/catalog.hpp"
#include "tests/support/method_files.hpp"
#include "tests/support/naive_pipeline.hpp"
#include "tests/support/small_problem.hpp"

namespace attnlab::test {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

const attention::AttentionOptions options{
    .causal = true, .scale = 0.4f, .on_empty_row = config::EmptyRow::zeros, .seed = 7};

/// Levels of `bits` bits between the least and the largest value; 16: none.
std::vector<double> rounded(std::vector<double> values, int64_t bits) {
  if (bits == 16) return values;
  const auto [least, greatest] = std::minmax_element(values.begin(), values.end());
  const double lowest = *least, range = *greatest - *least;
  const double scale = (std::exp2(static_cast<double>(bits)) - 1) / (range > 0 ? range : 1);
  for (double& value : values) value = std::nearbyint((value - lowest) * scale) / scale + lowest;
  return values;
}

/// One row of a problem of one sequence.
struct Row {
  const SmallProblem& problem;
  int64_t head, query;
  NaiveRow exact = naive_row(io::Json::array(), problem, options, 0, head, query);

  int64_t keys() const { return problem.geometry.keys; }
  bool visible(int64_t j) const { return exact.visible[static_cast<size_t>(j)]; }
  double q(int64_t c) const { return double{problem.layer.query.row(0, head, query)[c]}; }
  double k(int64_t j, int64_t c) const {
    return double{problem.layer.key.row(0, head / problem.geometry.group(), j)[c]};
  }
  double bias(int64_t j) const {
    if (problem.layer.bias.empty()) return 0;
    const auto& shape = problem.layer.bias.shape();
    const int64_t bias_head = shape[1] == 1 ? 0 : head;
    const int64_t at = (bias_head * shape[2] + query) * shape[3] + j;
    return double{problem.layer.bias.values<float>()[static_cast<size_t>(at)]};
  }
};

/// The bound of a page over its visible keys; -inf when there is none.
double page_score(const Row& row, int64_t begin, int64_t page_size, int64_t bits) {
  std::vector<double> lowest, highest;
  double bias = -infinity, sum = 0;
  const int64_t end = std::min(begin + page_size, row.keys());
  for (int64_t c = 0; c < row.problem.geometry.head_dim; ++c) {
    double least = infinity, greatest = -infinity;
    for (int64_t j = begin; j < end; ++j) {
      if (!row.visible(j)) continue;
      least = std::min(least, row.k(j, c));
      greatest = std::max(greatest, row.k(j, c));
      bias = std::max(bias, row.bias(j));
    }
    lowest.push_back(least);
    highest.push_back(greatest);
  }
  if (bias == -infinity) return -infinity;
  lowest = rounded(lowest, bits);
  highest = rounded(highest, bits);
  for (size_t c = 0; c < lowest.size(); ++c) {
    const double q = double{options.scale} * row.q(static_cast<int64_t>(c));
    sum += std::max(q * lowest[c], q * highest[c]);
  }
  return sum + bias;
}

std::vector<float> probability(const std::string& stages, const SmallProblem& problem) {
  const auto pipelines = bind(document_with(R"({"main": )" + stages + "}"));
  return run_pipelines(pipelines, problem, options)[0].probability;
}

const float* row_of(const std::vector<float>& plane, const Row& row) {
  return plane.data() + (row.head * row.problem.geometry.queries + row.query) * row.keys();
}

template <class Check>
void for_each_row(const SmallProblem& problem, const Check& check) {
  for (int64_t head = 0; head < problem.geometry.query_heads; ++head) {
    for (int64_t query = 0; query < problem.geometry.queries; ++query) check(Row{problem, head, query});
  }
}

const Shape shapes[] = {
    {.query_heads = 4, .kv_heads = 2, .queries = 20, .keys = 45, .head_dim = 6},
    {.query_heads = 2,
     .kv_heads = 1,
     .queries = 20,
     .keys = 45,
     .head_dim = 6,
     .bias = Shape::Bias::additive},
    {.query_heads = 2,
     .kv_heads = 1,
     .queries = 9,
     .keys = 45,
     .head_dim = 6,
     .bias = Shape::Bias::per_head_holes},
    {.queries = 5, .keys = 5, .head_dim = 1},
};

TEST(MaskerQuest, TakesThePagesWithTheLargestBounds) {
  for (const Shape& shape : shapes) {
    const SmallProblem problem = make_problem(shape, 3);
    for (int64_t bits : {16, 4, 1}) {
      // Seven keys round down to one page of four, so that a wrong order shows.
      const auto plane =
          probability(R"([{"masker": "quest", "heavy_size": 7, "page_size": 4, "label_bits": )" +
                          std::to_string(bits) + "}]",
                      problem);
      for_each_row(problem, [&](const Row& row) {
        double best = -infinity;
        for (int64_t begin = 0; begin < row.keys(); begin += 4) {
          best = std::max(best, page_score(row, begin, 4, bits));
        }
        int64_t active_pages = 0;
        for (int64_t begin = 0; begin < row.keys(); begin += 4) {
          bool active = false;
          for (int64_t j = begin; j < std::min(begin + 4, row.keys()); ++j)
            active |= row_of(plane, row)[j] > 0;
          active_pages += active ? 1 : 0;
          if (!active) continue;
          EXPECT_NEAR(page_score(row, begin, 4, bits), best, 1e-4) << bits << " bits, query " << row.query;
          for (int64_t j = begin; j < std::min(begin + 4, row.keys()); ++j) {
            EXPECT_EQ(row_of(plane, row)[j], row.visible(j) ? 1 : 0) << "pages are whole";
          }
        }
        EXPECT_EQ(active_pages, best == -infinity ? 0 : 1);
      });
    }
  }
}

TEST(MaskerQuest, BoundsEveryLogitOfAPage) {
  for (const Shape& shape : shapes) {
    const SmallProblem problem = make_problem(shape, 4);
    for (double threshold : {-1.0, 0.0, 0.5, 1.5}) {
      const auto plane =
          probability(R"([{"masker": "quest", "page_size": 4, "select": "threshold", "threshold": )" +
                          std::to_string(threshold) + "}]",
                      problem);
      int64_t left = 0;
      for_each_row(problem, [&](const Row& row) {
        for (int64_t j = 0; j < row.keys(); ++j) {
          if (!row.visible(j)) continue;
          left += row_of(plane, row)[j] == 0 ? 1 : 0;
          if (row.exact.logits[static_cast<size_t>(j)] >= threshold + 1e-5) {
            EXPECT_EQ(row_of(plane, row)[j], 1) << "query " << row.query << ", key " << j;
          }
        }
      });
      if (threshold > 1) {
        EXPECT_GT(left, 0) << "the threshold leaves nothing out and tests nothing";
      }
    }
  }
}

TEST(MaskerQuest, SpendsNothingOnPagesThatThePriorCovers) {
  const SmallProblem problem = make_problem({.queries = 6, .keys = 40, .head_dim = 4}, 5);
  // The prior covers pages 0 to 2 and half of page 3.
  const auto plane = probability(R"([{"masker": "sink", "sink_size": 14},
                                     {"masker": "quest", "heavy_size": 8, "page_size": 4}])",
                                 problem);
  for_each_row(problem, [&](const Row& row) {
    std::vector<std::pair<double, int64_t>> pages;
    for (int64_t begin = 12; begin < row.keys(); begin += 4)
      pages.push_back({page_score(row, begin, 4, 16), begin});
    std::sort(pages.rbegin(), pages.rend());
    for (int64_t j = 0; j < row.keys(); ++j) {
      const int64_t page = j / 4 * 4;
      const bool chosen = page == pages[0].second || page == pages[1].second;
      EXPECT_EQ(row_of(plane, row)[j], row.visible(j) && (j < 14 || chosen) ? 1 : 0) << row.query << " " << j;
    }
  });
}

/// Bytes that a decoding step with `keys` keys reads, and bytes of the index of all KV heads.
struct Cost {
  uint64_t search, index;
};
Cost cost_of(const std::string& stage, const SmallProblem& problem) {
  const auto pipelines = bind(document_with(R"({"main": [)" + stage + "]}"));
  attention::Session session(pipelines, problem.layer, problem.geometry, options);
  session.append(problem.geometry.keys);
  attention::Engine engine({&kernels::best_table(), 1 << 22, false});
  engine.attend(session, 0, 1, {}, [](const attention::TileOutcome&) {});
  return {engine.clocks().search_bytes[0][0], session.state_bytes(0)};
}

TEST(MaskerLabels, CostTheBitsThatTheyHold) {
  // Two KV heads with groups of two; 3 whole pages of 16 keys and 2 keys more.
  const SmallProblem problem =
      make_problem({.query_heads = 4, .kv_heads = 2, .queries = 1, .keys = 50, .head_dim = 8}, 6);
  const Cost whole = cost_of(R"({"masker": "quest", "heavy_size": 16})", problem);
  EXPECT_EQ(whole.index, 2 * 4 * (2 * 8 * 4));
  EXPECT_EQ(whole.search, 2 * (3 * (2 * 8 * 4) + 2 * 8 * 4)) << "the last page is read key by key";
  const Cost four = cost_of(R"({"masker": "quest", "heavy_size": 16, "label_bits": 4})", problem);
  EXPECT_EQ(four.index, 2 * 4 * (2 * (4 + 8)));
  EXPECT_EQ(four.search, 2 * (3 * (2 * (4 + 8)) + 2 * 8 * 4));

  const TemporaryFiles files;
  const auto labels = [&](const std::string& more) {
    return cost_of(with_method_files(R"({"masker": "double_sparsity", "heavy_size": 4, "group_factor": 2,
      "sorted_channel_file": "${FILE:channels}", )" +
                                         more + "}",
                                     problem, files),
                   problem);
  };
  EXPECT_EQ(labels(R"("label_bits": 4)").index, 2 * 50 * 2 * (2 + 8));
  EXPECT_EQ(labels(R"("label_bits": 4)").search, 2 * 50 * 2 * (2 + 8));
  EXPECT_EQ(labels(R"("label_bits": 16)").index, 2 * 50 * 2 * (4 * 4));
}

TEST(MaskerDoubleSparsity, RanksByTheChannelsOfTheLayerAndHead) {
  for (const Shape& shape : shapes) {
    if (shape.head_dim == 1) continue;
    const SmallProblem problem = make_problem(shape, 7);
    const int64_t heads = shape.query_heads, width = shape.head_dim, kept = width / 2;
    const TemporaryFiles files;
    for (int64_t bits : {16, 4, 1}) {
      const auto plane = probability(
          with_method_files(
              R"([{"masker": "double_sparsity", "heavy_size": 5, "group_factor": 2, "channel_selection": "k_proj",
               "sorted_channel_file": "${FILE:channels}", "label_bits": )" +
                  std::to_string(bits) + "}]",
              problem, files),
          problem);
      const auto lists = io::NpzFile::open(files.path("channels.safetensors"));
      const auto tensor = lists.read(3);
      ASSERT_EQ(tensor.shape(), (tensor::Shape{2, heads, width}));
      for_each_row(problem, [&](const Row& row) {
        // The second layer of the file is the problem's.
        const auto channels =
            tensor.values<int32_t>().subspan(static_cast<size_t>((heads + row.head) * width));
        std::vector<double> q, active, passive;
        for (int64_t i = 0; i < kept; ++i) q.push_back(row.q(channels[static_cast<size_t>(i)]));
        q = rounded(q, bits);
        for (int64_t j = 0; j < row.keys(); ++j) {
          if (!row.visible(j)) continue;
          std::vector<double> k;
          for (int64_t i = 0; i < kept; ++i) k.push_back(row.k(j, channels[static_cast<size_t>(i)]));
          k = rounded(k, bits);
          double score = row.bias(j);
          for (size_t i = 0; i < k.size(); ++i) score += double{options.scale} * q[i] * k[i];
          (row_of(plane, row)[j] > 0 ? active : passive).push_back(score);
        }
        EXPECT_EQ(active.size(), std::min<size_t>(5, active.size() + passive.size()));
        if (passive.empty()) return;
        EXPECT_GE(*std::min_element(active.begin(), active.end()),
                  *std::max_element(passive.begin(), passive.end()) - 1e-4)
            << bits << " bits, head " << row.head << ", query " << row.query;
      });
    }
  }
}

}  // namespace
}  // namespace attnlab::test
