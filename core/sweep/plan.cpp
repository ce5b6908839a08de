#include "core/sweep/plan.hpp"

#include <algorithm>
#include <utility>

#include "core/base/hash.hpp"
#include "core/data/open_input.hpp"
#include "core/measure/experiment.hpp"
#include "core/measure/identity.hpp"

namespace attnlab::sweep {
namespace {

using base::UserError;
using Kind = SamplerPlan::Kind;

/// Points that are checked before an adaptive sampler begins.
constexpr int64_t checked_points = 256;

}  // namespace

Trial Planner::trial(const Point& point, int rung) {
  try {
    return resolve(point, rung);
  } catch (const UserError& error) {
    throw in_sweep(error, sweep_, point, rung);
  }
}

const data::Source& Planner::source(const config::RunPlan& plan, const config::Document& document) {
  auto& source = sources_[plan.input.path + key_of(document.root()["input"])];
  if (source != nullptr) return *source;
  source = data::open_input(plan.input, document);
  return *source;
}

const std::string& Planner::hash(const std::string& path) {
  std::string& known = hashes_[path];
  if (known.empty()) known = base::hash_file(path);
  return known;
}

Trial Planner::resolve(const Point& point, int rung) {
  const config::Document document = apply(sweep_, point, rung);
  config::RunPlan plan = config::resolve(document, catalog_);
  // Only a policy names other pipelines; without one they have no part in the trial.
  if (!plan.pipelines.front().policy) plan.helpers.clear();
  const data::Source& input = source(plan, document);
  measure::check_plan(plan, input, document, {});
  Trial trial;
  trial.config = measure::complete_config(plan, catalog_, input);
  trial.id = measure::run_id(plan, catalog_, trial.config, measure::input_files(plan, catalog_, input),
                             [&](const std::string& path) { return hash(path); });
  trial.point = point;
  trial.rung = rung;
  const data::Geometry& geometry = input.geometry();
  const auto heads = plan.heads.empty() ? geometry.query_heads : static_cast<int64_t>(plan.heads.size());
  work_[trial.id] = static_cast<double>(measure::wanted_layers(plan, input).size()) *
                    static_cast<double>(geometry.batch * heads) *
                    static_cast<double>(measure::measured_queries(plan, geometry)) *
                    static_cast<double>(geometry.keys);
  return trial;
}

Search::Search(const SweepConfig& sweep, const plugin::Catalog& catalog)
    : sweep_(sweep), planner_(sweep, catalog), sampler_(make_sampler(sweep)) {
  const bool adaptive = sweep.sampler.kind == Kind::tpe || sweep.sampler.kind == Kind::successive_halving;
  if (adaptive) validate_space();
  first_ = make_batch();
}

void Search::validate_space() {
  const int rungs = std::max(1, static_cast<int>(sweep_.sampler.rungs.size()));
  std::vector<Point> points;
  if (sweep_.sampler.kind == Kind::successive_halving) {
    points = choose_points(sweep_, sweep_.sampler.first, sweep_.sampler.trials);
  } else {
    points = choose_points(sweep_, Kind::sobol, std::min(checked_points, sweep_.sampler.trials));
    for (const double end : {0.0, 1 - 0x1p-53}) {
      Point corner = sweep_.space.at(std::vector<double>(sweep_.space.axes.size(), end));
      if (sweep_.space.allows(corner)) points.push_back(std::move(corner));
    }
  }
  for (int rung = 0; rung < rungs; ++rung) {
    for (const Point& point : points) planner_.trial(point, rung);
  }
}

std::vector<Trial> Search::make_batch() {
  std::vector<Trial> batch;
  while (batch.empty()) {
    // A trial that stands for several points is told for each of them.
    std::vector<Result> told;
    for (const auto& [id, proposal] : proposals_) {
      Result result = results_.at(id);
      result.point = proposal.point;
      result.rung = proposal.rung;
      told.push_back(std::move(result));
    }
    const std::vector<Proposal> proposals = sampler_->next(told);
    if (proposals.empty()) break;
    for (const Proposal& proposal : proposals) {
      Trial trial = planner_.trial(proposal.point, proposal.rung);
      proposals_.emplace(trial.id, proposal);
      if (trials_.emplace(trial.id, trial).second) batch.push_back(std::move(trial));
    }
  }
  return batch;
}

std::vector<Trial> Search::next() {
  if (!first_.empty()) return std::exchange(first_, {});
  ATTNLAB_CHECK(results_.size() == trials_.size(), "a trial of the batch before has no outcome");
  return make_batch();
}

bool Search::tell(const Outcome& outcome) {
  const auto trial = trials_.find(outcome.id);
  if (trial == trials_.end() || results_.contains(outcome.id)) return false;
  Result result{outcome.id, trial->second.point, trial->second.rung, {}};
  result.judgement = judge(sweep_.goal, sweep_.space, result.point, outcome);
  results_.emplace(outcome.id, std::move(result));
  return true;
}

Preview preview(Search& search) {
  Preview preview;
  preview.trials = search.next();
  preview.most_trials = search.most_trials();
  for (size_t i = 0; i < preview.trials.size(); ++i) {
    const double work = search.work(preview.trials[i].id);
    preview.work += work;
    if (work < search.work(preview.trials[preview.cheapest].id)) preview.cheapest = i;
  }
  return preview;
}

double estimate_seconds(double work, double timed_work, double timed_seconds, int workers) {
  return work * timed_seconds / (timed_work * workers);
}

}  // namespace attnlab::sweep
