// How much of an objective one axis of a sweep explains.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "core/report/sweep_summary.hpp"

namespace attnlab::report {

/// Trials of equal or near values.
struct AxisGroups {
  std::vector<size_t> trials;  ///< that have the axis: indices into SweepReport::trials
  std::vector<size_t> group;   ///< of each of them
  size_t count = 0;            ///< groups, none of them empty; of numbers ascending, else by choice
  bool binned = false;         ///< groups are quantile bins, not values
};
/// Groups of `trials` by their value on an axis: one a value, or for numbers of many values 2 to 8 bins of
/// about equal size. Equal numbers are never parted.
AxisGroups groups_on_axis(const SweepReport& report, size_t axis, const std::vector<size_t>& trials);

/// Share of variance that the groups' means explain (one-way analysis of variance): the sum over groups of
/// n_g (mean_g - mean)^2, over the sum of (y - mean)^2. NaN where all `values` are equal.
double explained_share(const std::vector<double>& values, const std::vector<size_t>& group, size_t count);
/// The share that values without any relation to these groups reach in one case of twenty: the 95 % quantile
/// over 99 to 999 random permutations of `values`, the same in every run.
double noise_share(const std::vector<double>& values, const std::vector<size_t>& group, size_t count);

struct Importance {
  size_t trials = 0, values = 0;  ///< that have the axis; groups
  bool binned = false;
  double share = std::numeric_limits<double>::quiet_NaN();  ///< NaN: nothing varies
  double noise = std::numeric_limits<double>::quiet_NaN();

  bool above_noise() const { return share > noise; }
};
/// [objective][axis], over all trials that have objectives, infeasible ones too.
std::vector<std::vector<Importance>> importances(const SweepReport& report, const SweepSummary& summary);
/// Axes by their share in an objective, the largest first.
std::vector<size_t> axes_by_share(const std::vector<Importance>& of_axes);

/// What the figures mean and where they mislead: sentences.
const std::vector<std::string>& importance_method();

}  // namespace attnlab::report
