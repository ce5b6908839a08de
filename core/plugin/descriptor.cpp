#include "core/plugin/descriptor.hpp"

#include <attnlab/params.hpp>

#include <algorithm>
#include <utility>

namespace attnlab::plugin {
namespace {

bool is_id(const std::string& id) {
  return !id.empty() && id.size() <= 64 &&
         id.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_.-") == std::string::npos;
}

[[noreturn]] void refuse(const Descriptor& d, const std::string& why) {
  throw base::UserError(d.id + ": " + why, {}, base::Exit::plugin_broken);
}

/// Texts of plugins go to terminals.
std::string printable(const io::Json& text) {
  return base::escape_unprintable(text.get<std::string>());
}

/// Refuses parameters whose keys the host reads itself, and names that cannot be shown.
void check_parameter(const Descriptor& d, const Parameter& p) {
  std::vector<std::string> names = p.enum_names;
  names.push_back(p.key);
  for (const auto& name : names) {
    if (name.empty() || base::escape_unprintable(name) != name) {
      refuse(d, "a parameter's name \"" + name + "\" cannot be printed");
    }
  }
  static const std::vector<std::string> of_stages = {"masker", "name"};
  static const std::vector<std::string> of_selectors = {"select", "share", "reduce",   "heavy_size",
                                                        "top_p",  "of",    "threshold"};
  const auto reserved = [&](const auto& keys) {
    return std::find(keys.begin(), keys.end(), p.key) != keys.end();
  };
  if (reserved(of_stages) || (d.facet == Facet::scorer && reserved(of_selectors))) {
    refuse(d, "\"" + p.key + "\" is a key of the host and cannot be a parameter");
  }
}

/// Preset `p` of `d` gives `json` to the parameter `key`.
void fix(const Descriptor& d, Preset& p, const std::string& key, const io::Json& json) {
  const auto parameter = std::find_if(d.parameters.begin(), d.parameters.end(),
                                      [&](const auto& candidate) { return candidate.key == key; });
  if (parameter == d.parameters.end())
    refuse(d, "preset " + p.id + " fixes \"" + key + "\", which is no parameter");
  if (parameter->type == ParameterType::path)
    refuse(d, "preset " + p.id + " fixes \"" + key + "\", which names a file");
  const auto same = [&](const auto& other) { return other.first == key; };
  if (std::any_of(p.fixed.begin(), p.fixed.end(), same))
    refuse(d, "preset " + p.id + " fixes \"" + key + "\" twice");
  p.fixed.emplace_back(key, parse_value(*parameter, json, {.pointer = "/presets/" + p.id + "/" + key}));
}

Preset from_abi(const Descriptor& d, const attnlab_preset& preset) {
  Preset p{std::string(attnlab::from_abi(preset.id)), std::string(attnlab::from_abi(preset.summary)), {}};
  for (uint64_t i = 0; i < preset.count; ++i) {
    const std::string key(attnlab::from_abi(preset.keys[i]));
    io::Json value;
    for (const auto& parameter : d.parameters) {
      if (parameter.key != key) continue;
      if (preset.values[i].type != static_cast<int32_t>(parameter.type)) {
        refuse(d, "preset " + p.id + " gives \"" + key + "\" a value of another type");
      }
      value = to_json(value_from_abi(preset.values[i], parameter));
    }
    fix(d, p, key, value);
  }
  return p;
}

void check_presets(const Descriptor& d) {
  std::vector<std::string> ids;
  for (const auto& preset : d.presets) {
    if (!is_id(preset.id) || !preset.id.starts_with(d.id + ".") || preset.id.size() == d.id.size() + 1) {
      refuse(d, "the id of a preset is \"" + d.id + ".\" and a name, found \"" + preset.id + "\"");
    }
    if (preset.summary.empty()) refuse(d, "preset " + preset.id + " needs a summary");
    if (preset.fixed.empty()) refuse(d, "preset " + preset.id + " fixes no parameter");
    if (std::find(ids.begin(), ids.end(), preset.id) != ids.end())
      refuse(d, "two presets have the id " + preset.id);
    ids.push_back(preset.id);
  }
}

/// What every method must keep, wherever its description comes from.
void check(const Descriptor& d) {
  if (!is_id(d.id)) {
    throw base::UserError("a method's id must be 1 to 64 characters of a-z 0-9 _ . -, found \"" + d.id + "\"",
                          {}, base::Exit::plugin_broken);
  }
  if (d.summary.empty()) refuse(d, "a method needs a summary");
  if (name_of(d.facet) == "unknown") refuse(d, "unknown facet");
  if (d.facet == Facet::scorer && d.selector.empty()) refuse(d, "a scorer needs a default selector");
  for (const auto& parameter : d.parameters) check_parameter(d, parameter);
  check_presets(d);
}

}  // namespace

std::string name_of(Facet facet) {
  switch (facet) {
    case Facet::masker:
      return "masker";
    case Facet::scorer:
      return "scorer";
    case Facet::scheme:
      return "scheme";
  }
  return "unknown";
}

std::string flag_names(uint64_t flags) {
  const std::pair<uint64_t, const char*> names[] = {
      {ATTNLAB_REFINE, "refines"},  {ATTNLAB_SAMPLES, "samples"},
      {ATTNLAB_RETAINS, "retains"}, {ATTNLAB_PROMPT_FITTED, "prompt_fitted"},
      {ATTNLAB_ORACLE, "oracle"},   {ATTNLAB_NEEDS_FEEDBACK, "needs_feedback"}};
  std::vector<std::string> words;
  for (const auto& [bit, name] : names) {
    if ((flags & bit) != 0) words.emplace_back(name);
  }
  return base::join(words);
}

Descriptor with_preset(const Descriptor& method, const Preset& preset) {
  Descriptor d = method;
  d.id = preset.id;
  d.summary = preset.summary;
  d.presets.clear();
  for (auto& parameter : d.parameters) {
    for (const auto& [key, value] : preset.fixed) {
      if (parameter.key != key) continue;
      parameter.fixed = true;
      parameter.required = false;
      parameter.default_value = value;
    }
  }
  return d;
}

Descriptor from_abi(const attnlab_method& method) {
  Descriptor d;
  d.id = d.method = attnlab::from_abi(method.id);
  d.summary = attnlab::from_abi(method.summary);
  d.paper = attnlab::from_abi(method.paper);
  d.version = attnlab::from_abi(method.version);
  d.selector = attnlab::from_abi(method.selector);
  d.facet = static_cast<Facet>(method.facet);
  d.flags = method.flags;
  for (uint64_t i = 0; i < method.parameter_count; ++i)
    d.parameters.push_back(from_abi(*method.parameters[i]));
  for (uint64_t i = 0; i < method.preset_count; ++i) d.presets.push_back(from_abi(d, method.presets[i]));
  check(d);
  const auto* table = method.masker;
  if (d.facet == Facet::masker && (table == nullptr || table->select == nullptr)) {
    refuse(d, "a masker needs `select`");
  }
  if (d.facet == Facet::scorer && (table == nullptr || table->score == nullptr)) {
    refuse(d, "a scorer needs `score`");
  }
  if (d.facet == Facet::scheme && method.scheme == nullptr) refuse(d, "a scheme needs its table");
  if (table != nullptr && (table->columns == nullptr) != (table->encode == nullptr)) {
    refuse(d, "`columns` and `encode` come together");
  }
  return d;
}

io::Json to_json(const Descriptor& d) {
  io::Json json;
  json["id"] = d.id;
  json["facet"] = static_cast<int32_t>(d.facet);
  json["flags"] = d.flags;
  json["summary"] = d.summary;
  json["paper"] = d.paper;
  json["version"] = d.version;
  json["selector"] = d.selector;
  json["parameters"] = io::Json::array();
  for (const auto& parameter : d.parameters) json["parameters"].push_back(to_json(parameter));
  json["presets"] = io::Json::array();
  for (const auto& preset : d.presets) {
    io::Json fixed = io::Json::object();
    for (const auto& [key, value] : preset.fixed) fixed[key] = to_json(value);
    json["presets"].push_back({{"id", preset.id}, {"summary", preset.summary}, {"fixed", fixed}});
  }
  return json;
}

Descriptor descriptor_from_json(const io::Json& json) {
  Descriptor d;
  d.id = d.method = json.at("id");
  d.facet = static_cast<Facet>(whole_number<int32_t>(json.at("facet")));
  d.flags = whole_number<uint64_t>(json.at("flags"));
  d.summary = printable(json.at("summary"));
  d.paper = printable(json.at("paper"));
  d.version = printable(json.at("version"));
  d.selector = json.at("selector");
  for (const auto& parameter : json.at("parameters")) d.parameters.push_back(parameter_from_json(parameter));
  for (const auto& preset : json.at("presets")) {
    Preset& p = d.presets.emplace_back(Preset{preset.at("id"), printable(preset.at("summary")), {}});
    for (const auto& [key, value] : preset.at("fixed").items()) fix(d, p, key, value);
  }
  check(d);
  return d;
}

}  // namespace attnlab::plugin
