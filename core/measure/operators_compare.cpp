// What scaling says of operators side by side, and the files of a look at operators.
#include <algorithm>
#include <cmath>
#include <limits>

#include "core/measure/machine.hpp"
#include "core/measure/operators.hpp"

namespace attnlab::measure {
namespace {

using io::Json;

/// Both values at a length that both operators reached.
struct Pair {
  int64_t tokens = 0;
  double value = 0, against = 0;
  bool below() const { return value < against; }
};

std::vector<Pair> pairs_of(const OperatorScaling& a, const OperatorScaling& b, Quantity quantity) {
  std::vector<Pair> pairs;
  for (const OperatorPoint& point : a.points) {
    const auto other = std::find_if(b.points.begin(), b.points.end(),
                                    [&](const OperatorPoint& p) { return p.tokens == point.tokens; });
    if (other == b.points.end()) continue;
    const Pair pair{point.tokens, value_of(point, quantity), value_of(*other, quantity)};
    if (!std::isnan(pair.value) && !std::isnan(pair.against)) pairs.push_back(pair);
  }
  return pairs;
}

/// Sets where two lines that are straight between logarithms meet.
void interpolate(const Pair& before, const Pair& after, Crossover& crossover) {
  const double gap = std::log(before.value / before.against), next = std::log(after.value / after.against);
  const double share = gap == next ? 0 : gap / (gap - next);
  const auto between = [&](double a, double b) {
    return std::exp(std::log(a) + share * (std::log(b) - std::log(a)));
  };
  crossover.tokens = between(static_cast<double>(before.tokens), static_cast<double>(after.tokens));
  crossover.value = between(before.value, after.value);
}

Crossover crossover_of(const std::vector<Pair>& pairs) {
  Crossover crossover;
  crossover.first = pairs.front().tokens, crossover.last = pairs.back().tokens;
  if (!pairs.back().below()) return crossover;
  size_t first = pairs.size() - 1;
  while (first > 0 && pairs[first - 1].below()) --first;
  crossover.kind = first == 0 ? Crossover::Kind::everywhere : Crossover::Kind::at;
  if (first > 0) interpolate(pairs[first - 1], pairs[first], crossover);
  return crossover;
}

const char* name_of(Crossover::Kind kind) {
  constexpr const char* names[] = {"at", "everywhere", "never"};
  return names[static_cast<size_t>(kind)];
}

/// Null where nothing has the figure.
Json to_json(const SampleFigure& figure) {
  if (figure.samples == 0) return nullptr;
  return {{"mean", figure.mean}, {"deviation", figure.deviation}, {"samples", figure.samples}};
}

Json to_json(const OperatorSpectrum& s) {
  Json json = {{"operator", s.name}, {"scheme", s.scheme}, {"tokens", s.tokens}};
  if (!s.refused.empty()) {
    json["refused"] = s.refused;
    if (std::isfinite(s.nonlinearity)) json["nonlinearity"] = s.nonlinearity;
    return json;
  }
  json["rank"] = to_json(s.rank);
  json["effective_rank"] = to_json(s.effective_rank);
  json["participation_ratio"] = to_json(s.participation_ratio);
  json["stable_rank"] = to_json(s.stable_rank);
  json["row_entropy"] = to_json(s.entropy);
  json["row_entropy_share"] = to_json(s.entropy_share);
  json["top_tenth_mass"] = to_json(s.top_mass);
  json["hankel_rank"] = to_json(s.hankel_rank);
  json["nonlinearity"] = s.nonlinearity;
  json["decay"] = Json::array();
  for (const auto& [place, ratio] : s.decay) json["decay"].push_back({{"i", place}, {"ratio", ratio}});
  return json;
}

/// Median, range and single samples, in seconds.
Json seconds_json(const std::vector<double>& seconds, bool all) {
  const Spread s = spread(seconds);
  double sum = 0;
  for (const double x : seconds) sum += x;
  Json json = {{"median", s.median},
               {"minimum", s.minimum},
               {"maximum", s.maximum},
               {"mean", sum / static_cast<double>(seconds.size())},
               {"count", seconds.size()}};
  if (all) json["samples"] = seconds;
  return json;
}

Json to_json(const OperatorScaling& scaling) {
  Json json = {{"operator", scaling.name}, {"scheme", scaling.scheme}, {"points", Json::array()}};
  for (const OperatorPoint& point : scaling.points) {
    Json item = {{"tokens", point.tokens}};
    if (!point.prefill.empty()) item["prefill_seconds"] = seconds_json(point.prefill, true);
    if (!point.decode.empty()) item["decode_seconds_per_token"] = seconds_json(point.decode, false);
    if (point.state_bytes) item["state_bytes"] = *point.state_bytes;
    for (const auto& [name, shape] : point.state) item["state"][name] = shape;
    json["points"].push_back(std::move(item));
  }
  json["notes"] = scaling.notes;
  return json;
}

Json to_json(const Crossover& c) {
  Json json = {{"quantity", name_of(c.quantity)}, {"operator", c.name}, {"against", c.against},
               {"below", name_of(c.kind)},        {"from", c.first},    {"to", c.last}};
  if (c.kind == Crossover::Kind::at) json["tokens"] = c.tokens;
  return json;
}

}  // namespace

std::string name_of(Quantity quantity) {
  constexpr const char* names[] = {"prefill", "decode", "state"};
  return names[static_cast<size_t>(quantity)];
}

double value_of(const OperatorPoint& point, Quantity quantity) {
  constexpr double nothing = std::numeric_limits<double>::quiet_NaN();
  switch (quantity) {
    case Quantity::prefill:
      return point.prefill.empty() ? nothing
                                   : spread(point.prefill).median / static_cast<double>(point.tokens);
    case Quantity::decode:
      return point.decode.empty() ? nothing : spread(point.decode).median;
    case Quantity::state:
      return point.state_bytes ? static_cast<double>(*point.state_bytes) : nothing;
  }
  return nothing;
}

std::vector<Crossover> crossovers(const std::vector<OperatorScaling>& scaling) {
  std::vector<Crossover> found;
  if (scaling.empty()) return found;
  auto reference = std::find_if(scaling.begin(), scaling.end(),
                                [](const OperatorScaling& s) { return s.scheme == "softmax"; });
  if (reference == scaling.end()) reference = scaling.begin();
  for (const Quantity quantity : {Quantity::prefill, Quantity::decode, Quantity::state}) {
    for (auto other = scaling.begin(); other != scaling.end(); ++other) {
      if (other == reference) continue;
      const std::vector<Pair> pairs = pairs_of(*other, *reference, quantity);
      if (pairs.empty()) continue;
      Crossover crossover = crossover_of(pairs);
      crossover.quantity = quantity, crossover.name = other->name, crossover.against = reference->name;
      found.push_back(crossover);
    }
  }
  return found;
}

Json spectra_json(const OperatorsRecord& record, const plugin::Catalog& catalog) {
  Json json = {{"title", record.plan.title}, {"config", config::to_json(record.plan, catalog)}};
  if (!record.plan.spectrum) return json;
  json["spectrum"] = Json::array();
  for (const OperatorSpectrum& spectrum : record.spectra) json["spectrum"].push_back(to_json(spectrum));
  return json;
}

Json scaling_json(const OperatorsRecord& record) {
  Json json = {{"machine", describe_machine()},
               {"build", describe_build()},
               {"threads", record.threads},
               {"simd_target", record.simd_target}};
  if (record.roof)
    json["roof"] = {{"gflops", record.roof->flops / 1e9}, {"read_gbytes", record.roof->read_bytes / 1e9}};
  json["scaling"] = Json::array();
  for (const OperatorScaling& scaling : record.scaling) json["scaling"].push_back(to_json(scaling));
  json["crossovers"] = Json::array();
  for (const Crossover& crossover : crossovers(record.scaling))
    json["crossovers"].push_back(to_json(crossover));
  return json;
}

}  // namespace attnlab::measure
