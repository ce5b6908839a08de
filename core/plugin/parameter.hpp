// Typed parameters: one table feeds validation, `plugin info`, resolved configs and the values that a plugin
// gets.
#pragma once

#include <attnlab/abi.h>

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "core/base/error.hpp"
#include "core/io/json.hpp"

namespace attnlab::plugin {

/// Codes are those of abi.h.
enum class ParameterType : int32_t {
  boolean = ATTNLAB_BOOL,
  integer = ATTNLAB_INT,
  real = ATTNLAB_REAL,
  string = ATTNLAB_STRING,
  enumeration = ATTNLAB_ENUM,
  path = ATTNLAB_PATH,
  list = ATTNLAB_LIST,
  pipeline = ATTNLAB_PIPELINE,
  count_or_fraction = ATTNLAB_COUNT_OR_FRACTION,
  offset = ATTNLAB_OFFSET,
};
std::string name_of(ParameterType type);

/// A number of keys: a count, or a fraction of a row's visible keys.
struct Size {
  bool is_fraction = false;
  int64_t count = 0;
  double fraction = 0;

  /// Keys out of `visible`: the count, or max(1, floor(fraction * visible)).
  int64_t of(int64_t visible) const;
  bool operator==(const Size&) const = default;
};

/// A list of stages that a scheme's parameter holds.
struct StageList {
  io::Json stages = io::Json::array();  ///< as a config writes them
  /// What runs them, a graph::KeySelector of the host; null until the scheme is made.
  std::shared_ptr<const void> selector;
  bool operator==(const StageList& other) const { return stages == other.stages; }
};

/// A parameter's value. Monostate: the user gave none and there is no default. Strings hold STRING, ENUM and
/// PATH.
struct Value {
  std::variant<std::monostate, bool, int64_t, double, std::string, Size, StageList, std::vector<Value>> data;

  bool is_set() const { return !std::holds_alternative<std::monostate>(data); }
  /// Undefined for another alternative: values are validated before they are read.
  template <class T>
  const T& as() const {
    return std::get<T>(data);
  }
  bool operator==(const Value&) const = default;
};

/// One row of a parameter table.
struct Parameter {
  std::string key;
  ParameterType type = ParameterType::integer;
  ParameterType item_type = ParameterType::integer;  ///< of LIST
  bool required = false;
  bool fixed = false;  ///< by a preset, at the default: users cannot give it
  std::string unit, doc, since;
  double minimum = -std::numeric_limits<double>::infinity();
  double maximum = std::numeric_limits<double>::infinity();
  bool minimum_open = false, maximum_open = false, log_scale = false;
  Value default_value;
  std::vector<std::string> enum_names;
  std::vector<Value> sweep;

  /// "integer in [1, 64]", "\"mean\" | \"max\"": what a user may write.
  std::string allowed() const;
};

/// Checks and converts one JSON value. `where` gives file and pointer of errors (UserError).
Value parse_value(const Parameter& parameter, const io::Json& json, const base::Mistake& where);

/// As a user would write it; fractions as "10%".
io::Json to_json(const Value& value);
/// Human text of a value: `128`, `10%`, `true`.
std::string to_text(const Value& value);

/// Throws UserError (Exit::plugin_broken) for a type that does not exist, lists of lists included.
Parameter from_abi(const attnlab_parameter& parameter);
/// For the probe: descriptors travel between processes as JSON.
io::Json to_json(const Parameter& parameter);
/// The same check. Throws Json::exception for JSON of another form.
Parameter parameter_from_json(const io::Json& json);

/// An integer of JSON that fits; throws UserError for anything else.
template <class Integer>
Integer whole_number(const io::Json& json) {
  const bool fits = json.is_number_unsigned()
                        ? std::in_range<Integer>(json.get<uint64_t>())
                        : json.is_number_integer() && std::in_range<Integer>(json.get<int64_t>());
  if (!fits) throw base::UserError("not a whole number in range", {.found = json.type_name()});
  return json.get<Integer>();
}

/// A value of the layout of abi.h, of a parameter of this type.
Value value_from_abi(const attnlab_value& value, const Parameter& parameter);

/// Values in the layout of abi.h, with the memory they point to. Immovable because of those pointers.
class ValuePack {
 public:
  ValuePack(const std::vector<Parameter>& parameters, const std::vector<Value>& values);
  ValuePack(const ValuePack&) = delete;
  ValuePack& operator=(const ValuePack&) = delete;
  const attnlab_value* data() const { return values_.data(); }
  size_t size() const { return values_.size(); }

 private:
  attnlab_value pack(ParameterType type, const Parameter& parameter, const Value& value);
  std::vector<attnlab_value> values_;
  std::vector<std::unique_ptr<std::string>> texts_;
  std::vector<std::unique_ptr<std::vector<attnlab_value>>> lists_;
};

}  // namespace attnlab::plugin
