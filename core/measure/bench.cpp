#include "core/measure/bench.hpp"

#include <algorithm>
#include <atomic>

#include "core/base/stopwatch.hpp"

namespace attnlab::measure {
namespace {

/// One pipeline by itself with everything it needs.
struct Subject {
  std::vector<attention::Pipeline> pipelines;  // one
  std::unique_ptr<attention::Session> session;
  std::unique_ptr<attention::Engine> engine;
};

double mean_density(const Subject& subject, int64_t begin, int64_t count) {
  std::atomic<int64_t> active{0}, visible{0};
  subject.engine->attend(*subject.session, begin, count, {}, [&](const attention::TileOutcome& outcome) {
    for (int64_t row = 0; row < outcome.tile->rows(); ++row) {
      visible += outcome.tile->visible_count(row);
      active += outcome.selection == nullptr ? outcome.tile->visible_count(row)
                                             : outcome.selection->list(row).size();
    }
  });
  return visible == 0 ? 0 : static_cast<double>(active) / static_cast<double>(visible);
}

}  // namespace

std::vector<BenchRecord> bench(const config::RunPlan& plan, const config::Document& document,
                               const plugin::Catalog& catalog, const data::Source& source,
                               const attention::Execution& execution, int repeats) {
  const data::Geometry& geometry = source.geometry();
  const int layer = plan.layers.empty() ? source.layers().front() : static_cast<int>(plan.layers.front());
  const data::LayerProblem problem = source.load(layer);
  const auto attention = attention_options(plan, source);
  const int64_t count = plan.queries.value_or(plan.mode == config::Mode::prefill ? geometry.queries : 1);
  const int64_t begin = geometry.queries - count;
  attention::Execution alone = execution;
  alone.exact = false;

  std::vector<Subject> subjects(plan.pipelines.size());
  std::vector<BenchRecord> records(plan.pipelines.size());
  for (size_t p = 0; p < subjects.size(); ++p) {
    Subject& subject = subjects[p];
    records[p].pipeline = plan.pipelines[p].name;
    subject.pipelines.emplace_back(plan.pipelines[p], catalog, document);
    subject.session = std::make_unique<attention::Session>(subject.pipelines, problem, geometry, attention);
    subject.engine = std::make_unique<attention::Engine>(alone);
    // What is timed comes after the prompt, except in prefill: eviction has happened.
    append_all(plan.mode, *subject.session, *subject.engine, {}, begin);
    records[p].density = mean_density(subject, begin, count);
  }
  for (int round = 0; round < repeats; ++round) {
    for (size_t p = 0; p < subjects.size(); ++p) {
      const base::Stopwatch watch;
      subjects[p].engine->attend(*subjects[p].session, begin, count, {},
                                 [](const attention::TileOutcome&) {});
      records[p].seconds.push_back(watch.seconds());
    }
  }
  for (auto& record : records) {
    std::vector<double> sorted = record.seconds;
    std::sort(sorted.begin(), sorted.end());
    record.median = sorted[sorted.size() / 2];
    record.minimum = sorted.front();
    record.maximum = sorted.back();
  }
  return records;
}

}  // namespace attnlab::measure
