#include "core/measure/row_metrics.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/kernels/selection/select.hpp"

namespace attnlab::measure {
namespace {

/// -sum a log a of the normalised weights a.
double entropy_of(const WeightSums& sums) {
  return sums.weight > 0 ? std::max(0.0, std::log(sums.weight) - sums.moment / sums.weight) : 0;
}

double distance(const float* a, const float* b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double difference = double{a[i]} - double{b[i]};
    sum += difference * difference;
  }
  return std::sqrt(sum);
}

double norm(const float* a, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += double{a[i]} * double{a[i]};
  return std::sqrt(sum);
}

}  // namespace

void WeightSums::add(double logit, double log_weight) {
  const double exact_weight = std::exp(logit);
  recall += exact_weight;
  const double w = log_weight == 0 ? exact_weight : exact_weight * std::exp(log_weight);
  weight += w;
  moment += w * (logit + log_weight);
}

void WeightSums::add(const WeightSums& other, double shift) {
  const double factor = std::exp(shift);
  recall += factor * other.recall;
  weight += factor * other.weight;
  moment += factor * (other.moment + other.weight * shift);
}

WeightSums weight_sums(const attention::RowList& list, const float* logits, double lse) {
  WeightSums sums;
  for (const auto& run : list.runs) {
    for (int32_t key = run.begin; key < run.end; ++key) sums.add(logits[key] - lse, 0);
  }
  for (int32_t key : list.ids) sums.add(logits[key] - lse, 0);
  for (size_t i = 0; i < list.sampled.size(); ++i) {
    sums.add(logits[list.sampled[i]] - lse, list.log_weight[i]);
  }
  return sums;
}

RowMetrics metrics_of(const MeasuredRow& row) {
  RowMetrics metrics;
  if (row.visible == 0) {
    metrics.density = std::numeric_limits<float>::quiet_NaN();
    return metrics;
  }
  metrics.density = static_cast<float>(static_cast<double>(row.active) / static_cast<double>(row.visible));
  // All keys hold all mass, whatever the rounding of the exact denominator.
  metrics.mass_recall = row.active == row.visible ? 1.0f : static_cast<float>(std::min(1.0, row.sums.recall));
  metrics.entropy = static_cast<float>(entropy_of(row.sums));
  metrics.denominator_error = static_cast<float>(std::abs(std::expm1(row.lse - row.exact_lse)));
  const double error = distance(row.out, row.exact_out, row.value_dim);
  const double size = norm(row.exact_out, row.value_dim);
  metrics.output_error = static_cast<float>(size > 0 ? error / size : error);
  return metrics;
}

RowMetrics measure_row(const attention::TileOutcome& outcome, int64_t row) {
  attention::Tile& tile = *outcome.tile;
  MeasuredRow measured;
  measured.visible = tile.visible_count(row);
  if (measured.visible == 0) return metrics_of(measured);
  const float* logits = tile.logits() + row * tile.logits_stride();
  // A learned sink is part of the denominator but not of the mass on keys.
  double exact = outcome.exact_lse[row];
  if (tile.sink_logit() != nullptr) {
    const kernels::Range all{0, static_cast<int32_t>(tile.visible_end(row))};
    exact = kernels::log_sum_exp(logits, {&all, 1});
  }
  attention::RowList dense;
  const attention::RowList& list = attention::active_list(outcome, row, dense);
  measured.sums = weight_sums(list, logits, exact);
  measured.active = list.size();
  measured.lse = double{outcome.lse[row]};
  measured.exact_lse = double{outcome.exact_lse[row]};
  measured.value_dim = tile.value_dim();
  measured.out = outcome.out + row * measured.value_dim;
  measured.exact_out = outcome.exact_out + row * measured.value_dim;
  return metrics_of(measured);
}

Summary summarise(std::vector<float> values) {
  Summary summary;
  std::erase_if(values, [](float v) { return std::isnan(v); });
  summary.rows = static_cast<int64_t>(values.size());
  if (values.empty()) return summary;
  double sum = 0;
  for (float v : values) sum += double{v};
  summary.mean = sum / static_cast<double>(values.size());
  std::sort(values.begin(), values.end());
  auto rank = [&](double share) {
    const auto r = static_cast<size_t>(std::ceil(share * static_cast<double>(values.size())));
    return double{values[std::max<size_t>(r, 1) - 1]};
  };
  summary.p05 = rank(0.05);
  summary.p95 = rank(0.95);
  summary.min = double{values.front()};
  summary.max = double{values.back()};
  return summary;
}

RowTable::RowTable(int64_t batch, int64_t heads, int64_t queries)
    : batch_(batch), heads_(heads), queries_(queries) {
  rows_.resize(static_cast<size_t>(batch * heads * queries));
  empty_.resize(rows_.size());
  for (auto& row : rows_) row.density = std::numeric_limits<float>::quiet_NaN();
}

void RowTable::put(int64_t b, int64_t h, int64_t query, const RowMetrics& metrics, bool empty) {
  const auto at = static_cast<size_t>((b * heads_ + h) * queries_ + query);
  rows_[at] = metrics;
  empty_[at] = empty ? 1 : 0;
}

void RowTable::append(const std::vector<int64_t>& heads, std::vector<RowMetrics>& rows,
                      int64_t& empty_rows) const {
  for (int64_t b = 0; b < batch_; ++b) {
    for (int64_t h = 0; h < heads_; ++h) {
      if (!heads.empty() && !std::binary_search(heads.begin(), heads.end(), h)) continue;
      for (int64_t q = 0; q < queries_; ++q) {
        const auto at = static_cast<size_t>((b * heads_ + h) * queries_ + q);
        empty_rows += empty_[at];
        if (!std::isnan(rows_[at].density)) rows.push_back(rows_[at]);
      }
    }
  }
}

Quality RowTable::quality(const std::vector<int64_t>& heads) const {
  std::vector<RowMetrics> rows;
  int64_t empty_rows = 0;
  append(heads, rows, empty_rows);
  return quality_of(rows, empty_rows);
}

Quality quality_of(const std::vector<RowMetrics>& rows, int64_t empty_rows) {
  auto column = [&](float RowMetrics::*member) {
    std::vector<float> values;
    values.reserve(rows.size());
    for (const auto& row : rows) values.push_back(row.*member);
    return summarise(std::move(values));
  };
  Quality quality;
  quality.density = column(&RowMetrics::density);
  quality.mass_recall = column(&RowMetrics::mass_recall);
  quality.output_error = column(&RowMetrics::output_error);
  quality.denominator_error = column(&RowMetrics::denominator_error);
  quality.entropy = column(&RowMetrics::entropy);
  quality.empty_rows = empty_rows;
  return quality;
}

}  // namespace attnlab::measure
