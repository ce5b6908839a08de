#include "core/measure/verify_sampling.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "core/measure/experiment.hpp"
#include "core/measure/verify_layer.hpp"

namespace attnlab::measure {
namespace {

using attention::TileOutcome;

/// Two-sided 99 % of a normal variable.
constexpr double interval_z = 2.5758293035489004;

std::optional<size_t> parameter_index(const plugin::Descriptor& method, const std::string& key) {
  for (size_t i = 0; i < method.parameters.size(); ++i) {
    if (method.parameters[i].key == key) return i;
  }
  return std::nullopt;
}

std::optional<double> real_parameter(const config::StagePlan& stage, const plugin::Descriptor& method,
                                     const std::string& key) {
  const auto index = parameter_index(method, key);
  if (!index || method.parameters[*index].type != plugin::ParameterType::real) return std::nullopt;
  const plugin::Value& value = stage.values[*index];
  return value.is_set() ? std::optional(value.as<double>()) : std::nullopt;
}

std::string target_of(const config::StagePlan& stage, const plugin::Descriptor& method) {
  const auto index = parameter_index(method, "target");
  if (!index || method.parameters[*index].type != plugin::ParameterType::enumeration) return "denominator";
  const auto& target = stage.values[*index];
  return target.is_set() ? target.as<std::string>() : "denominator";
}

std::vector<Subject> subjects_of(const config::RunPlan& plan, const plugin::Catalog& catalog,
                                 const std::vector<double>& epsilons) {
  std::vector<Subject> subjects;
  size_t record = 0;
  for (const auto& pipeline : plan.pipelines) {
    const int place = sampling_stage(pipeline, catalog);
    if (place < 0) continue;
    Subject subject{pipeline, static_cast<size_t>(place), record++, {}, {}, {}, {}};
    const config::StagePlan& stage = pipeline.stages[subject.stage];
    const plugin::Descriptor& method = catalog.find(stage.masker)->descriptor;
    subject.epsilon = real_parameter(stage, method, "epsilon");
    subject.delta = real_parameter(stage, method, "delta");
    subject.target = target_of(stage, method);
    subjects.push_back(subject);
    if (!subject.epsilon || !subject.delta) continue;
    for (const double epsilon : epsilons) {
      subject.variant = subject.epsilon = epsilon;
      subject.plan.stages[subject.stage].values[*parameter_index(method, "epsilon")] = {epsilon};
      subjects.push_back(subject);
    }
  }
  return subjects;
}

/// Nearest rank.
double quantile(std::vector<float> values, double share) {
  if (values.empty()) return std::numeric_limits<double>::quiet_NaN();
  const auto rank = static_cast<size_t>(std::ceil(share * static_cast<double>(values.size())));
  const auto at = values.begin() + static_cast<int64_t>(std::clamp<size_t>(rank, 1, values.size()) - 1);
  std::nth_element(values.begin(), at, values.end());
  return double{*at};
}

SamplingRecord record_of(const Subject& subject, const plugin::Catalog& catalog, Totals& total,
                         int64_t rows) {
  SamplingRecord record;
  const config::StagePlan& stage = subject.plan.stages[subject.stage];
  record.pipeline = subject.plan.name;
  record.stage = describe_stage(subject.plan, subject.stage, catalog.find(stage.masker)->descriptor);
  record.target = subject.target;
  std::vector<double> ratios, projections;
  for (const SeedSums& seed : total.seeds) {
    ratios.push_back(seed.ratio / static_cast<double>(rows));
    projections.push_back(seed.projection / seed.projections);
  }
  record.denominator_ratio = mean_over_seeds(ratios);
  record.numerator_projection = mean_over_seeds(projections);
  record.numerator_mean_error = total.mean_error_norm / total.vector_rows;
  record.numerator_noise = total.noise / total.vector_rows;
  record.denominator_variance = total.squared_ratio / total.samples;
  record.theoretical_variance = total.variance / total.samples;
  record.theory = total.uniform + total.independent == 0 ? "nothing was sampled"
                  : total.independent == 0               ? "uniform draws without replacement"
                  : total.uniform == 0
                      ? "independent draws (Poisson)"
                      : fmt::format("uniform without replacement in {} rows, independent draws in {}",
                                    total.uniform, total.independent);
  record.mean_error = total.error / total.samples;
  record.density = total.density / total.samples;
  record.added = total.added / total.samples;
  record.sampled = total.sampled / total.samples;
  record.empty_rows = total.empty_rows;
  if (subject.epsilon && subject.delta) {
    record.minimum = total.minimum / total.samples;
    Coverage coverage{
        *subject.epsilon, *subject.delta, total.hits, static_cast<int64_t>(total.samples), {}, 1};
    coverage.interval = wilson_interval(coverage.hits, coverage.trials, interval_z);
    coverage.worst_row = total.worst_row;
    record.coverage = coverage;
  }
  return record;
}

}  // namespace

double SeedMean::z(double truth, double rounding) const {
  if (std::abs(mean - truth) <= rounding) return 0;
  return (mean - truth) / standard_error;
}

SeedMean mean_over_seeds(const std::vector<double>& values) {
  const auto n = static_cast<double>(values.size());
  SeedMean result{0, 0};
  for (double value : values) result.mean += value / n;
  for (double value : values) result.standard_error += (value - result.mean) * (value - result.mean);
  result.standard_error = std::sqrt(result.standard_error / (n - 1) / n);
  return result;
}

Interval wilson_interval(int64_t hits, int64_t trials, double z) {
  const auto n = static_cast<double>(trials);
  const double share = static_cast<double>(hits) / n, weight = z * z / n;
  const double centre = (share + weight / 2) / (1 + weight);
  const double half = std::sqrt(share * (1 - share) * weight + weight * weight / 4) / (1 + weight);
  return {hits == 0 ? 0 : std::max(0.0, centre - half), hits == trials ? 1 : std::min(1.0, centre + half)};
}

int sampling_stage(const config::PipelinePlan& pipeline, const plugin::Catalog& catalog) {
  for (size_t s = 0; s < pipeline.stages.size(); ++s) {
    const auto& stage = pipeline.stages[s];
    if ((stage.selector && stage.selector->samples()) ||
        catalog.find(stage.masker)->descriptor.has(ATTNLAB_SAMPLES))
      return static_cast<int>(s);
  }
  return -1;
}

VerificationRecord verify_sampling(const config::RunPlan& plan, const plugin::Catalog& catalog,
                                   const config::Document& document, const data::Source& source,
                                   const VerifyOptions& options) {
  const data::Geometry& geometry = source.geometry();
  const std::vector<Subject> subjects = subjects_of(plan, catalog, options.epsilons);
  ATTNLAB_CHECK(!subjects.empty() && options.seeds >= 2, "there is something to repeat, more than once");
  std::vector<attention::Pipeline> pipelines, priors;
  for (const Subject& subject : subjects) {
    pipelines.emplace_back(subject.plan, catalog, document);
    config::PipelinePlan prior = subject.plan;
    prior.stages.resize(subject.stage);
    // An eviction selects nothing. Left last, it would give all that it retains.
    while (!prior.stages.empty() && catalog.find(prior.stages.back().masker)->descriptor.has(ATTNLAB_RETAINS))
      prior.stages.pop_back();
    priors.emplace_back(prior, catalog, document);
  }

  VerificationRecord result;
  attention::AttentionOptions attention = attention_options(plan, source);
  result.input = describe_input(plan, source, attention);
  result.seeds = options.seeds;
  result.first_seed = plan.seed;
  std::vector<Totals> totals(subjects.size());
  for (Totals& total : totals) total.seeds.resize(static_cast<size_t>(options.seeds));

  const std::vector<int> layers = wanted_layers(plan, source);
  const int64_t count = measured_queries(plan, geometry), begin = geometry.queries - count;
  const std::vector<int64_t> kv_heads = measured_kv_heads(plan, geometry);
  const int64_t work = count * static_cast<int64_t>(layers.size()) * (options.seeds + 1);
  int64_t done = 0;
  const auto advance = [&](int64_t queries) {
    done += queries;
    if (options.on_progress) options.on_progress(done, work);
    if (options.cancelled && options.cancelled())
      throw base::UserError("interrupted", {}, base::Exit::interrupted);
  };

  attention::Engine engine(options.execution);
  double rounding = 0;
  for (int layer : layers) {
    const data::LayerProblem problem = source.load(layer);
    LayerVerification rows(subjects, geometry, begin, count, plan.heads);
    const auto run = [&](const std::vector<attention::Pipeline>& what, uint64_t seed,
                         const attention::Visitor& visit) {
      attention.seed = seed;
      attention::Session session(what, problem, geometry, attention);
      attend_by_mode(plan.mode, session, engine, kv_heads, begin, count, visit, advance);
    };
    run(priors, plan.seed, [&](const TileOutcome& outcome) { rows.visit_prior(outcome); });
    for (int64_t seed = 0; seed < options.seeds; ++seed) {
      run(pipelines, plan.seed + static_cast<uint64_t>(seed),
          [&](const TileOutcome& outcome) { rows.visit(outcome); });
      rows.end_seed(static_cast<size_t>(seed), totals);
    }
    rows.end_layer(options.seeds, totals);
    result.rows += rows.rows();
    rounding = std::max(rounding, rows.rounding());
  }

  if (result.rows == 0) throw base::UserError("no row of the input sees a key", document.where("/input"));
  for (size_t s = 0; s < subjects.size(); ++s) {
    const Subject& subject = subjects[s];
    SamplingRecord record = record_of(subject, catalog, totals[s], result.rows);
    record.rounding = rounding;
    if (!subject.variant) {
      result.pipelines.push_back(std::move(record));
      continue;
    }
    result.pipelines[subject.record].epsilons.push_back(
        {*subject.variant, record.mean_error, quantile(std::move(totals[s].errors), 1 - *subject.delta),
         record.density});
  }
  return result;
}

}  // namespace attnlab::measure
