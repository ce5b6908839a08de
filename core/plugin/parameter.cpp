#include "core/plugin/parameter.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace attnlab::plugin {
namespace {

using base::Mistake;
using base::UserError;
using io::Json;

std::string quoted(const std::vector<std::string>& names) {
  std::vector<std::string> words;
  for (const auto& name : names) words.push_back("\"" + name + "\"");
  return base::join(words, " | ");
}

std::string bounds(const Parameter& p) {
  bool lower = std::isfinite(p.minimum), upper = std::isfinite(p.maximum);
  if (!lower && !upper) return "";
  if (lower && upper) {
    return fmt::format(" in {}{}, {}{}", p.minimum_open ? "(" : "[", p.minimum, p.maximum,
                       p.maximum_open ? ")" : "]");
  }
  if (lower) return fmt::format(" {} {}", p.minimum_open ? ">" : ">=", p.minimum);
  return fmt::format(" {} {}", p.maximum_open ? "<" : "<=", p.maximum);
}

/// A value shortened for a message.
std::string shown(const Json& json) {
  std::string text = io::line_text(json);
  return text.size() <= 80 ? text : text.substr(0, 77) + "...";
}

[[noreturn]] void refuse(const Parameter& p, const Json& json, const Mistake& where, const std::string& why) {
  Mistake mistake = where;
  mistake.found = shown(json);
  mistake.allowed = p.allowed();
  if (p.type == ParameterType::enumeration && json.is_string()) {
    mistake.suggestion = base::did_you_mean(json.get<std::string>(), p.enum_names);
  }
  const bool text = p.type == ParameterType::string || p.type == ParameterType::path;
  if (json.is_string() && !text && p.type != ParameterType::enumeration) {
    const Json unquoted = Json::parse(json.get<std::string>(), nullptr, false);
    if (unquoted.is_number() || unquoted.is_boolean()) {
      mistake.suggestion = "write it without quotes: " + unquoted.dump();
    }
  }
  throw UserError(why, mistake);
}

/// Exact, where a comparison of doubles would let 9000000000000000001 pass for 9e18.
void check_bounds(const Parameter& p, int64_t value, const Json& json, const Mistake& where) {
  constexpr double limit = 9223372036854775808.0;
  const bool low =
      p.minimum >= limit || (p.minimum >= -limit && value < static_cast<int64_t>(std::ceil(p.minimum)));
  const bool high =
      p.maximum < -limit || (p.maximum < limit && value > static_cast<int64_t>(std::floor(p.maximum)));
  const bool at_open_bound = (p.minimum_open && static_cast<double>(value) == p.minimum) ||
                             (p.maximum_open && static_cast<double>(value) == p.maximum);
  if (low || high || at_open_bound) refuse(p, json, where, fmt::format("\"{}\" is out of range", p.key));
}

void check_bounds(const Parameter& p, double value, const Json& json, const Mistake& where) {
  bool low = p.minimum_open ? value <= p.minimum : value < p.minimum;
  bool high = p.maximum_open ? value >= p.maximum : value > p.maximum;
  if (low || high || std::isnan(value)) refuse(p, json, where, fmt::format("\"{}\" is out of range", p.key));
}

Size parse_size(const Parameter& p, const Json& json, const Mistake& where) {
  const bool zero_allowed = p.type == ParameterType::offset;
  auto wrong = [&](const std::string& why) { refuse(p, json, where, fmt::format("\"{}\" {}", p.key, why)); };
  Size size;
  if (json.is_number_integer()) {
    if (json.is_number_unsigned() && json.get<uint64_t>() > INT32_MAX)
      wrong("is too large for a count of keys");
    size.count = json.get<int64_t>();
    if (size.count > INT32_MAX) wrong("is too large for a count of keys");
    if (size.count < 0 || (size.count == 0 && !zero_allowed)) wrong("must be positive");
    return size;
  }
  size.is_fraction = true;
  if (json.is_number_float()) {
    size.fraction = json.get<double>();
  } else if (json.is_string() && json.get<std::string>().ends_with('%')) {
    // Read as the decimal fraction: "0.7%" is the double nearest to 0.007, which 0.7 / 100 is not.
    auto text = json.get<std::string>();
    text.replace(text.size() - 1, 1, "e-2");
    const char* end = text.data() + text.size();
    const auto read = std::from_chars(text.data(), end, size.fraction);
    const bool is_number = read.ec == std::errc() && read.ptr == end && !std::signbit(size.fraction);
    if (!is_number) wrong("is not a percentage, such as \"10%\"");
  } else {
    wrong("is neither a count nor a fraction");
  }
  if (std::isnan(size.fraction) || size.fraction > 1 || size.fraction < 0 ||
      (size.fraction == 0 && !zero_allowed)) {
    wrong(size.fraction <= 1 || std::isnan(size.fraction) ? "is not a fraction in range"
          : json.is_string()                              ? "is a fraction above 1"
                             : "is a fraction above 1 (a count is written without a decimal point)");
  }
  return size;
}

}  // namespace

