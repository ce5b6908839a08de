// Metrics of single rows against exact dense attention, and their summaries.
#pragma once

#include <span>
#include <vector>

#include "core/attention/session.hpp"
#include "core/measure/record.hpp"

namespace attnlab::measure {

/// Metrics of one row; NaN density marks a row that sees no key and is not measured.
struct RowMetrics {
  float density = 0, mass_recall = 0, output_error = 0, denominator_error = 0, entropy = 0;
};

/// Sums over active keys, relative to a denominator D.
struct WeightSums {
  double recall = 0;  ///< sum of exp(logit) over D
  double weight = 0;  ///< sum of the row's weights, 1/p included, over D
  double moment = 0;  ///< sum of weight * log weight

  void add(double logit, double log_weight);
  /// Adds sums that are relative to exp(shift) D.
  void add(const WeightSums& other, double shift);
};

/// The sums of a list; `lse` = log D, `logits` indexed by key.
WeightSums weight_sums(const attention::RowList& list, const float* logits, double lse);

/// What is known of a row and of dense attention on it; D of the sums is that of dense attention, without a
/// learned sink.
struct MeasuredRow {
  int64_t active = 0, visible = 0;  ///< keys
  WeightSums sums;
  double lse = 0, exact_lse = 0;
  const float* out = nullptr;  ///< [value_dim]
  const float* exact_out = nullptr;
  int64_t value_dim = 0;
};
RowMetrics metrics_of(const MeasuredRow& row);

/// Measures row `row` of a tile; needs the outcome's exact rows. O(active keys).
RowMetrics measure_row(const attention::TileOutcome& outcome, int64_t row);

/// Summary of finite values in a fixed order; values that are NaN are left out.
Summary summarise(std::vector<float> values);

/// Rows of one (pipeline, layer), kept in a fixed order whatever thread measured them.
class RowTable {
 public:
  RowTable() = default;
  RowTable(int64_t batch, int64_t heads, int64_t queries);

  /// Concurrent calls for different rows are safe.
  void put(int64_t b, int64_t h, int64_t query, const RowMetrics& metrics, bool empty);
  /// Over the given heads (empty: all).
  Quality quality(const std::vector<int64_t>& heads) const;
  /// Appends the rows of these heads to `values`, one vector per metric, and adds their empty rows.
  void append(const std::vector<int64_t>& heads, std::vector<RowMetrics>& rows, int64_t& empty_rows) const;

 private:
  int64_t batch_ = 0, heads_ = 0, queries_ = 0;
  std::vector<RowMetrics> rows_;
  std::vector<uint8_t> empty_;
};

/// Quality of rows collected with RowTable::append.
Quality quality_of(const std::vector<RowMetrics>& rows, int64_t empty_rows);

}  // namespace attnlab::measure
