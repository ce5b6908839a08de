#include "core/measure/verify_layer.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace attnlab::measure {

using attention::TileOutcome;

LayerVerification::LayerVerification(const std::vector<Subject>& subjects, const data::Geometry& geometry,
                                     int64_t begin, int64_t count, const std::vector<int64_t>& heads)
    : subjects_(subjects), geometry_(geometry), begin_(begin), count_(count) {
  const auto rows = static_cast<size_t>(geometry.batch * geometry.query_heads * count);
  truths_.resize(rows);
  samples_.assign(subjects.size(), std::vector<RowSample>(rows));
  hits_.assign(subjects.size(), std::vector<int64_t>(rows, 0));
  bias_.assign(subjects.size(), std::vector<double>(rows * static_cast<size_t>(geometry.value_dim), 0));
  square_.assign(subjects.size(), std::vector<double>(rows, 0));
  wanted_.assign(static_cast<size_t>(geometry.query_heads), heads.empty());
  for (int64_t head : heads) wanted_[static_cast<size_t>(head)] = true;
}

void LayerVerification::visit_prior(const TileOutcome& outcome) {
  for (int64_t row = 0; row < outcome.tile->rows(); ++row) {
    if (!wanted(outcome, row)) continue;
    RowTruth& truth = truths_[slot(outcome, row)];
    if (outcome.pipeline == 0) {
      truth.sees = outcome.tile->visible_count(row) > 0;
      truth.prior_keys.assign(subjects_.size(), 0);
      truth.minimum.assign(subjects_.size(), 0);
      truth.lse = outcome.exact_lse[row];
      if (truth.sees) truth.visible = visible_mass(outcome, row);
    }
    if (!truth.sees) continue;
    const Subject& subject = subjects_[outcome.pipeline];
    static const attention::RowList none;
    const attention::RowList& list = outcome.selection == nullptr ? none : outcome.selection->list(row);
    truth.prior_keys[outcome.pipeline] = static_cast<double>(list.size());
    if (subject.epsilon && subject.delta) {
      truth.minimum[outcome.pipeline] =
          minimum_budget(outcome, row, list, subject.target, *subject.epsilon, *subject.delta);
    }
  }
}

void LayerVerification::visit(const TileOutcome& outcome) {
  for (int64_t row = 0; row < outcome.tile->rows(); ++row) {
    if (!wanted(outcome, row)) continue;
    const size_t at = slot(outcome, row);
    if (truths_[at].sees) measure(outcome, row, at);
  }
}

void LayerVerification::end_seed(size_t seed, std::vector<Totals>& totals) const {
  for (size_t s = 0; s < subjects_.size(); ++s) {
    Totals& total = totals[s];
    for (size_t at = 0; at < truths_.size(); ++at) {
      if (!truths_[at].sees) continue;
      const RowSample& sample = samples_[s][at];
      SeedSums& sums = total.seeds[seed];
      sums.ratio += sample.ratio;
      if (sample.has_projection) {
        sums.projection += sample.projection;
        sums.projections += 1;
      }
      total.error += sample.error;
      total.squared_ratio += (sample.ratio - 1) * (sample.ratio - 1);
      total.variance += sample.variance;
      total.density += sample.density;
      total.added += sample.added;
      total.sampled += sample.sampled;
      total.minimum += truths_[at].minimum[s];
      total.samples += 1;
      (sample.uniform ? total.uniform : total.independent) += sample.sampled > 0 ? 1 : 0;
      total.empty_rows += sample.empty ? 1 : 0;
      if (subjects_[s].variant) total.errors.push_back(static_cast<float>(sample.error));
    }
  }
}

