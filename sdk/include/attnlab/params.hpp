// Parameters of a method: their C++ types, and the table that describes them to the host.
#pragma once

#include <attnlab/abi.h>

#include <cmath>
#include <cstdint>
#include <deque>
#include <functional>
#include <initializer_list>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace attnlab {

inline attnlab_text to_abi(std::string_view text) {
  return {text.data(), text.size()};
}
inline std::string_view from_abi(attnlab_text text) {
  return {text.data, static_cast<size_t>(text.size)};
}

/// A number of keys: a count, or a fraction of the visible keys of a row.
struct CountOrFraction {
  int64_t count = 0;
  double fraction = 0;
  bool is_fraction = false;

  CountOrFraction() = default;
  CountOrFraction(int keys) : count(keys) {}
  CountOrFraction(double share) : fraction(share), is_fraction(true) {}

  /// Keys out of `visible`: the count, or max(1, floor(fraction * visible)) computed in double.
  int64_t of(int64_t visible) const {
    if (!is_fraction) return count;
    auto keys = static_cast<int64_t>(std::floor(fraction * static_cast<double>(visible)));
    return keys < 1 ? 1 : keys;
  }
};

/// The same with 0 allowed; a fraction may come out as no key.
struct Offset {
  int64_t count = 0;
  double fraction = 0;
  bool is_fraction = false;

  Offset() = default;
  Offset(int keys) : count(keys) {}
  Offset(double share) : fraction(share), is_fraction(true) {}

  int64_t of(int64_t visible) const {
    return is_fraction ? static_cast<int64_t>(std::floor(fraction * static_cast<double>(visible))) : count;
  }
};

/// A file the user names; open its tensors with Host::artifact.
struct Path {
  std::string value;
};

/// A pipeline of maskers that the host runs for a scheme; passed on as the attribute "selector" of an op.
struct Pipeline {
  void* handle = nullptr;
};

/// The user's value is wrong in a way that the table cannot say; `key` is the parameter to blame.
class ParameterError : public std::runtime_error {
 public:
  ParameterError(std::string key, const std::string& message)
      : std::runtime_error(message), pointer_("/" + std::move(key)) {}
  const std::string& pointer() const { return pointer_; }

 private:
  std::string pointer_;
};

namespace detail {

inline attnlab_value empty_value(int32_t type) {
  attnlab_value value{};
  value.struct_size = sizeof(attnlab_value);
  value.type = type;
  return value;
}

/// Type code of a C++ member type.
template <class T>
struct TypeCode;
template <>
struct TypeCode<bool> : std::integral_constant<int32_t, ATTNLAB_BOOL> {};
template <>
struct TypeCode<std::string> : std::integral_constant<int32_t, ATTNLAB_STRING> {};
template <>
struct TypeCode<Path> : std::integral_constant<int32_t, ATTNLAB_PATH> {};
template <>
struct TypeCode<CountOrFraction> : std::integral_constant<int32_t, ATTNLAB_COUNT_OR_FRACTION> {};
template <>
struct TypeCode<Offset> : std::integral_constant<int32_t, ATTNLAB_OFFSET> {};
template <>
struct TypeCode<Pipeline> : std::integral_constant<int32_t, ATTNLAB_PIPELINE> {};
template <class T>
requires(std::is_integral_v<T> && !std::is_same_v<T, bool>) struct TypeCode<T>
    : std::integral_constant<int32_t, ATTNLAB_INT> {
};
template <class T>
requires std::is_floating_point_v<T>
struct TypeCode<T> : std::integral_constant<int32_t, ATTNLAB_REAL> {
};
template <class T>
requires std::is_enum_v<T>
struct TypeCode<T> : std::integral_constant<int32_t, ATTNLAB_ENUM> {
};
template <class T>
struct TypeCode<std::vector<T>> : std::integral_constant<int32_t, ATTNLAB_LIST> {};

template <class T>
struct ItemType {
  using type = void;
};
template <class T>
struct ItemType<std::vector<T>> {
  using type = T;
};

/// Keeps strings and item arrays of descriptions at fixed addresses.
struct Pool {
  std::deque<std::string> texts;
  std::deque<std::vector<attnlab_value>> values;
  std::deque<std::vector<attnlab_text>> text_lists;