std::string name_of(ParameterType type) {
  switch (type) {
    case ParameterType::boolean:
      return "boolean";
    case ParameterType::integer:
      return "integer";
    case ParameterType::real:
      return "number";
    case ParameterType::string:
      return "string";
    case ParameterType::enumeration:
      return "one of";
    case ParameterType::path:
      return "path";
    case ParameterType::list:
      return "list";
    case ParameterType::pipeline:
      return "pipeline";
    case ParameterType::count_or_fraction:
      return "count or fraction";
    case ParameterType::offset:
      return "count or fraction, or 0";
  }
  return "unknown";
}

int64_t Size::of(int64_t visible) const {
  if (!is_fraction) return count;
  return std::max<int64_t>(1, static_cast<int64_t>(std::floor(fraction * static_cast<double>(visible))));
}

std::string Parameter::allowed() const {
  switch (type) {
    case ParameterType::boolean:
      return "true | false";
    case ParameterType::enumeration:
      return quoted(enum_names);
    case ParameterType::count_or_fraction:
      return "a count of keys (integer > 0) or a fraction (number in (0, 1], or \"10%\")";
    case ParameterType::offset:
      return "a count of keys (integer >= 0) or a fraction (number in [0, 1], or \"10%\")";
    case ParameterType::list: {
      Parameter item = *this;
      item.type = item_type;
      return "a list, each: " + item.allowed();
    }
    case ParameterType::pipeline:
      return "a list of stages";
    default:
      return name_of(type) + bounds(*this) + (unit.empty() ? "" : " (" + unit + ")");
  }
}

Value parse_value(const Parameter& p, const Json& json, const Mistake& where) {
  auto wrong_type = [&] { refuse(p, json, where, fmt::format("\"{}\" has the wrong type", p.key)); };
  switch (p.type) {
    case ParameterType::boolean:
      if (!json.is_boolean()) wrong_type();
      return {json.get<bool>()};
    case ParameterType::integer: {
      if (!json.is_number_integer()) wrong_type();
      if (json.is_number_unsigned() && json.get<uint64_t>() > INT64_MAX) {
        refuse(p, json, where, fmt::format("\"{}\" is out of range", p.key));
      }
      check_bounds(p, json.get<int64_t>(), json, where);
      return {json.get<int64_t>()};
    }
    case ParameterType::real: {
      if (!json.is_number()) wrong_type();
      check_bounds(p, json.get<double>(), json, where);
      return {json.get<double>()};
    }
    case ParameterType::string:
    case ParameterType::path:
      if (!json.is_string()) wrong_type();
      return {json.get<std::string>()};
    case ParameterType::enumeration: {
      if (!json.is_string()) wrong_type();
      auto name = json.get<std::string>();
      if (std::find(p.enum_names.begin(), p.enum_names.end(), name) == p.enum_names.end()) {
        refuse(p, json, where, fmt::format("\"{}\" has an unknown value", p.key));
      }
      return {name};
    }
    case ParameterType::count_or_fraction:
    case ParameterType::offset:
      return {parse_size(p, json, where)};
    case ParameterType::list: {
      if (!json.is_array()) wrong_type();
      Parameter item = p;
      item.type = p.item_type;
      std::vector<Value> items;
      for (size_t i = 0; i < json.size(); ++i) {
        Mistake at = where;
        at.pointer += "/" + std::to_string(i);
        items.push_back(parse_value(item, json[i], at));
      }
      return {items};
    }
    case ParameterType::pipeline:
      if (!json.is_array()) wrong_type();
      return {StageList{json, nullptr}};
  }
  wrong_type();
  return {};
}

}  // namespace attnlab::plugin
