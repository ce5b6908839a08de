// Times pipelines alone: no dense rows, no metrics, nothing shared.
#pragma once

#include <vector>

#include "core/measure/experiment.hpp"

namespace attnlab::measure {

/// Wall-clock times of one pipeline on one layer's measured queries, in seconds.
struct BenchRecord {
  std::string pipeline;
  std::vector<double> seconds;  ///< one per repeat, in order
  double median = 0, minimum = 0, maximum = 0;
  double density = 0;  ///< mean over rows, measured once outside the timed runs
};

/// Attends the last `queries` queries of the plan's first layer with each pipeline, alternating between the
/// pipelines in each of `repeats` rounds after one untimed round. Key-side state is appended before, outside
/// the clock.
std::vector<BenchRecord> bench(const config::RunPlan& plan, const config::Document& document,
                               const plugin::Catalog& catalog, const data::Source& source,
                               const attention::Execution& execution, int repeats);

}  // namespace attnlab::measure