void LayerVerification::end_layer(int64_t seeds, std::vector<Totals>& totals) const {
  const auto count = static_cast<double>(seeds);
  const auto width = static_cast<size_t>(geometry_.value_dim);
  for (size_t s = 0; s < subjects_.size(); ++s) {
    for (size_t at = 0; at < truths_.size(); ++at) {
      if (!truths_[at].sees) continue;
      totals[s].hits += hits_[s][at];
      totals[s].worst_row = std::min(totals[s].worst_row, static_cast<double>(hits_[s][at]) / count);
      if (!samples_[s][at].has_projection) continue;
      double square = 0;
      for (size_t c = 0; c < width; ++c) square += std::pow(bias_[s][at * width + c] / count, 2);
      totals[s].mean_error_norm += std::sqrt(square);
      totals[s].noise += std::sqrt(square_[s][at]) / count;
      totals[s].vector_rows += 1;
    }
  }
}

int64_t LayerVerification::rows() const {
  return std::count_if(truths_.begin(), truths_.end(), [](const RowTruth& truth) { return truth.sees; });
}

double LayerVerification::rounding() const {
  double largest = 0;
  for (const RowTruth& truth : truths_) {
    if (truth.sees) largest = std::max(largest, std::abs(double{truth.lse}));
  }
  return 4 * double{std::numeric_limits<float>::epsilon()} * (1 + largest);
}

bool LayerVerification::wanted(const TileOutcome& outcome, int64_t row) const {
  return wanted_[static_cast<size_t>(outcome.tile->head_of(row))];
}

size_t LayerVerification::slot(const TileOutcome& outcome, int64_t row) const {
  const attention::Tile& tile = *outcome.tile;
  return static_cast<size_t>((tile.index().batch * geometry_.query_heads + tile.head_of(row)) * count_ +
                             tile.query_of(row) - begin_);
}

void LayerVerification::measure(const TileOutcome& outcome, int64_t row, size_t at) {
  const size_t s = outcome.pipeline;
  const Subject& subject = subjects_[s];
  static const attention::RowList none;
  // A pipeline that samples has stages, hence a selection.
  const attention::RowList& list = outcome.selection == nullptr ? none : outcome.selection->list(row);
  RowSample& sample = samples_[s][at];
  sample.ratio = std::exp(double{outcome.lse[row]} - double{outcome.exact_lse[row]});
  sample.empty = (*outcome.empty)[static_cast<size_t>(row)] != 0;

  const int64_t width = geometry_.value_dim;
  const float *out = outcome.out + row * width, *exact = outcome.exact_out + row * width;
  double norm = 0, product = 0, numerator_error = 0, output_error = 0;
  for (int64_t c = 0; c < width; ++c) {
    const double n = sample.ratio * double{out[c]}, truth = double{exact[c]};
    norm += truth * truth;
    product += n * truth;
    numerator_error += (n - truth) * (n - truth);
    output_error += (double{out[c]} - truth) * (double{out[c]} - truth);
  }
  sample.has_projection = norm > 0;
  if (sample.has_projection) {
    sample.projection = product / norm;
    square_[s][at] += numerator_error / norm;
    double* bias = bias_[s].data() + at * static_cast<size_t>(width);
    for (int64_t c = 0; c < width; ++c)
      bias[c] += (sample.ratio * double{out[c]} - double{exact[c]}) / std::sqrt(norm);
  }
  const auto relative = [&](double error) { return error == 0 ? 0 : std::sqrt(error / norm); };
  sample.error = subject.target == "numerator" ? relative(numerator_error)
                 : subject.target == "output"  ? relative(output_error)
                                               : std::abs(sample.ratio - 1);
  if (subject.epsilon && sample.error <= *subject.epsilon) ++hits_[s][at];

  const RowTruth& truth = truths_[at];
  const auto active = static_cast<double>(list.size());
  sample.density = active / static_cast<double>(truth.visible.keys);
  sample.added = active - truth.prior_keys[s];
  sample.sampled = static_cast<double>(list.sampled.size());
  const RatioVariance variance = ratio_variance(outcome, row, list, truth.visible);
  sample.variance = variance.variance;
  sample.uniform = variance.uniform;
}

}  // namespace attnlab::measure
