// Every masker of this repository once more: dense planes, double precision, no cleverness.
#pragma once

#include <vector>

#include "core/io/json.hpp"
#include "tests/support/small_problem.hpp"

namespace attnlab::test {

/// What a row attends to and what comes out, by definition.
struct NaiveRow {
  std::vector<double> logits;       ///< scale * q.k + bias
  std::vector<bool> visible;        ///< [keys]
  std::vector<double> probability;  ///< [keys] inclusion probability
  std::vector<double> output;       ///< [value_dim]
  double lse = 0;
};

/// Runs `stages` (resolved JSON, as in a config) on row (b, h, query). `stages` empty: dense attention.
NaiveRow naive_row(const io::Json& stages, const SmallProblem& problem,
                   const attention::AttentionOptions& options, int64_t b, int64_t h, int64_t query);

}  // namespace attnlab::test