  attnlab_text keep(std::string_view text) { return to_abi(texts.emplace_back(text)); }
};

template <class T>
attnlab_value to_value(const T& member, Pool& pool) {
  attnlab_value value = empty_value(TypeCode<T>::value);
  value.is_set = 1;
  if constexpr (std::is_enum_v<T> || std::is_integral_v<T>) {
    value.integer = static_cast<int64_t>(member);
  } else if constexpr (std::is_floating_point_v<T>) {
    value.real = member;
  } else if constexpr (std::is_same_v<T, std::string>) {
    value.text = pool.keep(member);
  } else if constexpr (std::is_same_v<T, Path>) {
    value.text = pool.keep(member.value);
    value.is_set = member.value.empty() ? 0 : 1;
  } else if constexpr (std::is_same_v<T, CountOrFraction> || std::is_same_v<T, Offset>) {
    value.integer = member.count;
    value.real = member.fraction;
    value.is_fraction = member.is_fraction ? 1 : 0;
  } else if constexpr (std::is_same_v<T, Pipeline>) {
    value.is_set = 0;
  } else {
    auto& items = pool.values.emplace_back();
    for (const auto& item : member) items.push_back(to_value(item, pool));
    value.items = items.data();
    value.item_count = items.size();
  }
  return value;
}

template <class T>
void from_value(const attnlab_value& value, T& member) {
  if (value.is_set == 0) return;
  if constexpr (std::is_same_v<T, bool>) {
    member = value.integer != 0;
  } else if constexpr (std::is_enum_v<T> || std::is_integral_v<T>) {
    member = static_cast<T>(value.integer);
  } else if constexpr (std::is_floating_point_v<T>) {
    member = static_cast<T>(value.real);
  } else if constexpr (std::is_same_v<T, std::string>) {
    member = std::string(from_abi(value.text));
  } else if constexpr (std::is_same_v<T, Path>) {
    member.value = std::string(from_abi(value.text));
  } else if constexpr (std::is_same_v<T, CountOrFraction> || std::is_same_v<T, Offset>) {
    member.count = value.integer;
    member.fraction = value.real;
    member.is_fraction = value.is_fraction != 0;
  } else if constexpr (std::is_same_v<T, Pipeline>) {
    member.handle = value.handle;
  } else {
    member.resize(static_cast<size_t>(value.item_count));
    for (size_t i = 0; i < member.size(); ++i) from_value(value.items[i], member[i]);
  }
}

/// A preset under construction; its arrays are pointed to once they are complete.
struct PresetTable {
  attnlab_preset info{};
  std::vector<attnlab_text> keys;
  std::vector<attnlab_value> values;
};

/// Gives a value the type of the parameter that it fixes where C++ would convert as well: 2 for a number, 0.1
/// for a count or fraction, the name of an enum's value. What fits nothing stays, and the host refuses it.
inline void convert(attnlab_value& value, const attnlab_parameter& parameter) {
  const int32_t from = value.type, to = parameter.type;
  const bool size = to == ATTNLAB_COUNT_OR_FRACTION || to == ATTNLAB_OFFSET;
  if (from == ATTNLAB_INT && to == ATTNLAB_REAL) value.real = static_cast<double>(value.integer);
  if (from == ATTNLAB_REAL && size) value.is_fraction = 1;
  bool fits = (from == ATTNLAB_INT && (to == ATTNLAB_REAL || size)) || (from == ATTNLAB_REAL && size);
  if (from == ATTNLAB_STRING && to == ATTNLAB_ENUM) {
    for (uint64_t i = 0; i < parameter.enum_count; ++i) {
      if (from_abi(parameter.enum_names[i]) != from_abi(value.text)) continue;
      value.integer = static_cast<int64_t>(i);
      fits = true;
    }
  }
  if (fits) value.type = to;
}

}  // namespace detail

/// Fluent description of a preset: which parameters it fixes.
class PresetBuilder {
 public:
  PresetBuilder(detail::PresetTable& table, detail::Pool& pool) : table_(table), pool_(pool) {}

  /// Fixes the parameter `key`. An enum's value may be given by its name, a size as an int or a double.
  template <class Value>
  PresetBuilder& set(std::string_view key, const Value& value) {
    table_.keys.push_back(pool_.keep(key));
    if constexpr (std::is_convertible_v<Value, std::string_view>) {
      table_.values.push_back(detail::to_value(std::string(std::string_view(value)), pool_));
    } else {
      table_.values.push_back(detail::to_value(value, pool_));
    }
    return *this;
  }

 private:
  detail::PresetTable& table_;
  detail::Pool& pool_;
};

/// Fluent description of one parameter; its default is the member's initialiser.
template <class Member>
class ParameterBuilder {
 public:
  ParameterBuilder(attnlab_parameter& info, detail::Pool& pool) : info_(info), pool_(pool) {}

