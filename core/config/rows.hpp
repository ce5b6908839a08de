// Rows of the config's own parameter tables.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/plugin/parameter.hpp"

namespace attnlab::config::rows {

using plugin::Parameter;
using plugin::ParameterType;
using plugin::Value;

inline Parameter integer(std::string key, double minimum, double maximum, std::string doc,
                         Value preset = {}) {
  Parameter p;
  p.key = std::move(key);
  p.type = ParameterType::integer;
  p.minimum = minimum;
  p.maximum = maximum;
  p.doc = std::move(doc);
  p.default_value = std::move(preset);
  return p;
}

inline Parameter real(std::string key, std::string doc, Value preset = {}) {
  Parameter p;
  p.key = std::move(key);
  p.type = ParameterType::real;
  p.doc = std::move(doc);
  p.default_value = std::move(preset);
  return p;
}

inline Parameter bounded(std::string key, double minimum, double maximum, std::string doc, double preset) {
  Parameter p = real(std::move(key), std::move(doc), {preset});
  p.minimum = minimum;
  p.maximum = maximum;
  return p;
}

/// A number between 0 and 1, both excluded.
inline Parameter open_share(std::string key, std::string doc, double preset) {
  Parameter p = bounded(std::move(key), 0, 1, std::move(doc), preset);
  p.minimum_open = p.maximum_open = true;
  return p;
}

inline Parameter choice(std::string key, std::vector<std::string> names, std::string doc, Value preset = {}) {
  Parameter p;
  p.key = std::move(key);
  p.type = ParameterType::enumeration;
  p.enum_names = std::move(names);
  p.doc = std::move(doc);
  p.default_value = std::move(preset);
  return p;
}

inline Parameter of_type(ParameterType type, std::string key, std::string doc) {
  Parameter p;
  p.key = std::move(key);
  p.type = type;
  p.doc = std::move(doc);
  return p;
}

inline Parameter integers(std::string key, std::string doc) {
  Parameter p = of_type(ParameterType::list, std::move(key), std::move(doc));
  p.item_type = ParameterType::integer;
  p.minimum = 0;
  p.maximum = 1 << 20;
  p.default_value = {std::vector<Value>{}};
  return p;
}

inline Value whole(int64_t value) {
  return {value};
}

/// A boolean with a default.
inline Parameter flag(std::string key, std::string doc, bool preset) {
  Parameter p = of_type(ParameterType::boolean, std::move(key), std::move(doc));
  p.default_value = {preset};
  return p;
}

}  // namespace attnlab::config::rows
