// Document -> RunPlan.
#include <fmt/core.h>

#include <algorithm>
#include <regex>
#include <set>

#include "core/config/resolve_policy.hpp"
#include "core/config/run_plan.hpp"
#include "core/config/schema.hpp"

namespace attnlab::config {
namespace {

using base::Mistake;
using base::UserError;
using io::Json;
using plugin::Value;

const Json& member(const Json& object, const char* key, const Json& fallback) {
  auto found = object.find(key);
  return found == object.end() ? fallback : *found;
}

void check_name(const std::string& name, const char* what, const Mistake& where) {
  // Of bounded length first: std::regex recurses.
  static const std::regex pattern(name_pattern);
  const bool legal = name.size() <= 64 && std::regex_match(name, pattern);
  if (legal) return;
  Mistake mistake = where;
  mistake.found = name;
  mistake.allowed = "1 to 64 letters, digits, _ - . +";
  throw UserError(std::string("a ") + what + "'s name also names a folder", mistake);
}

std::string wanted_method(const Document& document, const std::string& pointer, const Json& stage) {
  if (stage.is_object() && stage.contains("masker") && !stage["masker"].is_string()) {
    Mistake mistake = document.where(pointer + "/masker");
    mistake.found = stage["masker"].dump().substr(0, 80);
    mistake.allowed = "the id of a masker, such as \"sink\"";
    throw UserError("\"masker\" has the wrong type", mistake);
  }
  if (!stage.is_object() || !stage.contains("masker")) {
    Mistake mistake = document.where(pointer);
    mistake.found = stage.dump().substr(0, 80);
    mistake.allowed = "{\"masker\": \"<id>\", ...}";
    throw UserError("a stage names its masker", mistake);
  }
  return stage["masker"].get<std::string>();
}

[[noreturn]] void unknown_masker(const Document& document, const std::string& pointer, const std::string& id,
                                 const plugin::Catalog& catalog) {
  Mistake mistake = document.where(pointer + "/masker");
  mistake.found = "\"" + id + "\"";
  mistake.allowed = base::join(catalog.ids());
  mistake.suggestion = catalog.why_missing(id);
  throw UserError("no plugin provides this masker", mistake, base::Exit::plugin_missing);
}

SelectorPlan to_selector(const Values& values) {
  SelectorPlan plan;
  const auto& kind = values.at("select").as<std::string>();
  if (kind == "top_k") {
    plan.kind = SelectorPlan::Kind::top_k;
    plan.heavy_size = values.at("heavy_size").as<plugin::Size>();
  } else if (kind == "top_p") {
    plan.kind = SelectorPlan::Kind::top_p;
    plan.top_p = values.at("top_p").as<double>();
    plan.of_total = values.at("of").as<std::string>() == "total";
  } else if (kind == "importance") {
    plan.kind = SelectorPlan::Kind::importance;
    plan.sample_size = values.at("sample_size").as<plugin::Size>();
    plan.temperature = values.at("temperature").as<double>();
  } else {
    plan.kind = SelectorPlan::Kind::threshold;
    plan.threshold = values.at("threshold").as<double>();
  }
  if (values.at("share").as<std::string>() == "kv_group") plan.share = SelectorPlan::Share::kv_group;
  if (values.at("reduce").as<std::string>() == "mean") plan.reduce = SelectorPlan::Reduce::mean;
  return plan;
}

/// The selector a stage uses, checked before its parameters can be known.
std::string wanted_selector(const Document& document, const std::string& pointer, const Json& stage,
                            const plugin::Descriptor& method) {
  if (!stage.contains("select")) {
    const auto& names = selector_names();
    if (std::find(names.begin(), names.end(), method.selector) != names.end()) return method.selector;
    Mistake mistake = document.where(pointer + "/masker");
    mistake.found = method.id + ": " + method.selector;
    mistake.allowed = base::join(names);
    mistake.suggestion = "choose one with \"select\"";
    throw UserError("this version of attnlab lacks the method's own selector", mistake,
                    base::Exit::plugin_missing);
  }
  for (const auto& parameter : selector_parameters("", method.selector)) {
    if (parameter.key != "select") continue;
    return plugin::parse_value(parameter, stage["select"], document.where(pointer + "/select"))
        .as<std::string>();
  }
  return method.selector;
}

bool has_key(const std::vector<plugin::Parameter>& table, const std::string& key) {
  return std::any_of(table.begin(), table.end(), [&](const auto& parameter) { return parameter.key == key; });
}

/// Where a key that a stage cannot have would be right.
std::string stage_key_hint(const std::string& key, const plugin::Descriptor& method,
                           const std::string& selector) {
  for (const auto& parameter : method.parameters) {
    if (!parameter.fixed || parameter.key != key) continue;
    return fmt::format("{} fixes it at {}; the masker \"{}\" lets you choose", method.id,
                       to_text(parameter.default_value), method.method);
  }
  for (const auto& name : selector_names()) {
    if (!has_key(selector_parameters(name, ""), key)) continue;
    if (method.facet == plugin::Facet::scorer) {
      return fmt::format("\"{}\" goes with \"select\": \"{}\"; this stage selects by \"{}\"", key, name,
                         selector);
    }
    return fmt::format("\"{}\" is a key of scorers, such as oracle_top_k; {} selects keys itself", key,
                       method.id);
  }
  return "";
}

StagePlan resolve_stage(const Document& document, const std::string& pointer, const Json& stage,
                        const plugin::Catalog& catalog) {
  StagePlan plan;
  plan.pointer = pointer;
  plan.masker = wanted_method(document, pointer, stage);
  const auto* entry = catalog.find(plan.masker);
  if (entry == nullptr || entry->descriptor.facet == plugin::Facet::scheme) {
    unknown_masker(document, pointer, plan.masker, catalog);
  }
  const plugin::Descriptor& method = entry->descriptor;
  for (const auto& parameter : method.parameters) {
    if (parameter.type != plugin::ParameterType::pipeline) continue;
    throw UserError(fmt::format("{} has a pipeline as its parameter \"{}\", which only schemes can have",
                                method.id, parameter.key),
                    document.where(pointer), base::Exit::plugin_broken);
  }

  const bool scorer = method.facet == plugin::Facet::scorer;
  const std::string selector = scorer ? wanted_selector(document, pointer, stage, method) : "";
  const std::vector<plugin::Parameter> table = stage_table(method, selector);
  Values values = read_object(document, pointer, stage, table, {"masker"},
                              [&](const auto& key) { return stage_key_hint(key, method, selector); });
  for (const auto& parameter : method.parameters) {
    if (parameter.fixed) values[parameter.key] = parameter.default_value;
    plan.values.push_back(values.at(parameter.key));
  }
  plan.name = values.at("name").is_set() ? values.at("name").as<std::string>() : plan.masker;
  check_name(plan.name, "stage", document.where(pointer + "/name"));
  if (const auto* seed = std::get_if<int64_t>(&values.at("seed").data))
    plan.seed = static_cast<uint64_t>(*seed);
  if (scorer) plan.selector = to_selector(values);
  plan.wants_feedback = method.has(ATTNLAB_NEEDS_FEEDBACK);
  return plan;
}

}  // namespace

std::vector<StagePlan> resolve_stages(const Document& document, const std::string& pointer, const Json& list,
                                      const plugin::Catalog& catalog) {
  std::vector<StagePlan> stages;
  std::set<std::string> names;
  std::string sampler;
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string at = pointer + "/" + std::to_string(i);
    StagePlan stage = resolve_stage(document, at, list[i], catalog);
    if (!names.insert(stage.name).second) {
      Mistake mistake = document.where(at);
      mistake.found = "\"" + stage.name + "\"";
      mistake.suggestion = "tell them apart with \"name\"";
      throw UserError("two stages of a pipeline have the same name", mistake);
    }
    if (catalog.find(stage.masker)->descriptor.has(ATTNLAB_SAMPLES) ||
        (stage.selector && stage.selector->samples())) {
      if (!sampler.empty()) {
        Mistake mistake = document.where(at);
        mistake.found = sampler + " and " + stage.name;
        mistake.allowed =
            "one stage that samples: the inclusion probability of a union is not known otherwise";
        throw UserError("two stages of a pipeline sample", mistake);
      }
      sampler = stage.name;
    }
    stages.push_back(std::move(stage));
  }
  return stages;
}

