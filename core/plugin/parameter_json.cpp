// Values and parameter tables as JSON, as text and in the layout of abi.h.
#include <fmt/core.h>
#include <attnlab/params.hpp>

#include <algorithm>
#include <cmath>

#include "core/plugin/parameter.hpp"

namespace attnlab::plugin {
namespace {

using base::UserError;
using io::Json;

/// "10%" with the fewest digits that read back as the same fraction; empty when there are none.
std::string percent(double fraction) {
  for (int digits = 1; digits <= 17; ++digits) {
    std::string text = fmt::format("{:.{}g}", fraction * 100, digits);
    if (text.find('e') == std::string::npos && std::stod(text + "e-2") == fraction) return text + "%";
  }
  return "";
}

Value value_from_abi(const attnlab_value& v, ParameterType type, ParameterType item_type,
                     const std::vector<std::string>& enum_names) {
  if (v.is_set == 0) return {};
  switch (type) {
    case ParameterType::boolean:
      return {v.integer != 0};
    case ParameterType::integer:
      return {v.integer};
    case ParameterType::real:
      return {v.real};
    case ParameterType::enumeration: {
      auto index = static_cast<size_t>(v.integer);
      return index < enum_names.size() ? Value{enum_names[index]} : Value{};
    }
    case ParameterType::string:
    case ParameterType::path:
      return {std::string(attnlab::from_abi(v.text))};
    case ParameterType::count_or_fraction:
    case ParameterType::offset:
      return {Size{v.is_fraction != 0, v.integer, v.real}};
    case ParameterType::list: {
      std::vector<Value> items;
      for (uint64_t i = 0; i < v.item_count; ++i) {
        items.push_back(value_from_abi(v.items[i], item_type, item_type, enum_names));
      }
      return {items};
    }
    case ParameterType::pipeline:
      break;
  }
  return {};
}

/// Lists of lists would be values of any depth, which no method needs and recursive readers cannot bear.
void check_type(const Parameter& p) {
  const auto known = [](ParameterType type) { return name_of(type) != "unknown"; };
  const bool nested = p.item_type == ParameterType::list || p.item_type == ParameterType::pipeline;
  if (known(p.type) && (p.type != ParameterType::list || (known(p.item_type) && !nested))) return;
  throw UserError("parameter \"" + p.key + "\" has a type that does not exist", {},
                  base::Exit::plugin_broken);
}

/// Infinite bounds do not exist in JSON: they are left out.
void put_bound(Json& json, const char* key, double value) {
  if (std::isfinite(value)) json[key] = value;
}

}  // namespace

Json to_json(const Value& value) {
  struct Visitor {
    Json operator()(std::monostate) const { return nullptr; }
    Json operator()(bool v) const { return v; }
    Json operator()(int64_t v) const { return v; }
    Json operator()(double v) const { return v; }
    Json operator()(const std::string& v) const { return v; }
    Json operator()(const Size& v) const {
      if (!v.is_fraction) return v.count;
      std::string text = percent(v.fraction);
      return text.empty() ? Json(v.fraction) : Json(text);
    }
    Json operator()(const StageList& v) const { return v.stages; }
    Json operator()(const std::vector<Value>& v) const {
      Json list = Json::array();
      for (const auto& item : v) list.push_back(to_json(item));
      return list;
    }
  };
  return std::visit(Visitor{}, value.data);
}

std::string to_text(const Value& value) {
  Json json = to_json(value);
  return json.is_string() ? json.get<std::string>() : json.dump();
}

Parameter from_abi(const attnlab_parameter& p) {
  Parameter result;
  result.key = attnlab::from_abi(p.key);
  result.type = static_cast<ParameterType>(p.type);
  result.item_type = static_cast<ParameterType>(p.item_type);
  check_type(result);
  result.required = p.required != 0;
  result.unit = attnlab::from_abi(p.unit);
  result.doc = attnlab::from_abi(p.doc);
  result.since = attnlab::from_abi(p.since);
  result.minimum = p.minimum;
  result.maximum = p.maximum;
  result.minimum_open = p.minimum_open != 0;
  result.maximum_open = p.maximum_open != 0;
  result.log_scale = p.log_scale != 0;
  for (uint64_t i = 0; i < p.enum_count; ++i)
    result.enum_names.emplace_back(attnlab::from_abi(p.enum_names[i]));
  result.default_value = value_from_abi(p.default_value, result.type, result.item_type, result.enum_names);
  for (uint64_t i = 0; i < p.sweep_count; ++i) {
    result.sweep.push_back(value_from_abi(p.sweep[i], result.type, result.item_type, result.enum_names));
  }
  return result;
}

Value value_from_abi(const attnlab_value& value, const Parameter& p) {
  return value_from_abi(value, p.type, p.item_type, p.enum_names);
}

Json to_json(const Parameter& p) {
  Json json;
  json["key"] = p.key;
  json["type"] = static_cast<int32_t>(p.type);
  if (p.type == ParameterType::list) json["item_type"] = static_cast<int32_t>(p.item_type);
  json["required"] = p.required;
  json["unit"] = p.unit;
  json["doc"] = p.doc;
  json["since"] = p.since;
  put_bound(json, "minimum", p.minimum);
  put_bound(json, "maximum", p.maximum);
  json["minimum_open"] = p.minimum_open;
  json["maximum_open"] = p.maximum_open;
  json["log_scale"] = p.log_scale;
  json["enum_names"] = p.enum_names;
  json["default"] = to_json(p.default_value);
  json["sweep"] = Json::array();
  for (const auto& value : p.sweep) json["sweep"].push_back(to_json(value));
  return json;
}

Parameter parameter_from_json(const Json& json) {
  Parameter p;
  p.key = json.at("key");
  p.type = static_cast<ParameterType>(whole_number<int32_t>(json.at("type")));
  if (json.contains("item_type")) {
    p.item_type = static_cast<ParameterType>(whole_number<int32_t>(json.at("item_type")));
  }
  check_type(p);
  p.required = json.at("required");
  p.unit = base::escape_unprintable(json.at("unit").get<std::string>());
  p.doc = base::escape_unprintable(json.at("doc").get<std::string>());
  p.since = base::escape_unprintable(json.at("since").get<std::string>());
  if (json.contains("minimum")) p.minimum = json.at("minimum");
  if (json.contains("maximum")) p.maximum = json.at("maximum");
  p.minimum_open = json.at("minimum_open");
  p.maximum_open = json.at("maximum_open");
  p.log_scale = json.at("log_scale");
  p.enum_names = json.at("enum_names").get<std::vector<std::string>>();
  // A default outside its own bounds is the plugin's mistake; parse_value reports it with this location.
  base::Mistake where{.pointer = "/" + p.key};
  if (!json.at("default").is_null()) p.default_value = parse_value(p, json.at("default"), where);
  for (const auto& value : json.at("sweep")) p.sweep.push_back(parse_value(p, value, where));
  return p;
}

ValuePack::ValuePack(const std::vector<Parameter>& parameters, const std::vector<Value>& values) {
  ATTNLAB_CHECK(parameters.size() == values.size(), "one value for each parameter");
  for (size_t i = 0; i < parameters.size(); ++i) {
    values_.push_back(pack(parameters[i].type, parameters[i], values[i]));
  }
}

attnlab_value ValuePack::pack(ParameterType type, const Parameter& parameter, const Value& value) {
  attnlab_value result{};
  result.struct_size = sizeof result;
  result.type = static_cast<int32_t>(type);
  if (!value.is_set()) return result;
  result.is_set = 1;
  if (const auto* flag = std::get_if<bool>(&value.data)) result.integer = *flag ? 1 : 0;
  if (const auto* integer = std::get_if<int64_t>(&value.data)) result.integer = *integer;
  if (const auto* real = std::get_if<double>(&value.data)) result.real = *real;
  if (const auto* size = std::get_if<Size>(&value.data)) {
    result.integer = size->count;
    result.real = size->fraction;
    result.is_fraction = size->is_fraction ? 1 : 0;
  }
  if (const auto* text = std::get_if<std::string>(&value.data)) {
    const auto& kept = *texts_.emplace_back(std::make_unique<std::string>(*text));
    result.text = {kept.data(), kept.size()};
    const auto& names = parameter.enum_names;
    result.integer = std::find(names.begin(), names.end(), kept) - names.begin();
  }
  // The ABI's handle is not const; a plugin only passes it on.
  if (const auto* list = std::get_if<StageList>(&value.data))
    result.handle = const_cast<void*>(list->selector.get());
  if (const auto* items = std::get_if<std::vector<Value>>(&value.data)) {
    auto& list = *lists_.emplace_back(std::make_unique<std::vector<attnlab_value>>());
    for (const auto& item : *items) list.push_back(pack(parameter.item_type, parameter, item));
    result.items = list.data();
    result.item_count = list.size();
  }
  return result;
}

}  // namespace attnlab::plugin
