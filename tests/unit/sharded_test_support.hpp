// Runs whose keys are divided among ranks that are threads, on problems in memory.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/base/parallel.hpp"
#include "core/measure/sharded.hpp"
#include "tests/support/catalog.hpp"
#include "tests/support/method_files.hpp"
#include "tests/support/small_problem.hpp"
#include "tests/support/thread_ranks.hpp"

namespace attnlab::measure {

using io::Json;
using test::Shape;
using test::SmallProblem;

/// A problem in memory as the single layer of a source.
class MemorySource : public data::Source {
 public:
  explicit MemorySource(const Shape& shape) : problem_(test::make_problem(shape, 7)), causal_(shape.causal) {}
  const data::Geometry& geometry() const override { return problem_.geometry; }
  const std::vector<int>& layers() const override { return layers_; }
  data::LayerProblem load(int) const override { return problem_.layer; }
  std::string description() const override { return "memory"; }
  std::vector<std::string> files() const override { return {}; }
  std::optional<bool> causal() const override { return causal_; }

 private:
  SmallProblem problem_;
  bool causal_;
  std::vector<int> layers_ = {3};
};

/// A plan and its pipelines, bound anew: each rank has its own.
struct Bound {
  config::Document document;
  config::RunPlan plan;
  Pipelines pipelines;

  Bound(const std::string& pipeline_text, const Json& members)
      : document(test::document_with(pipeline_text)) {
    for (const auto& [key, value] : members.items()) document.set("/" + key, value, {"test", "."});
    plan = config::resolve(document, test::catalog());
    for (const auto& pipeline : plan.pipelines) pipelines.emplace_back(pipeline, test::catalog(), document);
  }
};

inline ExperimentOptions options_into(const std::string& folder) {
  ExperimentOptions options;
  options.execution.kernels = &kernels::best_table();
  options.dump.output = true;
  options.dump_folder = folder;
  return options;
}

struct Case {
  const char* name;
  Shape shape;
  std::string pipelines;
  Json members = Json::object();
};

inline ShardedRun run_over_threads(const Case& c, const data::Source& source, int ranks,
                                   const std::string& folder, size_t piece_bytes = 1 << 30) {
  ShardedRun result;
  test::Post post(ranks);
  base::thread_count();  // the pool is made by one thread
  test::run_ranks(post, [&](base::Ranks& mine) {
    const Bound bound(c.pipelines, c.members);
    Exchange exchange(mine, piece_bytes);
    const ExperimentOptions options = options_into(folder);
    if (mine.rank() == 0) {
      exchange.lead([&] { result = run_sharded(bound.plan, bound.pipelines, source, options, exchange); });
    } else {
      exchange.follow([&] { serve_shards(bound.plan, bound.pipelines, source, options, exchange); });
    }
  });
  EXPECT_EQ(post.left(), 0) << "messages that nobody took";
  return result;
}

inline const std::string several = R"({
  "dense": [],
  "top": [{"masker": "sink", "sink_size": 2}, {"masker": "local", "window_size": 3},
          {"masker": "oracle_top_k", "heavy_size": 4}],
  "sampled": [{"masker": "sink", "sink_size": 2}, {"masker": "random_sampling", "sampling_rate": 0.3}],
  "index": [{"masker": "sink", "sink_size": 2}, {"masker": "magic_pig", "lsh_k": 3, "lsh_l": 20}],
  "pages": [{"masker": "quest", "heavy_size": 8, "page_size": 4}]})";

}  // namespace attnlab::measure
