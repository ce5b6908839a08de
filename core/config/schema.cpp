#include "core/config/schema.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "core/config/rows.hpp"

namespace attnlab::config {
namespace {

using base::UserError;
using io::Json;
using plugin::Parameter;
using plugin::ParameterType;
using plugin::Value;
using namespace rows;

constexpr double max_extent = 1 << 30;

}  // namespace

Values read_object(const Document& document, const std::string& pointer, const Json& object,
                   const std::vector<Parameter>& parameters, const std::vector<std::string>& extra_keys,
                   const KeyHint& hint) {
  if (!object.is_object()) {
    base::Mistake mistake = document.where(pointer);
    mistake.found = object.dump().substr(0, 80);
    mistake.allowed = "an object { ... }";
    throw UserError("has the wrong type", mistake);
  }
  std::vector<std::string> allowed = extra_keys;
  for (const auto& parameter : parameters) allowed.push_back(parameter.key);
  for (const auto& item : object.items()) {
    if (std::find(allowed.begin(), allowed.end(), item.key()) != allowed.end()) continue;
    base::Mistake mistake = document.where(pointer + "/" + escape(item.key()));
    mistake.allowed = base::join(allowed);
    if (hint) mistake.suggestion = hint(item.key());
    if (mistake.suggestion.empty()) mistake.suggestion = base::did_you_mean(item.key(), allowed);
    throw UserError("unknown key \"" + item.key() + "\"", mistake);
  }
  Values values;
  for (const auto& parameter : parameters) {
    auto found = object.find(parameter.key);
    if (found != object.end()) {
      const std::string at = pointer + "/" + escape(parameter.key);
      Value value = plugin::parse_value(parameter, *found, document.where(at));
      if (parameter.type == ParameterType::path) {
        value = {document.resolve_path(at, value.as<std::string>())};
      }
      values[parameter.key] = value;
      continue;
    }
    if (parameter.required) {
      base::Mistake mistake = document.where(pointer);
      mistake.allowed = parameter.allowed();
      if (!parameter.sweep.empty()) {
        const Value& example = parameter.sweep[parameter.sweep.size() / 2];
        mistake.suggestion = "for example \"" + parameter.key + "\": " + to_json(example).dump();
      }
      throw UserError("the required key \"" + parameter.key + "\" is missing", mistake);
    }
    values[parameter.key] = parameter.default_value;
  }
  return values;
}

const std::vector<Parameter>& run_parameters() {
  static const std::vector<Parameter> table = {
      [] {
        Parameter p =
            of_type(ParameterType::string, "title", "Shown in reports; default: the config's file name.");
        return p;
      }(),
      [] {
        Parameter p = of_type(
            ParameterType::list, "compare",
            "Pipelines to run, in this order; empty means all. The others are there for policies to name.");
        p.item_type = ParameterType::string;
        p.default_value = {std::vector<Value>{}};
        return p;
      }(),
      choice("mode", {"prefill", "decode", "question"},
             "Which queries are sparse: all at once, the last ones one by one, or the last ones at once.",
             {std::string("prefill")}),
      integer("queries", 1, max_extent, "Only the last n queries; default all in prefill, 64 otherwise."),
      integers("layers", "Layers to run; empty means all."),
      integers("heads", "Query heads to measure; empty means all."),
      integer("seed", 0, 9e18, "Seed of everything random in the pipelines.", whole(0)),
  };
  return table;
}

const std::vector<Parameter>& attention_parameters() {
  static const std::vector<Parameter> table = {
      of_type(ParameterType::boolean, "causal",
              "Later keys are invisible; default: what the input states, else true."),
      [] {
        Parameter p = real("scale", "Factor of q.k; default: what the input states, else 1/sqrt(head_dim).");
        p.minimum = 0;
        p.minimum_open = true;
        p.maximum = 1e6;
        return p;
      }(),
      choice("on_empty_row", {"error", "zeros", "dense"}, "What a row without any active key gives.",
             {std::string("error")}),
  };
  return table;
}

const std::vector<std::string>& workload_kinds() {
  static const std::vector<std::string> kinds = {"gaussian", "power_law",   "cone",
                                                 "needle",   "aggregation", "drift"};
  return kinds;
}

const std::vector<Parameter>& file_input_parameters() {
  static const std::vector<Parameter> table = [] {
    std::vector<Parameter> kinds = {
        of_type(ParameterType::path, "trace", "Folder with manifest.json and layerNN_{q,k,v}.npy."),
        of_type(ParameterType::path, "npz", "File with the arrays q, k, v."),
        of_type(ParameterType::path, "safetensors", "File with the tensors q, k, v.")};
    for (auto& kind : kinds) kind.required = true;
    return kinds;
  }();
  return table;
}

std::string input_key(const InputSpec& input) {
  if (input.kind == InputSpec::Kind::workload) return "workload";
  if (input.kind == InputSpec::Kind::trace) return "trace";
  return input.path.ends_with(".safetensors") ? "safetensors" : "npz";
}

const Parameter& plugin_path_parameter() {
  static const Parameter parameter = [] {
    Parameter p = of_type(ParameterType::list, "plugin_path", "Folders that are searched for plugins.");
    p.item_type = ParameterType::path;
    return p;
  }();
  return parameter;
}

std::vector<Parameter> workload_parameters(const std::string& kind) {
  const WorkloadSpec d;
  std::vector<Parameter> table = {
      integer("layers", 1, 1024, "Layers, each with its own random numbers.", whole(d.layers)),
      integer("batch", 1, 65536, "Sequences.", whole(d.batch)),
      integer("query_heads", 1, 65536, "Query heads; a multiple of kv_heads.", whole(d.query_heads)),
      integer("kv_heads", 1, 65536, "KV heads.", whole(d.kv_heads)),
      integer("queries", 1, max_extent, "Queries (Sq): the last positions of the sequence.",
              whole(d.queries)),
      integer("keys", 1, max_extent, "Keys (Sk).", whole(d.keys)),
      integer("head_dim", 1, 65536, "Channels of queries and keys.", whole(d.head_dim)),
      integer("value_dim", 1, 65536, "Channels of values.", whole(d.value_dim)),
      integer("seed", 0, 9e18, "Seed of the generated tensors.", whole(static_cast<int64_t>(d.seed))),
  };
  if (kind == "power_law" || kind == "cone") {
    table.push_back(
        bounded("alpha", 0, 10, "The i-th heaviest key has softmax mass proportional to i^-alpha.", d.alpha));
  }
  if (kind == "cone") {
    table.push_back(
        bounded("mean_norm", 0, 100,
                "Length of the keys' common mean, opposite to the queries, in units of sqrt(head_dim).",
                d.mean_norm));
    table.push_back(integer(
        "rank", 0, 64, "Dimensions of the keys' low-rank part, which has the variance of the other noise.",
        whole(d.rank)));
  }
  if (kind == "needle") {
    table.push_back(open_share(
        "needle_mass", "Share of the softmax mass that the needles hold at the last query.", d.needle_mass));
    Parameter depths =
        of_type(ParameterType::list, "depths", "Position of each needle, 0 = first key, 1 = last.");
    depths.item_type = ParameterType::real;
    depths.minimum = 0;
    depths.maximum = 1;
    depths.default_value = {std::vector<Value>{{0.1}, {0.5}, {0.9}}};
    table.push_back(depths);
  }
  if (kind == "aggregation") {
    table.push_back(open_share("relevant_share", "Share of the keys that are relevant.", d.relevant_share));
    table.push_back(open_share("relevant_mass",
                               "Share of the softmax mass that the relevant keys hold at the last query.",
                               d.relevant_mass));
  }
  if (kind == "drift") {
    table.push_back(bounded("drift_begin", 0, 1,
                            "Fraction of the sequence from which all clusters are new; 1: never.",
                            d.drift_begin));
    table.push_back(
        integer("clusters", 1, 1 << 20, "Clusters of a KV head, before and after.", whole(d.clusters)));
  }
  return table;
}

const std::vector<Parameter>& stage_parameters() {
  static const std::vector<Parameter> table = {
      of_type(ParameterType::string, "name", "Tells stages of one method apart; default: the method's id."),
      integer("seed", 0, 9e18, "Mixed with the run's seed.", whole(0)),
  };
  return table;
}

const std::vector<std::string>& selector_names() {
  static const std::vector<std::string> names = {"top_k", "top_p", "threshold", "importance"};
  return names;
}

std::vector<Parameter> selector_parameters(const std::string& selector, const std::string& default_selector) {
  std::vector<Parameter> table = {
      choice("select", selector_names(),
             "How keys are selected from the scores; default: as the method says.", {default_selector}),
      choice("share", {"query_head", "kv_group"},
             "Who shares one list: nobody, or the query heads of a KV head.", {std::string("query_head")}),
      choice("reduce", {"max", "mean"}, "How scores of a group become one score (share = kv_group).",
             {std::string("max")}),
  };
  if (selector == "top_k") {
    Parameter p = of_type(ParameterType::count_or_fraction, "heavy_size",
                          "Keys selected in addition to those of earlier stages.");
    p.required = true;
    for (double share : {0.01, 0.02, 0.05, 0.1, 0.2}) p.sweep.push_back({plugin::Size{true, 0, share}});
    table.push_back(p);
  } else if (selector == "top_p") {
    Parameter p = real("top_p", "Share of the softmax mass that the selected keys reach.");
    p.required = true;
    p.minimum = 0;
    p.minimum_open = true;
    p.maximum = 1;
    for (double share : {0.5, 0.8, 0.9, 0.95, 0.99}) p.sweep.push_back({share});
    table.push_back(p);
    table.push_back(choice("of", {"remaining", "total"}, "Mass of the candidates, or of all visible keys.",
                           {std::string("remaining")}));
  } else if (selector == "threshold") {
    Parameter p = real("threshold", "Keys with at least this score are selected.");
    p.required = true;
    table.push_back(p);
  } else if (selector == "importance") {
    Parameter p = of_type(ParameterType::count_or_fraction, "sample_size",
                          "Keys drawn on average, in addition to those of earlier stages.");
    p.required = true;
    for (double share : {0.01, 0.02, 0.05, 0.1, 0.2}) p.sweep.push_back({plugin::Size{true, 0, share}});
    table.push_back(p);
    p = real("temperature",
             "Keys are drawn with probabilities proportional to exp(score / temperature), at most 1.", {1.0});
    p.minimum = 0;
    p.minimum_open = true;
    p.maximum = 1e6;
    for (double value : {0.5, 1.0, 2.0}) p.sweep.push_back({value});
    table.push_back(p);
  }
  return table;
}

std::vector<Parameter> stage_table(const plugin::Descriptor& method, const std::string& selector) {
  std::vector<Parameter> table;
  for (const auto& parameter : method.parameters) {
    if (!parameter.fixed) table.push_back(parameter);
  }
  auto add = [&](const std::vector<Parameter>& parameters) {
    for (const auto& parameter : parameters) {
      auto same = [&](const auto& own) { return own.key == parameter.key; };
      if (std::none_of(method.parameters.begin(), method.parameters.end(), same)) table.push_back(parameter);
    }
  };
  if (method.facet == plugin::Facet::scorer) add(selector_parameters(selector, method.selector));
  if (method.facet != plugin::Facet::scheme) add(stage_parameters());
  return table;
}

WorkloadSpec to_workload(const std::string& kind, const Values& values) {
  auto extent = [&](const char* key) { return values.at(key).as<int64_t>(); };
  WorkloadSpec spec;
  spec.kind = kind;
  spec.layers = extent("layers");
  spec.batch = extent("batch");
  spec.query_heads = extent("query_heads");
  spec.kv_heads = extent("kv_heads");
  spec.queries = extent("queries");
  spec.keys = extent("keys");
  spec.head_dim = extent("head_dim");
  spec.value_dim = extent("value_dim");
  spec.seed = static_cast<uint64_t>(extent("seed"));
  auto number = [&](const char* key, double& target) {
    if (auto found = values.find(key); found != values.end()) target = found->second.as<double>();
  };
  number("alpha", spec.alpha);
  number("mean_norm", spec.mean_norm);
  number("needle_mass", spec.needle_mass);
  number("relevant_share", spec.relevant_share);
  number("relevant_mass", spec.relevant_mass);
  number("drift_begin", spec.drift_begin);
  if (kind == "cone") spec.rank = extent("rank");
  if (kind == "drift") spec.clusters = extent("clusters");
  if (kind == "needle") {
    for (const auto& depth : values.at("depths").as<std::vector<Value>>())
      spec.depths.push_back(depth.as<double>());
  }
  return spec;
}

}  // namespace attnlab::config
