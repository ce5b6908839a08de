// One layer of a verification: the rows whose selection is repeated over seeds.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/attention/session.hpp"
#include "core/measure/sampling_theory.hpp"

namespace attnlab::measure {

/// A pipeline to repeat: as the config has it, or with another epsilon.
struct Subject {
  config::PipelinePlan plan;
  size_t stage = 0;               ///< the one that samples
  size_t record = 0;              ///< place of the pipeline's record
  std::optional<double> variant;  ///< another epsilon
  std::optional<double> epsilon, delta;
  std::string target;
};

/// Sums over the rows of one seed.
struct SeedSums {
  double ratio = 0, projection = 0, projections = 0;
};

/// One subject over all layers and seeds.
struct Totals {
  std::vector<SeedSums> seeds;
  double error = 0, squared_ratio = 0, variance = 0, density = 0, added = 0, sampled = 0, minimum = 0;
  double mean_error_norm = 0, noise = 0;
  double vector_rows = 0, samples = 0;
  int64_t uniform = 0, independent = 0, empty_rows = 0, hits = 0;
  double worst_row = 1;
  std::vector<float> errors;  ///< of variants: every row and seed, for quantiles
};

/// Fixed facts of a layer's rows, and what each gave in the seed that runs. The visitors may be called from
/// several threads for different rows.
class LayerVerification {
 public:
  /// Queries [begin, begin + count) of these query heads (empty: all). The arguments must outlive the object.
  LayerVerification(const std::vector<Subject>& subjects, const data::Geometry& geometry, int64_t begin,
                    int64_t count, const std::vector<int64_t>& heads);

  /// Once before the first seed, with the stages before the one that samples as pipelines.
  void visit_prior(const attention::TileOutcome& outcome);
  void visit(const attention::TileOutcome& outcome);
  /// Adds what the rows gave in this seed, in a fixed order.
  void end_seed(size_t seed, std::vector<Totals>& totals) const;
  /// Adds what the rows gave over all seeds.
  void end_layer(int64_t seeds, std::vector<Totals>& totals) const;

  /// Rows that see a key.
  int64_t rows() const;
  /// What float32 logits and their log-sum round in D^ / D.
  double rounding() const;

 private:
  struct RowSample {
    double ratio = 0, projection = 0, error = 0, density = 0, added = 0, sampled = 0, variance = 0;
    bool uniform = true, empty = false, has_projection = false;
  };
  struct RowTruth {
    bool sees = false;
    Mass visible;
    float lse = 0;
    std::vector<double> prior_keys, minimum;  ///< [subject]
  };

  bool wanted(const attention::TileOutcome& outcome, int64_t row) const;
  size_t slot(const attention::TileOutcome& outcome, int64_t row) const;
  void measure(const attention::TileOutcome& outcome, int64_t row, size_t at);

  const std::vector<Subject>& subjects_;
  const data::Geometry& geometry_;
  int64_t begin_, count_;
  std::vector<bool> wanted_;  ///< [query head]
  std::vector<RowTruth> truths_;
  std::vector<std::vector<RowSample>> samples_;     ///< [subject][row]
  std::vector<std::vector<int64_t>> hits_;          ///< [subject][row] seeds with an error within epsilon
  std::vector<std::vector<double>> bias_, square_;  ///< sums over seeds of N^ - N and its square, over |N|
};

}  // namespace attnlab::measure