InputSpec resolve_input(const Document& document) {
  static const Json nothing;
  const Json& input = member(document.root(), "input", nothing);
  std::vector<std::string> kinds = {"workload"};
  for (const auto& kind : file_input_parameters()) kinds.push_back(kind.key);
  std::vector<std::string> present;
  if (input.is_object()) {
    for (const auto& kind : kinds) {
      if (input.contains(kind)) present.push_back(kind);
    }
  }
  if (present.size() != 1 || !input[present[0]].is_string()) {
    Mistake mistake = document.where("/input");
    mistake.found = input.dump().substr(0, 80);
    mistake.allowed =
        "{\"trace\": \"folder\"} | {\"npz\": \"file\"} | {\"safetensors\": \"file\"} | {\"workload\": "
        "\"needle\", ...}";
    if (input.is_object() && present.empty() && !input.empty()) {
      mistake.suggestion = base::did_you_mean(input.begin().key(), kinds);
    }
    if (input.is_null()) {
      mistake.found.clear();
      mistake.suggestion = "or name a file with --input PATH";
      throw UserError("the config has no \"input\"", mistake);
    }
    throw UserError(present.size() > 1 ? "an input is of one kind, not " + base::join(present, " and ")
                                       : "an input is one of four kinds",
                    mistake);
  }
  InputSpec spec;
  const std::string value = input[present[0]].get<std::string>();
  if (present[0] != "workload") {
    read_object(document, "/input", input, {}, {present[0]});
    spec.kind = present[0] == "trace" ? InputSpec::Kind::trace : InputSpec::Kind::archive;
    spec.path = document.resolve_path("/input/" + present[0], value);
    return spec;
  }
  const auto& workloads = workload_kinds();
  if (std::find(workloads.begin(), workloads.end(), value) == workloads.end()) {
    Mistake mistake = document.where("/input/workload");
    mistake.found = "\"" + value + "\"";
    mistake.allowed = base::join(workloads);
    mistake.suggestion = base::did_you_mean(value, workloads);
    throw UserError("unknown workload", mistake);
  }
  Values values = read_object(document, "/input", input, workload_parameters(value), {"workload"},
                              [](const std::string& key) {
                                for (const auto& kind : workload_kinds()) {
                                  if (has_key(workload_parameters(kind), key))
                                    return fmt::format("\"{}\" is a key of the workload {}", key, kind);
                                }
                                return std::string();
                              });
  spec.workload = to_workload(value, values);
  if (spec.workload.query_heads % spec.workload.kv_heads != 0) {
    Mistake mistake = document.where("/input/query_heads");
    mistake.found =
        fmt::format("query_heads {}, kv_heads {}", spec.workload.query_heads, spec.workload.kv_heads);
    mistake.allowed =
        "query_heads divisible by kv_heads: query head h reads KV head h / (query_heads / kv_heads)";
    throw UserError("the heads do not form groups", mistake);
  }
  if (spec.workload.queries > spec.workload.keys) {
    Mistake mistake = document.where("/input/queries");
    mistake.found = fmt::format("queries {}, keys {}", spec.workload.queries, spec.workload.keys);
    mistake.allowed = "queries <= keys: the queries are the last positions of the sequence";
    throw UserError("more queries than keys", mistake);
  }
  return spec;
}

