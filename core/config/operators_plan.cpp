#include "core/config/operators_plan.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "core/config/refuse.hpp"
#include "core/config/rows.hpp"
#include "core/config/run_plan.hpp"
#include "core/config/schema.hpp"

namespace attnlab::config {
namespace {

using base::Mistake;
using base::UserError;
using io::Json;
using namespace rows;

/// Of a spectrum, which takes cubic time; and of anything else.
constexpr int64_t kMostSpectrumTokens = 8192, kMostTokens = 1 << 20;
constexpr size_t kMostLengths = 64;

/// A value or a list of values, as a list.
std::vector<Json> listed(const Json& value) {
  return value.is_array() ? value.get<std::vector<Json>>() : std::vector<Json>{value};
}

/// "tokens": one length or several, ascending and each once.
std::vector<int64_t> read_tokens(const Document& document, const std::string& part, const Json& object,
                                 int64_t least, int64_t most, const std::vector<int64_t>& preset) {
  if (!object.contains("tokens")) return preset;
  const Json& given = object["tokens"];
  const std::string pointer = part + "/tokens", allowed = fmt::format("{} to {}, one or a list", least, most);
  const std::vector<Json> items = listed(given);
  if (items.empty() || items.size() > kMostLengths)
    refuse(document, pointer, "no list of lengths", fmt::format("{} lengths", items.size()),
           fmt::format("1 to {} lengths", kMostLengths));
  Parameter length = integer("tokens", static_cast<double>(least), static_cast<double>(most), "A length.");
  std::vector<int64_t> tokens;
  for (size_t i = 0; i < items.size(); ++i) {
    const std::string at = given.is_array() ? fmt::format("{}/{}", pointer, i) : pointer;
    tokens.push_back(plugin::parse_value(length, items[i], document.where(at)).as<int64_t>());
  }
  std::sort(tokens.begin(), tokens.end());
  tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
  return tokens;
}

/// "mode": one or both of prefill and decode.
void read_modes(const Document& document, const Json& object, ScalingPlan& plan) {
  if (!object.contains("mode")) return;
  const std::vector<Json> items = listed(object["mode"]);
  plan.prefill = plan.decode = false;
  for (size_t i = 0; i < items.size(); ++i) {
    const bool prefill = items[i] == "prefill", decode = items[i] == "decode";
    if (!prefill && !decode)
      refuse(
          document, object["mode"].is_array() ? fmt::format("/scaling/mode/{}", i) : "/scaling/mode",
          "there is no such mode", items[i].dump().substr(0, 80),
          "\"prefill\", \"decode\", or a list of them",
          items[i].is_string() ? base::did_you_mean(items[i].get<std::string>(), {"prefill", "decode"}) : "");
    plan.prefill |= prefill, plan.decode |= decode;
  }
  if (items.empty()) refuse(document, "/scaling/mode", "no mode is left", "[]", "\"prefill\", \"decode\"");
}

std::vector<OperatorPlan> read_operators(const Document& document, const plugin::Catalog& catalog) {
  constexpr size_t most = 64;
  const Json& root = document.root();
  const std::string allowed = "{\"name\": {\"scheme\": \"softmax\"}, ...}";
  if (!root.contains("operators"))
    refuse(document, "", "the config has no \"operators\"", "", "\"operators\": " + allowed);
  const Json& operators = root["operators"];
  if (!operators.is_object() || operators.empty() || operators.size() > most)
    refuse(document, "/operators", "a config names its operators", operators.dump().substr(0, 80), allowed);
  std::vector<OperatorPlan> plans;
  for (const auto& [name, scheme] : operators.items())
    plans.push_back({name, resolve_scheme(document, "/operators/" + escape(name), catalog)});
  return plans;
}

/// {"normal": 4} or {"uniform": [-1, 0]}.
ParameterDraw read_draw(const Document& document, const std::string& pointer, const Json& object) {
  ParameterDraw draw;
  const bool one = object.is_object() && object.size() == 1;
  const Json& value = one ? object.front() : object;
  if (one && object.contains("normal") && value.is_number() && value > 0 && value <= 1e6) {
    draw.scale = value.get<double>();
    return draw;
  }
  const auto bound = [](const Json& x) { return x.is_number() && x >= -1e6 && x <= 1e6; };
  if (one && object.contains("uniform") && value.is_array() && value.size() == 2 && bound(value[0]) &&
      bound(value[1]) && value[0] < value[1]) {
    draw.kind = ParameterDraw::Kind::uniform;
    draw.low = value[0].get<double>(), draw.high = value[1].get<double>();
    return draw;
  }
  refuse(document, pointer, "no way to draw parameters", object.dump().substr(0, 80),
         "{\"normal\": standard deviation} or {\"uniform\": [low, high]}");
}

/// "draw": by the names of operators.
std::map<std::string, ParameterDraw> read_draws(const Document& document, const Json& object) {
  std::map<std::string, ParameterDraw> draws;
  if (!object.contains("draw")) return draws;
  const Json& operators = document.root()["operators"];
  if (!object["draw"].is_object())
    refuse(document, "/spectrum/draw", "\"draw\" names operators", object["draw"].dump().substr(0, 80),
           "{\"name\": {\"normal\": 1}, ...}");
  for (const auto& [name, value] : object["draw"].items()) {
    const std::string pointer = "/spectrum/draw/" + escape(name);
    if (!operators.contains(name)) {
      std::vector<std::string> names;
      for (const auto& item : operators.items()) names.push_back(item.key());
      refuse(document, pointer, "there is no such operator", "\"" + name + "\"", base::join(names),
             base::did_you_mean(name, names));
    }
    draws[name] = read_draw(document, pointer, value);
  }
  return draws;
}

SpectrumPlan read_spectrum(const Document& document) {
  const Json& object = document.root()["spectrum"];
  const Values values = read_object(document, "/spectrum", object, spectrum_parameters(), {"tokens", "draw"});
  SpectrumPlan plan;
  plan.tokens = read_tokens(document, "/spectrum", object, 2, kMostSpectrumTokens, {1024});
  plan.draw = read_draws(document, object);
  plan.head_dim = values.at("head_dim").as<int64_t>();
  plan.samples = values.at("samples").as<int64_t>();
  plan.seed = static_cast<uint64_t>(values.at("seed").as<int64_t>());
  plan.causal = values.at("causal").as<bool>();
  plan.hankel = values.at("hankel").is_set() ? values.at("hankel").as<bool>() : plan.causal;
  if (plan.hankel && !plan.causal)
    refuse(document, "/spectrum/hankel", "Hankel ranks are of causal operators", "true",
           "false, or \"causal\": true");
  return plan;
}

ScalingPlan read_scaling(const Document& document) {
  const Json& object = document.root()["scaling"];
  const Values values = read_object(document, "/scaling", object, scaling_parameters(), {"tokens", "mode"});
  ScalingPlan plan;
  plan.tokens = read_tokens(document, "/scaling", object, 1, kMostTokens,
                            {512, 1024, 2048, 4096, 8192, 16384, 32768, 65536});
  plan.heads = values.at("heads").as<int64_t>();
  plan.head_dim = values.at("head_dim").as<int64_t>();
  plan.repeats = values.at("repeats").as<int64_t>();
  plan.seed = static_cast<uint64_t>(values.at("seed").as<int64_t>());
  plan.most_seconds = values.at("most_seconds").as<double>();
  plan.causal = values.at("causal").as<bool>();
  read_modes(document, object, plan);
  if (!plan.causal && plan.decode) {
    if (object.contains("mode"))
      refuse(document, "/scaling/causal", "a position that sees later ones cannot be decoded before them",
             "false", "true, or \"mode\": \"prefill\"");
    plan.decode = false;
  }
  return plan;
}

Json to_json(const SpectrumPlan& plan) {
  Json json = {{"tokens", plan.tokens}, {"head_dim", plan.head_dim}, {"samples", plan.samples},
               {"seed", plan.seed},     {"causal", plan.causal},     {"hankel", plan.hankel}};
  for (const auto& [name, draw] : plan.draw) {
    if (draw.kind == ParameterDraw::Kind::normal) {
      json["draw"][name] = {{"normal", draw.scale}};
    } else {
      json["draw"][name] = {{"uniform", {draw.low, draw.high}}};
    }
  }
  return json;
}

Json to_json(const ScalingPlan& plan) {
  Json modes = Json::array();
  if (plan.prefill) modes.push_back("prefill");
  if (plan.decode) modes.push_back("decode");
  return {{"tokens", plan.tokens},   {"heads", plan.heads}, {"head_dim", plan.head_dim},
          {"repeats", plan.repeats}, {"seed", plan.seed},   {"most_seconds", plan.most_seconds},
          {"causal", plan.causal},   {"mode", modes}};
}

}  // namespace

const std::vector<Parameter>& spectrum_parameters() {
  static const std::vector<Parameter> table = {
      integer("head_dim", 1, 4096, "Channels of queries and keys.", whole(16)),
      integer("samples", 1, 10000, "Draws of queries and keys, over which means are taken.", whole(3)),
      integer("seed", 0, 9e18, "Of queries, keys and first parameters.", whole(1)),
      flag("causal", "A position sees no later one.", false),
      of_type(ParameterType::boolean, "hankel", "Ranks across cuts of the sequence; default: causal."),
  };
  return table;
}

const std::vector<Parameter>& scaling_parameters() {
  static const std::vector<Parameter> table = [] {
    Parameter most = bounded("most_seconds", 0, 86400,
                             "Time of one operator at one length, in prefill and in decoding.", 10);
    most.minimum_open = true;
    return std::vector<Parameter>{
        integer("heads", 1, 1024, "Query and KV heads.", whole(4)),
        integer("head_dim", 1, 4096, "Channels of queries, keys and values.", whole(64)),
        integer("repeats", 1, 1000, "Timed rounds, in which the operators alternate.", whole(5)),
        integer("seed", 0, 9e18, "Of queries, keys, values and first parameters.", whole(1)),
        most,
        flag("causal", "A position sees no later one.", true),
    };
  }();
  return table;
}

OperatorsPlan resolve_operators(const Document& document, const plugin::Catalog& catalog) {
  static const std::vector<Parameter> top = [] {
    Parameter title = of_type(ParameterType::string, "title", "Shown in results.");
    title.default_value = {std::string()};
    return std::vector<Parameter>{title};
  }();
  const Json& root = document.root();
  const Values values =
      read_object(document, "", root, top, {"operators", "spectrum", "scaling", "plugin_path", "extends"});
  OperatorsPlan plan;
  plan.title = values.at("title").as<std::string>();
  plan.plugin_path = plugin_folders(document);
  plan.operators = read_operators(document, catalog);
  if (root.contains("spectrum")) plan.spectrum = read_spectrum(document);
  if (root.contains("scaling")) plan.scaling = read_scaling(document);
  if (!plan.spectrum && !plan.scaling)
    refuse(document, "", "nothing is to be measured", "", "\"spectrum\": {...}, \"scaling\": {...} or both",
           "\"spectrum\": {} takes every default");
  return plan;
}

Json to_json(const OperatorsPlan& plan, const plugin::Catalog& catalog) {
  Json json = {{"title", plan.title}, {"operators", Json::object()}};
  for (const OperatorPlan& o : plan.operators)
    json["operators"][o.name] = to_json(o.scheme, catalog.find(o.scheme.scheme)->descriptor);
  if (plan.spectrum) json["spectrum"] = to_json(*plan.spectrum);
  if (plan.scaling) json["scaling"] = to_json(*plan.scaling);
  if (!plan.plugin_path.empty()) json["plugin_path"] = plan.plugin_path;
  return json;
}

}  // namespace attnlab::config
