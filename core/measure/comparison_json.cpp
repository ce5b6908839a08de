// compare.json.
#include <cmath>

#include "core/measure/comparison.hpp"

namespace attnlab::measure {
namespace {

using io::Json;
using train::TrialState;

Json figure(double value) {
  return std::isfinite(value) ? Json(value) : Json(nullptr);
}

Json to_json(const Estimate& e) {
  return {{"count", e.count},
          {"mean", figure(e.mean)},
          {"standard_deviation", figure(e.deviation)},
          {"low", figure(e.low)},
          {"high", figure(e.high)}};
}

const char* name_of(TrialState state) {
  switch (state) {
    case TrialState::finished:
      return "finished";
    case TrialState::diverged:
      return "diverged";
    case TrialState::unfinished:
      return "unfinished";
    case TrialState::absent:
      break;
  }
  return "absent";
}

Json curve_json(const std::vector<train::CurvePoint>& curve) {
  Json json = Json::array();
  for (const train::CurvePoint& point : curve) json.push_back({point.steps, figure(point.loss)});
  return json;
}

Json trial_json(const train::TrialResult& trial) {
  Json json = {{"seed", trial.seed}, {"state", name_of(trial.state)}};
  if (trial.state == TrialState::diverged) json["diverged_at"] = trial.diverged_at;
  if (trial.state != TrialState::finished) return json;
  json["validation_loss"] = figure(trial.loss);
  json["validation_accuracy"] = figure(trial.accuracy);
  json["held_out"] = curve_json(trial.held_out);
  json["training"] = curve_json(trial.training);
  return json;
}

Json size_json(const ComparedSubject& subject) {
  const train::SubjectSize& size = subject.size;
  Json json = {{"parameters", size.parameters},
               {"attention_parameters", size.attention_parameters},
               {"mlp_dim", size.hidden},
               {"steps", subject.steps},
               {"flops_per_token", size.flops_per_token},
               {"training_flops", subject.flops()},
               {"uncounted", size.uncounted}};
  Json state = {{"formula", nullptr}, {"measured", nullptr}};
  if (size.state_bytes_per_token)
    state["formula"] = {{"bytes_per_token", *size.state_bytes_per_token},
                        {"bytes_per_sequence", *size.state_bytes}};
  if (subject.state.refusal.empty()) {
    state["measured"] = {
        {"bytes_per_token", subject.state.per_token()},
        {"bytes_per_sequence", subject.state.per_sequence()},
        {"at", Json::array({Json::array({subject.state.short_tokens, subject.state.short_bytes}),
                            Json::array({subject.state.long_tokens, subject.state.long_bytes})})}};
  } else {
    state["refusal"] = subject.state.refusal;
  }
  json["state"] = std::move(state);
  return json;
}

Json subject_json(const ComparedSubject& subject, bool is_baseline) {
  Json json = {{"name", subject.name}, {"attention", subject.attention}};
  json.update(size_json(subject));
  json["finished"] = subject.finished;
  json["diverged"] = subject.diverged;
  json["validation_loss"] = to_json(subject.loss);
  json["validation_accuracy"] = to_json(subject.accuracy);
  if (!is_baseline) {
    Json difference = to_json(subject.difference.difference);
    difference["t"] = figure(subject.difference.t);
    difference["p"] = figure(subject.difference.p);
    difference["p_holm"] = figure(subject.adjusted_p);
    difference["by_seed"] = Json::array();
    for (const SeedDifference& seed : subject.by_seed) {
      Json entry = {{"seed", seed.seed}};
      entry.update(to_json(seed.difference));
      difference["by_seed"].push_back(std::move(entry));
    }
    json["difference"] = std::move(difference);
  }
  json["trials"] = Json::array();
  for (const train::TrialResult& trial : subject.trials) json["trials"].push_back(trial_json(trial));
  return json;
}

}  // namespace

Json to_json(const Comparison& comparison) {
  Json json = {{"title", comparison.title},          {"match", comparison.match},
               {"baseline", comparison.base().name}, {"seeds", comparison.seeds},
               {"window", comparison.window},        {"windows", comparison.windows},
               {"targets", comparison.targets},      {"complete", comparison.complete()},
               {"subjects", Json::array()},          {"notes", comparison.notes}};
  for (size_t i = 0; i < comparison.subjects.size(); ++i)
    json["subjects"].push_back(subject_json(comparison.subjects[i], i == comparison.baseline));
  json["clocks"] = clocks_json(comparison);
  return json;
}

Json clocks_json(const Comparison& comparison) {
  if (comparison.machine.is_null()) return nullptr;
  Json subjects = Json::object();
  for (const ComparedSubject& subject : comparison.subjects) {
    if (!subject.clock) return nullptr;
    const train::SubjectClock& clock = *subject.clock;
    subjects[subject.name] = {
        {"seconds_per_update", clock.update_seconds},
        {"seconds_per_update_quartiles", {clock.update_low, clock.update_high}},
        {"tokens_per_second", clock.tokens_per_second},
        {"decode_tokens_per_second",
         clock.decode_tokens_per_second > 0 ? Json(clock.decode_tokens_per_second) : Json()},
        {"memory_bytes", clock.memory_bytes}};
  }
  return {{"machine", comparison.machine},
          {"decode", {{"tokens", comparison.decode_tokens}, {"batch", comparison.decode_batch}}},
          {"subjects", std::move(subjects)}};
}

bool take_clocks(const Json& clocks, Comparison& comparison) {
  std::vector<train::SubjectClock> taken;
  try {
    for (const ComparedSubject& subject : comparison.subjects) {
      const Json& json = clocks.at("subjects").at(subject.name);
      train::SubjectClock clock;
      clock.update_seconds = json.at("seconds_per_update");
      clock.update_low = json.at("seconds_per_update_quartiles").at(0);
      clock.update_high = json.at("seconds_per_update_quartiles").at(1);
      clock.tokens_per_second = json.at("tokens_per_second");
      const Json& decode = json.at("decode_tokens_per_second");
      clock.decode_tokens_per_second = decode.is_null() ? 0 : decode.get<double>();
      clock.memory_bytes = json.at("memory_bytes");
      taken.push_back(clock);
    }
    comparison.machine = clocks.at("machine");
    comparison.decode_tokens = clocks.at("decode").at("tokens");
    comparison.decode_batch = clocks.at("decode").at("batch");
  } catch (const Json::exception&) {
    return false;
  }
  for (size_t i = 0; i < taken.size(); ++i) comparison.subjects[i].clock = taken[i];
  return true;
}

}  // namespace attnlab::measure