AttentionPlan resolve_attention(const Document& document) {
  static const Json empty = Json::object();
  const Values values = read_object(document, "/attention", member(document.root(), "attention", empty),
                                    attention_parameters());
  AttentionPlan plan;
  if (values.at("causal").is_set()) plan.causal = values.at("causal").as<bool>();
  if (values.at("scale").is_set()) plan.scale = values.at("scale").as<double>();
  const auto& policy = values.at("on_empty_row").as<std::string>();
  plan.on_empty_row = policy == "error"   ? EmptyRow::error
                      : policy == "zeros" ? EmptyRow::zeros
                                          : EmptyRow::dense;
  return plan;
}

namespace {

std::vector<int64_t> to_integers(const Value& value) {
  std::vector<int64_t> list;
  for (const auto& item : value.as<std::vector<Value>>()) list.push_back(item.as<int64_t>());
  std::sort(list.begin(), list.end());
  list.erase(std::unique(list.begin(), list.end()), list.end());
  return list;
}

}  // namespace

std::string name_of(Mode mode) {
  return mode == Mode::prefill ? "prefill" : mode == Mode::decode ? "decode" : "question";
}

std::string name_of(SelectorPlan::Kind kind) {
  return selector_names().at(static_cast<size_t>(kind));
}

std::string name_of(EmptyRow policy) {
  return policy == EmptyRow::error ? "error" : policy == EmptyRow::zeros ? "zeros" : "dense";
}