  /// One line that says what the parameter does.
  ParameterBuilder& doc(std::string_view text) { return set(info_.doc, text); }
  ParameterBuilder& unit(std::string_view text) { return set(info_.unit, text); }
  ParameterBuilder& since(std::string_view version) { return set(info_.since, version); }
  /// The user must give a value.
  ParameterBuilder& required() {
    info_.required = 1;
    info_.default_value.is_set = 0;
    return *this;
  }
  /// The user may leave it out, and there is no default: the member keeps its initialiser, which says so.
  ParameterBuilder& optional() {
    info_.default_value.is_set = 0;
    return *this;
  }
  /// Closed bounds; `above` and `below` are open ones.
  ParameterBuilder& range(double minimum, double maximum) { return at_least(minimum).at_most(maximum); }
  ParameterBuilder& at_least(double minimum) { return bound(info_.minimum, info_.minimum_open, minimum, 0); }
  ParameterBuilder& at_most(double maximum) { return bound(info_.maximum, info_.maximum_open, maximum, 0); }
  ParameterBuilder& above(double minimum) { return bound(info_.minimum, info_.minimum_open, minimum, 1); }
  ParameterBuilder& below(double maximum) { return bound(info_.maximum, info_.maximum_open, maximum, 1); }
  /// A sweep should step in ratios.
  ParameterBuilder& log_scale() {
    info_.log_scale = 1;
    return *this;
  }
  /// Values worth trying.
  ParameterBuilder& sweep(std::initializer_list<Member> values) {
    auto& list = pool_.values.emplace_back();
    for (const Member& value : values) list.push_back(detail::to_value(value, pool_));
    info_.sweep = list.data();
    info_.sweep_count = list.size();
    return *this;
  }
  /// Names of an enum's values, in the order 0, 1, 2 ...
  ParameterBuilder& names(std::initializer_list<std::string_view> names) requires std::is_enum_v<Member> {
    return this->names(std::span(names.begin(), names.size()));
  }
  ParameterBuilder& names(std::span<const std::string_view> names) requires std::is_enum_v<Member> {
    auto& list = pool_.text_lists.emplace_back();
    for (auto name : names) list.push_back(pool_.keep(name));
    info_.enum_names = list.data();
    info_.enum_count = list.size();
    // An optional parameter may begin with a value that has no name.
    const auto index = static_cast<uint64_t>(info_.default_value.integer);
    if (index < list.size()) info_.default_value.text = list[index];
    return *this;
  }

 private:
  ParameterBuilder& set(attnlab_text& field, std::string_view text) {
    field = pool_.keep(text);
    return *this;
  }
  ParameterBuilder& bound(double& field, int32_t& open_field, double value, int32_t open) {
    field = value;
    open_field = open;
    return *this;
  }

  attnlab_parameter& info_;
  detail::Pool& pool_;
};

/// What a method says about itself; filled by `static void describe(Description<T>&)`.
template <class T>
class Description {
 public:
  Description& id(std::string_view text) { return set(method.id, text); }
  /// One sentence for lists.
  Description& summary(std::string_view text) { return set(method.summary, text); }
  /// "arXiv:2309.17453" or a DOI.
  Description& paper(std::string_view text) { return set(method.paper, text); }
  Description& version(std::string_view text) { return set(method.version, text); }
  /// Scorers: the selector used when the config names none ("top_k", "top_p", "threshold", "importance").
  Description& selector(std::string_view name) { return set(method.selector, name); }
  /// Replaces what earlier stages selected (pruning) instead of adding to it.
  Description& refine() { return flag(ATTNLAB_REFINE); }
  /// Emits entries with an inclusion probability below 1.
  Description& samples() { return flag(ATTNLAB_SAMPLES); }
  /// Eviction: later stages choose only among the keys selected so far.
  Description& retains() { return flag(ATTNLAB_RETAINS); }
  /// Fitted on the whole prompt, so prefill rows know more than decode rows would.
  Description& prompt_fitted() { return flag(ATTNLAB_PROMPT_FITTED); }
  /// Uses exact logits of all keys.
  Description& oracle() { return flag(ATTNLAB_ORACLE); }
  Description& needs_feedback() { return flag(ATTNLAB_NEEDS_FEEDBACK); }

  /// Declares a parameter bound to a member; the member's initialiser is the default.
  template <class Member>
  ParameterBuilder<Member> parameter(std::string_view key, Member T::*member) {
    attnlab_parameter& info = parameters.emplace_back();
    info = {};
    info.struct_size = sizeof(attnlab_parameter);
    info.type = detail::TypeCode<Member>::value;
    if constexpr (!std::is_void_v<typename detail::ItemType<Member>::type>) {
      info.item_type = detail::TypeCode<typename detail::ItemType<Member>::type>::value;
    }
    info.key = pool.keep(key);
    info.minimum = -std::numeric_limits<double>::infinity();
    info.maximum = std::numeric_limits<double>::infinity();
    info.default_value = detail::to_value(T{}.*member, pool);
    setters.push_back(
        [member](T& self, const attnlab_value& value) { detail::from_value(value, self.*member); });
    return {info, pool};
  }

  /// Declares a preset, which configs name like a method: this method with some parameters fixed, such as the
  /// setting of a paper. Its id is the method's id, a dot and a name: "quest.paper".
  PresetBuilder preset(std::string_view id, std::string_view summary) {
    detail::PresetTable& table = presets.emplace_back();
    table.info.id = pool.keep(id);
    table.info.summary = pool.keep(summary);
    return {table, pool};
  }

  attnlab_method method{};
  std::deque<attnlab_parameter> parameters;
  std::deque<detail::PresetTable> presets;
  std::vector<const attnlab_parameter*> parameter_table;
  std::vector<attnlab_preset> preset_table;
  std::vector<std::function<void(T&, const attnlab_value&)>> setters;
  detail::Pool pool;

 private:
  Description& set(attnlab_text& field, std::string_view text) {
    field = pool.keep(text);
    return *this;
  }
  Description& flag(uint64_t bit) {
    method.flags |= bit;
    return *this;
  }
};

}  // namespace attnlab
