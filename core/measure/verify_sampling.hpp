// Sampling put to the test: the selection of one problem repeated over seeds, against what theory promises.
#pragma once

#include <cmath>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "core/attention/session.hpp"
#include "core/measure/record.hpp"

namespace attnlab::measure {

/// Mean over seeds of what each seed gave as mean over its rows: rows of a seed may share random planes,
/// seeds share nothing.
struct SeedMean {
  double mean = std::numeric_limits<double>::quiet_NaN();
  double standard_error = std::numeric_limits<double>::quiet_NaN();

  /// Standard errors from `truth`; 0 where both distances are below the `rounding` of the measurement.
  double z(double truth, double rounding) const;
};

/// Of at least two values; the standard error is that of independent ones.
SeedMean mean_over_seeds(const std::vector<double>& values);

struct Interval {
  double low = 0, high = 1;
};
/// Wilson's interval of a binomial share: the shares from which `hits` of `trials` lies within `z` standard
/// deviations.
Interval wilson_interval(int64_t hits, int64_t trials, double z);

/// How often an error stayed within the epsilon that a stage promises to exceed with probability delta only.
struct Coverage {
  double epsilon = 0, delta = 0;
  int64_t hits = 0, trials = 0;  ///< rows of all seeds
  Interval interval;             ///< Wilson, two-sided 99 %
  double worst_row = 1;          ///< share of the seeds in which the row with the fewest hits had one

  double share() const { return static_cast<double>(hits) / static_cast<double>(trials); }
  /// The promise lies above the whole interval.
  bool missed() const { return interval.high < 1 - delta; }
};

/// The stage with another epsilon.
struct EpsilonPoint {
  double epsilon = 0;
  double mean_error = 0, quantile_error = 0;  ///< the 1 - delta quantile, nearest rank
  double density = 0;
};

/// One pipeline that samples. Means are over rows and seeds. D is a row's exact softmax denominator, N its
/// exact numerator vector, D^ and N^ their estimates.
struct SamplingRecord {
  std::string pipeline;
  StageRecord stage;   ///< the one that samples
  std::string target;  ///< what `mean_error`, coverage and minimum are about: denominator, numerator, output

  SeedMean denominator_ratio;       ///< D^ / D
  SeedMean numerator_projection;    ///< N^.N / |N|^2
  double numerator_mean_error = 0;  ///< |mean over seeds of N^ - N| / |N|, mean over rows
  double numerator_noise = 0;       ///< the same for an unbiased estimator with the spread that was seen
  double denominator_variance = 0;  ///< mean of (D^ / D - 1)^2
  double theoretical_variance = 0;  ///< mean of what the inclusion probabilities give
  std::string theory;               ///< where the latter is from, one sentence
  double mean_error = 0;            ///< of the target, relative
  double density = 0;               ///< active / visible keys
  double added = 0;                 ///< active keys beyond those of the stages before
  double sampled = 0;               ///< active keys with p < 1
  double minimum =
      std::numeric_limits<double>::quiet_NaN();  ///< of `added`, for the declared epsilon, delta and
                                                 ///< the true variance; NaN: nothing is declared
  double rounding = 0;                           ///< of D^ / D, from float32 logits
  int64_t empty_rows = 0;                        ///< rows and seeds with visible keys and none active
  std::optional<Coverage> coverage;              ///< stages that declare epsilon and delta
  std::vector<EpsilonPoint> epsilons;

  /// The denominator ratio is more than four standard errors from 1, or is no number.
  bool biased() const { return !(std::abs(denominator_ratio.z(1, rounding)) <= 4); }
  bool holds() const { return !biased() && !(coverage && coverage->missed()); }
};

struct VerificationRecord {
  std::string title, command, version;
  InputRecord input;
  int64_t seeds = 0;
  uint64_t first_seed = 0;
  int64_t rows = 0;  ///< query rows that see a key
  std::vector<SamplingRecord> pipelines;
};
/// `verification.json`.
io::Json verification_json(const VerificationRecord& verification);

struct VerifyOptions {
  attention::Execution execution;
  int64_t seeds = 200;           ///< plan.seed, plan.seed + 1, ...; at least 2
  std::vector<double> epsilons;  ///< runs each stage that declares epsilon with these as well
  std::function<void(int64_t done, int64_t total)> on_progress;
  std::function<bool()> cancelled;
};

/// The place in `pipeline.stages` of the stage that samples, or -1.
int sampling_stage(const config::PipelinePlan& pipeline, const plugin::Catalog& catalog);

/// Verifies the pipelines of the plan that sample; there must be one. Fills all but title, command and
/// version. Results do not depend on threads or tiles. O(seeds) runs.
VerificationRecord verify_sampling(const config::RunPlan& plan, const plugin::Catalog& catalog,
                                   const config::Document& document, const data::Source& source,
                                   const VerifyOptions& options);

}  // namespace attnlab::measure
