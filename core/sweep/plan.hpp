// From points to trials: validated, with their ids, in batches.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/config/run_plan.hpp"
#include "core/data/problem.hpp"
#include "core/sweep/samplers/sampler.hpp"

namespace attnlab::sweep {

/// Makes trials of points. Files are hashed and inputs opened once. `sweep` and `catalog` must outlive it.
/// [one thread]
class Planner {
 public:
  Planner(const SweepConfig& sweep, const plugin::Catalog& catalog) : sweep_(sweep), catalog_(catalog) {}

  /// Resolves and checks the point's config, without running any plugin. Throws UserError, at the place where
  /// the sweep's config says what is wrong.
  Trial trial(const Point& point, int rung);
  /// Cost of a trial as far as it is known beforehand: logits of the exact attention that it is measured
  /// against, layers x sequences x query heads x measured queries x keys. For any trial that it made.
  double work(const std::string& id) const { return work_.at(id); }

 private:
  Trial resolve(const Point& point, int rung);
  const data::Source& source(const config::RunPlan& plan, const config::Document& document);
  const std::string& hash(const std::string& path);

  const SweepConfig& sweep_;
  const plugin::Catalog& catalog_;
  std::map<std::string, std::unique_ptr<data::Source>> sources_;  ///< by path and "input"
  std::map<std::string, std::string> hashes_;
  std::map<std::string, double> work_;
};

/// A whole sweep, batch by batch: next(), run what is not recorded yet, tell(), and again. The batches depend
/// on outcomes alone, so a sweep that is resumed with its recorded outcomes takes the same way. [one thread]
class Search {
 public:
  /// Validates what can be known before the first trial: every point of a grid and of a fixed sequence; of an
  /// adaptive sampler its first batch, the ends of all axes and a sample of the space. Throws UserError.
  /// `sweep` and `catalog` must outlive it.
  Search(const SweepConfig& sweep, const plugin::Catalog& catalog);

  /// Trials of the next batch, each once in the whole sweep, in the order of the sampler; empty: complete.
  /// All trials of the batch before must have been told. Throws UserError for a point that is no valid
  /// config.
  std::vector<Trial> next();
  /// The outcome of a trial of this batch. Others are refused by the return value false.
  bool tell(const Outcome& outcome);

  /// Trials in all, or the most that there can be.
  int64_t most_trials() const { return sampler_->most_trials(); }
  double work(const std::string& id) const { return planner_.work(id); }

 private:
  std::vector<Trial> make_batch();
  void validate_space();

  const SweepConfig& sweep_;
  Planner planner_;
  std::unique_ptr<Sampler> sampler_;
  std::vector<Trial> first_;             ///< the first batch, until it is taken
  std::map<std::string, Trial> trials_;  ///< all so far
  std::map<std::string, Result> results_;
  /// Points of one trial: a result is told to the sampler for each of them.
  std::multimap<std::string, Proposal> proposals_;
};

/// What `sweep plan` tells before anything runs.
struct Preview {
  std::vector<Trial> trials;  ///< of the first batch; of samplers that do not learn, all
  int64_t most_trials = 0;    ///< trials in all, where the first batch is not all
  double work = 0;            ///< of the listed trials together, see Planner::work
  size_t cheapest = 0;        ///< index of a trial with the least work, to time before the others
};
Preview preview(Search& search);

/// Seconds that `work` takes where `timed_work` took `timed_seconds`, on this many workers: trials cost about
/// as many seconds as they have logits.
double estimate_seconds(double work, double timed_work, double timed_seconds, int workers);

}  // namespace attnlab::sweep
