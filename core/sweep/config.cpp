#include "core/sweep/config.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "core/config/refuse.hpp"
#include "core/config/rows.hpp"
#include "core/config/run_plan.hpp"
#include "core/config/schema.hpp"

namespace attnlab::sweep {
namespace {

namespace fs = std::filesystem;
using base::Mistake;
using base::UserError;
using config::Document;
using config::refuse;
using io::Json;
using plugin::Parameter;
using plugin::ParameterType;
using Kind = SamplerPlan::Kind;
using namespace config::rows;

/// Labels of origins in trials' documents; in_sweep puts the sweep's own places for them.
constexpr const char* base_label = "the sweep's base";
constexpr const char* point_label = "the sweep's point";
constexpr const char* rung_label = "the sweep's rung";

const std::vector<std::string>& sampler_names() {
  static const std::vector<std::string> names = {"grid",   "random", "sobol",
                                                 "halton", "tpe",    "successive_halving"};
  return names;
}

Kind kind_of(const std::string& name) {
  const auto found = std::find(sampler_names().begin(), sampler_names().end(), name);
  return static_cast<Kind>(found - sampler_names().begin());
}

const Json& member(const Document& document, const char* key) {
  static const Json empty = Json::object();
  const auto found = document.root().find(key);
  return found == document.root().end() ? empty : *found;
}

/// The run's config: a file, or an object in place.
Document base_of(const Document& document) {
  constexpr const char* allowed = "the path of a config of attnlab run, or such a config { ... }";
  const Json& base = member(document, "base");
  if (base.is_object() && !base.empty()) {
    Document inner;
    for (const auto& item : base.items()) {
      const std::string pointer = "/" + config::escape(item.key());
      inner.set(pointer, item.value(), {base_label, document.origin("/base" + pointer).folder});
    }
    return inner;
  }
  if (!base.is_string())
    refuse(document, base.is_object() ? "" : "/base", "a sweep has a \"base\"",
           base.empty() ? "" : base.dump(), allowed);
  const std::string path = document.resolve_path("/base", base.get<std::string>());
  if (!fs::exists(path))
    refuse(document, "/base", "its base does not exist", path, allowed,
           "paths are relative to the file that names them");
  return Document::load(path);
}

/// The pipeline that is measured. Leaves it as the only one that runs.
std::string choose_pipeline(const Document& document, Document& base) {
  static const Json nothing;
  const Json& root = base.root();
  const Json& pipelines = root.contains("pipelines") ? root["pipelines"] : nothing;
  std::vector<std::string> names;
  if (pipelines.is_object()) {
    for (const auto& item : pipelines.items()) names.push_back(item.key());
  }
  if (names.empty())
    refuse(document, "/base", "its base has no \"pipelines\"", "", "a config of attnlab run");
  std::string chosen = names.front();
  const auto compare = root.find("compare");
  if (compare != root.end() && compare->is_array() && !compare->empty() && compare->front().is_string())
    chosen = compare->front().get<std::string>();
  if (const Json& wanted = member(document, "pipeline"); wanted.is_string()) {
    chosen = wanted.get<std::string>();
    if (std::find(names.begin(), names.end(), chosen) == names.end())
      refuse(document, "/pipeline", "its base has no such pipeline", chosen, base::join(names),
             base::did_you_mean(chosen, names));
  }
  base.set("/compare", Json::array({chosen}), {base_label, "."});
  return chosen;
}

/// The sampler that has a key which another lacks.
std::string sampler_key_hint(const std::string& key) {
  if (key == "rungs") return "\"rungs\" is a key of the sampler successive_halving";
  for (const auto& name : sampler_names()) {
    for (const auto& parameter : sampler_parameters(kind_of(name))) {
      if (parameter.key == key) return fmt::format("\"{}\" is a key of the sampler {}", key, name);
    }
  }
  return "";
}

std::vector<Json> read_rungs(const Document& document, const Json& sampler) {
  constexpr const char* allowed =
      R"([{"/input/keys": 1024}, {"/input/keys": 4096}, {}]: at least two workloads)";
  const Json rungs = sampler.contains("rungs") ? sampler["rungs"] : Json();
  if (!rungs.is_array() || rungs.size() < 2 || rungs.size() > 16)
    refuse(document, rungs.is_null() ? "/sampler" : "/sampler/rungs",
           "successive halving has 2 to 16 \"rungs\"", rungs.is_null() ? "" : rungs.dump(), allowed);
  for (size_t i = 0; i < rungs.size(); ++i) {
    const std::string at = fmt::format("/sampler/rungs/{}", i);
    if (!rungs[i].is_object()) refuse(document, at, "has the wrong type", rungs[i].dump(), allowed);
    for (const auto& item : rungs[i].items()) {
      if (!item.key().starts_with('/'))
        refuse(document, at + "/" + config::escape(item.key()), "a rung sets values by JSON pointer",
               item.key(), allowed, "/" + item.key());
    }
  }
  return rungs.get<std::vector<Json>>();
}

SamplerPlan read_sampler(const Document& document) {
  const Json& sampler = member(document, "sampler");
  if (!sampler.is_object())
    refuse(document, "/sampler", "has the wrong type", sampler.dump(), R"({"kind": "grid"})");
  const Json named = sampler.contains("kind") ? Json{{"kind", sampler["kind"]}} : Json(Json::value_t::object);
  SamplerPlan plan;
  plan.kind = kind_of(config::read_object(document, "/sampler", named, sampler_parameters(Kind::grid))
                          .at("kind")
                          .as<std::string>());
  const bool halves = plan.kind == Kind::successive_halving;
  const std::vector<std::string> further =
      halves ? std::vector<std::string>{"rungs"} : std::vector<std::string>{};
  const config::Values values = config::read_object(document, "/sampler", sampler,
                                                    sampler_parameters(plan.kind), further, sampler_key_hint);
  auto whole = [&](const char* key, int64_t& into) {
    if (values.contains(key)) into = values.at(key).as<int64_t>();
  };
  int64_t seed = 1;
  whole("trials", plan.trials);
  whole("seed", seed);
  whole("batch", plan.batch);
  whole("startup", plan.startup);
  plan.seed = static_cast<uint64_t>(seed);
  if (plan.kind == Kind::tpe) plan.good = values.at("good").as<double>();
  if (!halves) return plan;
  plan.keep = values.at("keep").as<double>();
  plan.first = kind_of(values.at("first").as<std::string>());
  if (plan.first == Kind::grid && plan.trials != 0)
    refuse(document, "/sampler/trials", "a grid has as many trials as points", std::to_string(plan.trials),
           "no \"trials\" with \"first\": \"grid\"");
  if (plan.first != Kind::grid && plan.trials == 0)
    refuse(document, "/sampler", "the required key \"trials\" is missing", "",
           "integer >= 1: points of the first rung");
  plan.rungs = read_rungs(document, sampler);
  return plan;
}

/// Names of metrics are known; pointers are for constraints.
Expression read_objective_text(const Document& document, const std::string& at, const Json& text) {
  if (!text.is_string())
    refuse(document, at, "an objective is a metric or an expression of metrics", text.dump(),
           base::join(metric_names()));
  Expression expression = Expression::parse(text.get<std::string>(), document.where(at));
  if (expression.is_comparison())
    refuse(document, at, "a comparison is no objective", text.dump(), base::join(metric_names()),
           "put it into \"constraints\"");
  for (const auto& name : expression.names()) {
    if (std::find(metric_names().begin(), metric_names().end(), name) != metric_names().end()) continue;
    if (name.starts_with('/'))
      refuse(document, at, "an objective is made of metrics", name, base::join(metric_names()));
    refuse(document, at, "there is no such metric", name, base::join(metric_names()),
           base::did_you_mean(name, metric_names()));
  }
  return expression;
}

Objective read_objective(const Document& document, const std::string& at, const Json& json) {
  constexpr const char* allowed =
      R"({"minimise": METRIC} | {"maximise": METRIC} | {"preset": "hub", "target_density": 0.1})";
  if (!json.is_object()) refuse(document, at, "has the wrong type", json.dump(), allowed);
  if (json.contains("preset")) {
    static const std::vector<Parameter> table = [] {
      Parameter target = real("target_density", "Density that the preset hub aims at.");
      target.minimum = 0, target.maximum = 1, target.minimum_open = true;
      return std::vector<Parameter>{choice("preset", {"hub"}, "A known objective."), target};
    }();
    const config::Values values = config::read_object(document, at, json, table);
    const auto& target = values.at("target_density");
    return hub_objective(target.is_set() ? std::optional<double>(target.as<double>()) : std::nullopt);
  }
  for (const char* direction : {"minimise", "maximise"}) {
    if (json.size() != 1 || !json.contains(direction)) continue;
    Expression expression = read_objective_text(document, at + "/" + direction, json[direction]);
    return {expression.text(), expression, direction == std::string("maximise")};
  }
  const std::string key = json.empty() ? "" : json.begin().key();
  refuse(document, at, "this is no objective", json.dump(), allowed,
         base::did_you_mean(key, {"minimise", "maximise", "preset"}));
}

std::vector<Objective> read_objectives(const Document& document) {
  if (!document.root().contains("objective")) {
    const Mistake none;
    return {{"output_error", Expression::parse("output_error", none), false},
            {"density", Expression::parse("density", none), false}};
  }
  const Json& json = document.root()["objective"];
  std::vector<Objective> objectives;
  if (!json.is_array()) return {read_objective(document, "/objective", json)};
  if (json.empty() || json.size() > 16)
    refuse(document, "/objective", "a sweep has 1 to 16 objectives", json.dump(),
           R"([{"minimise": "output_error"}, ...])");
  for (size_t i = 0; i < json.size(); ++i) {
    const std::string at = fmt::format("/objective/{}", i);
    objectives.push_back(read_objective(document, at, json[i]));
    for (size_t earlier = 0; earlier < i; ++earlier) {
      if (objectives[earlier].name == objectives[i].name)
        refuse(document, at, "an objective stands twice", objectives[i].name, "objectives that differ");
    }
  }
  return objectives;
}

/// "2 GiB", or bytes.
uint64_t read_bytes(const Document& document, const std::string& at, const std::string& text) {
  static const std::vector<std::pair<std::string, double>> units = {
      {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40}};
  size_t used = 0;
  double number = 0;
  try {
    number = std::stod(text, &used);
  } catch (const std::logic_error&) {
    used = 0;
  }
  const size_t unit_begin = text.find_first_not_of(' ', used);
  const std::string unit = unit_begin == std::string::npos ? "" : text.substr(unit_begin);
  for (const auto& [name, factor] : units) {
    const double bytes = number * factor;
    if (used > 0 && unit == name && bytes >= 0x1p20 && bytes <= 0x1p50) return static_cast<uint64_t>(bytes);
  }
  refuse(document, at, "this is no amount of memory", text, "\"512 MiB\", \"2 GiB\": at least 1 MiB",
         base::did_you_mean(unit, {"KiB", "MiB", "GiB", "TiB"}));
}

}  // namespace

std::string name_of(Kind kind) {
  return sampler_names().at(static_cast<size_t>(kind));
}

const std::vector<Parameter>& sweep_parameters() {
  static const std::vector<Parameter> table = [] {
    Parameter title =
        of_type(ParameterType::string, "title", "Shown in reports; default: the config's file name.");
    title.default_value = {std::string()};
    return std::vector<Parameter>{title, of_type(ParameterType::string, "pipeline",
                                                 "The pipeline that is measured, and the only one that runs; "
                                                 "default: the first that the base compares.")};
  }();
  return table;
}

std::vector<Parameter> sampler_parameters(Kind kind) {
  std::vector<Parameter> table = {
      choice("kind", sampler_names(), "Who chooses the points.", {std::string("grid")})};
  if (kind == Kind::grid) return table;
  Parameter trials =
      integer("trials", 1, 100'000, "Points that are chosen; of successive halving, in the first rung.");
  trials.required = kind != Kind::successive_halving;
  trials.default_value = trials.required ? plugin::Value{} : whole(0);
  table.push_back(trials);
  table.push_back(integer("seed", 0, 9e18,
                          "Of the random numbers; 0 leaves a Sobol or Halton sequence as it is.", whole(1)));
  if (kind == Kind::tpe) {
    table.push_back(integer("batch", 1, 10'000, "Trials between two decisions.", whole(16)));
    table.push_back(
        integer("startup", 2, 10'000, "Trials of a Sobol sequence before the first decision.", whole(16)));
    table.push_back(open_share("good", "Share of the trials that count as good.", 0.1));
  }
  if (kind == Kind::successive_halving) {
    table.push_back(choice("first", {"grid", "random", "sobol", "halton"},
                           "Who chooses the points of the first rung.", {std::string("sobol")}));
    table.push_back(open_share("keep", "Share of a rung's trials that go on to the next, rounded up.", 0.25));
  }
  return table;
}

const std::vector<Parameter>& limit_parameters() {
  static const std::vector<Parameter> table = [] {
    Parameter seconds = bounded("seconds", 0, 1e6, "A trial that runs longer has failed.", 600);
    seconds.minimum_open = true;
    seconds.unit = "s";
    return std::vector<Parameter>{seconds, of_type(ParameterType::string, "memory",
                                                   "A trial that needs more has failed, such as \"2 GiB\"; "
                                                   "default: a worker's share of the machine's.")};
  }();
  return table;
}

const std::vector<Parameter>& executor_parameters() {
  static const std::vector<Parameter> table = {integer(
      "workers", 0, 4096, "Trials that run at once; 0: as many as cores and memory allow.", whole(0))};
  return table;
}

std::vector<std::string> sweep_plugin_folders(const Document& document) {
  return config::plugin_folders(base_of(document));
}

SweepConfig resolve_sweep(const Document& document, const plugin::Catalog& catalog) {
  const config::Values top = config::read_object(
      document, "", document.root(), sweep_parameters(),
      {"base", "space", "default_space", "conditions", "constraints", "sampler", "objective", "limits",
       "executor"},
      [](const std::string& key) -> std::string {
        for (const char* of_run : {"pipelines", "input", "attention", "mode", "queries", "layers", "heads",
                                   "seed", "plugin_path"}) {
          if (key == of_run) return fmt::format("\"{}\" belongs into \"base\", a config of attnlab run", key);
        }
        return "";
      });
  SweepConfig sweep;
  sweep.document = document;
  sweep.title = top.at("title").as<std::string>();
  if (sweep.title.empty()) sweep.title = fs::path(document.path()).stem().string();
  sweep.base = base_of(document);
  sweep.pipeline = choose_pipeline(document, sweep.base);
  sweep.goal.objectives = read_objectives(document);
  resolve_space(catalog, sweep);
  sweep.sampler = read_sampler(document);
  const config::Values limits =
      config::read_object(document, "/limits", member(document, "limits"), limit_parameters());
  sweep.limits.seconds = limits.at("seconds").as<double>();
  if (limits.at("memory").is_set())
    sweep.limits.memory_bytes = read_bytes(document, "/limits/memory", limits.at("memory").as<std::string>());
  const config::Values executor =
      config::read_object(document, "/executor", member(document, "executor"), executor_parameters());
  sweep.workers = executor.at("workers").as<int64_t>();
  return sweep;
}

Document apply(const SweepConfig& sweep, const Point& point, int rung) {
  Document document = sweep.base;
  auto folder = [&](const std::string& at) { return sweep.document.origin(at).folder; };
  for (const auto& item : point.items())
    document.set(item.key(), item.value(), {point_label, folder("/space")});
  if (sweep.sampler.rungs.empty()) return document;
  for (const auto& item : sweep.sampler.rungs[static_cast<size_t>(rung)].items())
    document.set(item.key(), item.value(), {rung_label, folder("/sampler")});
  return document;
}

UserError in_sweep(const UserError& error, const SweepConfig& sweep, const Point& point, int rung) {
  Mistake mistake = error.mistake();
  std::string at;
  if (mistake.file == base_label) {
    at = "/base" + mistake.pointer;
  } else if (mistake.file == rung_label) {
    at = fmt::format("/sampler/rungs/{}", rung);
    for (const auto& item : sweep.sampler.rungs[static_cast<size_t>(rung)].items()) {
      if (lies_in(mistake.pointer, item.key())) at += "/" + config::escape(item.key());
    }
  } else if (mistake.file == point_label) {
    for (const Axis& axis : sweep.space.axes) {
      for (const auto& pointer : axis.pointers) {
        if (point.contains(pointer) &&
            (lies_in(mistake.pointer, pointer) || lies_in(pointer, mistake.pointer)))
          at = axis.at;
      }
    }
  }
  if (!at.empty()) {
    // Said of the sweep, but which value it is about only its pointer in the run's config tells.
    const Mistake where = sweep.document.where(at);
    mistake.file = where.file, mistake.line = where.line, mistake.column = where.column;
    mistake.pointer = where.pointer;
  }
  std::string shown = key_of(point);
  if (shown.size() > 200) shown = shown.substr(0, 197) + "...";
  return UserError(fmt::format("the point {}: {}", shown, error.summary()), mistake, error.exit());
}

}  // namespace attnlab::sweep