std::vector<std::string> plugin_folders(const Document& document) {
  std::vector<std::string> folders;
  auto found = document.root().find("plugin_path");
  if (found == document.root().end()) return folders;
  const std::vector<Json> list =
      found->is_array() ? found->get<std::vector<Json>>() : std::vector<Json>{*found};
  for (const auto& folder : list) {
    if (!folder.is_string()) {
      Mistake mistake = document.where("/plugin_path");
      mistake.found = folder.dump().substr(0, 80);
      mistake.allowed = "a folder or a list of folders";
      throw UserError("\"plugin_path\" has the wrong type", mistake);
    }
    const std::string at =
        found->is_array() ? "/plugin_path/" + std::to_string(folders.size()) : "/plugin_path";
    folders.push_back(document.resolve_path(at, folder.get<std::string>()));
  }
  return folders;
}

void resolve_pipelines(const Document& document, const plugin::Catalog& catalog, RunPlan& plan) {
  static const Json nothing;
  const Json& pipelines = member(document.root(), "pipelines", nothing);
  if (!pipelines.is_object() || pipelines.empty()) {
    Mistake mistake = document.where("/pipelines");
    if (!pipelines.is_null()) mistake.found = pipelines.dump().substr(0, 80);
    mistake.allowed = "{\"name\": [stage, ...], ...}; [] is dense attention";
    if (pipelines.is_array()) mistake.suggestion = "give the list a name: {\"main\": [...]}";
    throw UserError(pipelines.is_null() ? "the config has no \"pipelines\"" : "a config names its pipelines",
                    mistake);
  }
  for (const auto& item : pipelines.items()) {
    check_name(item.key(), "pipeline", document.where("/pipelines/" + escape(item.key())));
  }
  resolve_pipelines(
      document, pipelines,
      [&](const std::string& pointer, const Json& list) {
        return resolve_stages(document, pointer, list, catalog);
      },
      plan);
}

RunPlan resolve(const Document& document, const plugin::Catalog& catalog) {
  static const Json nothing;
  const Json& root = document.root();
  RunPlan plan;
  for (const char* key : {"layers", "heads"}) {
    if (!member(root, key, nothing).is_object()) continue;
    Mistake mistake = document.where("/" + std::string(key));
    mistake.allowed = "a list of numbers: which of the input are run";
    mistake.suggestion = fmt::format(
        "a policy is the value of a pipeline: \"pipelines\": {{\"mixed\": {{\"{}\": {{...}}}}}}", key);
    throw UserError("a policy belongs to a pipeline", mistake);
  }
  Values run =
      read_object(document, "", root, run_parameters(), {"pipelines", "attention", "input", "plugin_path"});
  if (run.at("title").is_set()) plan.title = run.at("title").as<std::string>();
  const auto& mode = run.at("mode").as<std::string>();
  plan.mode = mode == "prefill" ? Mode::prefill : mode == "decode" ? Mode::decode : Mode::question;
  if (run.at("queries").is_set()) plan.queries = run.at("queries").as<int64_t>();
  plan.layers = to_integers(run.at("layers"));
  plan.heads = to_integers(run.at("heads"));
  for (const auto& name : run.at("compare").as<std::vector<Value>>())
    plan.compare.push_back(name.as<std::string>());
  plan.seed = static_cast<uint64_t>(run.at("seed").as<int64_t>());
  plan.plugin_path = plugin_folders(document);

  resolve_pipelines(document, catalog, plan);
  plan.attention = resolve_attention(document);
  if (plan.mode == Mode::decode && plan.attention.causal == false) {
    Mistake mistake = document.where("/attention/causal");
    mistake.found = "false";
    mistake.allowed = "true: a decoded token cannot see keys that do not exist yet";
    throw UserError("decode is causal", mistake);
  }
  plan.input = resolve_input(document);
  return plan;
}

}  // namespace attnlab::config
