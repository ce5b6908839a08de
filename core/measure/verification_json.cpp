#include "core/measure/verify_sampling.hpp"

namespace attnlab::measure {
namespace {

using io::Json;

Json mean_json(const SeedMean& mean, double truth, double rounding) {
  return {{"mean", mean.mean}, {"standard_error", mean.standard_error}, {"z", mean.z(truth, rounding)}};
}

Json pipeline_json(const SamplingRecord& record) {
  Json json;
  json["name"] = record.pipeline;
  json["stage"] = {
      {"name", record.stage.name}, {"masker", record.stage.masker}, {"parameters", record.stage.parameters}};
  json["target"] = record.target;
  json["holds"] = record.holds();
  json["denominator_ratio"] = mean_json(record.denominator_ratio, 1, record.rounding);
  json["numerator_projection"] = mean_json(record.numerator_projection, 1, record.rounding);
  json["numerator_mean_error"] = record.numerator_mean_error;
  json["numerator_noise"] = record.numerator_noise;
  json["denominator_variance"] = record.denominator_variance;
  json["theoretical_variance"] = record.theoretical_variance;
  json["theory"] = record.theory;
  json["mean_error"] = record.mean_error;
  json["density"] = record.density;
  json["added_keys"] = record.added;
  json["sampled_keys"] = record.sampled;
  json["empty_rows"] = record.empty_rows;
  json["minimum_keys"] = nullptr;
  json["coverage"] = nullptr;
  if (record.coverage) {
    const Coverage& coverage = *record.coverage;
    json["minimum_keys"] = record.minimum;
    json["coverage"] = {
        {"epsilon", coverage.epsilon},    {"delta", coverage.delta},         {"hits", coverage.hits},
        {"trials", coverage.trials},      {"share", coverage.share()},       {"low", coverage.interval.low},
        {"high", coverage.interval.high}, {"worst_row", coverage.worst_row}, {"missed", coverage.missed()}};
  }
  Json& points = json["epsilons"] = Json::array();
  for (const EpsilonPoint& point : record.epsilons) {
    points.push_back({{"epsilon", point.epsilon},
                      {"mean_error", point.mean_error},
                      {"quantile_error", point.quantile_error},
                      {"density", point.density}});
  }
  return json;
}

}  // namespace

Json verification_json(const VerificationRecord& verification) {
  Json json;
  json["title"] = verification.title;
  json["version"] = verification.version;
  json["input"] = verification.input.description;
  json["mode"] = verification.input.mode;
  json["measured_queries"] = verification.input.measured_queries;
  json["layers"] = verification.input.layers;
  json["seeds"] = verification.seeds;
  json["first_seed"] = verification.first_seed;
  json["rows"] = verification.rows;
  Json& pipelines = json["pipelines"] = Json::array();
  for (const SamplingRecord& record : verification.pipelines) pipelines.push_back(pipeline_json(record));
  return json;
}

}  // namespace attnlab::measure
