// The values of one axis of a sweep: a list, a range with steps, or a range that is drawn from.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "core/config/refuse.hpp"
#include "core/sweep/config_axis.hpp"

namespace attnlab::sweep {
namespace {

using config::Document;
using io::Json;

constexpr size_t most_choices = 10'000;
constexpr const char* axis_allowed =
    R"([value, ...] | {"range": [low, high], "step": s} | {"log_range": [low, high], "count": n})";

class AxisReader {
 public:
  AxisReader(const Document& document, Axis& axis) : document_(document), axis_(axis) {}

  void read(const Json& json) {
    if (json.is_object() && (json.contains("range") || json.contains("log_range"))) {
      read_range(json);
    } else if (json.is_array()) {
      for (const auto& value : json) axis_.choices.push_back({value});
      check_choices();
    } else {
      const std::string key = json.is_object() && !json.empty() ? json.begin().key() : "";
      refuse("", "an axis has a list of values or a range", key_of(json), axis_allowed,
             json.is_object() ? base::did_you_mean(key, {"range", "log_range"})
                              : "a value that does not vary belongs into \"base\"");
    }
    order_by_numbers(axis_);
  }

 private:
  void check_choices() const {
    if (axis_.choices.empty()) refuse("", "the list is empty", "[]", axis_allowed);
    if (axis_.choices.size() > most_choices)
      refuse("", "the list is too long", std::to_string(axis_.choices.size()),
             fmt::format("at most {}", most_choices));
    std::set<std::string> seen;
    for (const auto& choice : axis_.choices) {
      std::string key;
      for (const auto& value : choice) key += key_of(value) + "\n";
      if (!seen.insert(key).second)
        refuse("", "a value stands twice", key.substr(0, key.size() - 1), "values that differ");
    }
  }

  void read_range(const Json& json) {
    const bool log = json.contains("log_range");
    const std::vector<std::string> keys = log ? std::vector<std::string>{"log_range", "count"}
                                              : std::vector<std::string>{"range", "step", "count"};
    for (const auto& item : json.items()) {
      if (std::find(keys.begin(), keys.end(), item.key()) == keys.end())
        refuse("/" + item.key(), "unknown key \"" + item.key() + "\"", item.key(), base::join(keys),
               base::did_you_mean(item.key(), keys));
    }
    const std::string name = keys.front();
    const Json& ends = json[name];
    const bool pair = ends.is_array() && ends.size() == 2 && ends[0].is_number() && ends[1].is_number();
    if (!pair) refuse("/" + name, "a range has two numbers", key_of(ends), "[low, high]");
    axis_.low = ends[0].get<double>(), axis_.high = ends[1].get<double>();
    axis_.whole = ends[0].is_number_integer() && ends[1].is_number_integer();
    axis_.logarithmic = log;
    if (axis_.low >= axis_.high)
      refuse("/" + name, "the range is upside down", key_of(ends), "low < high",
             fmt::format("[{}, {}]", key_of(ends[1]), key_of(ends[0])));
    if (std::abs(axis_.low) > 0x1p53 || std::abs(axis_.high) > 0x1p53)
      refuse("/" + name, "the range is too wide", key_of(ends), "numbers up to 2^53");
    if (log && axis_.low <= 0)
      refuse("/" + name, "a range in the logarithm is positive", key_of(ends), "0 < low");
    if (json.contains("step") && json.contains("count"))
      refuse("", "\"step\" and \"count\" say the same", key_of(json), "one of them");
    if (json.contains("step")) return read_step(json["step"]);
    if (json.contains("count")) return read_count(json["count"]);
    // A short range of integers is a list of them, which a grid takes too.
    if (axis_.whole && !log && axis_.high - axis_.low < 1000) make_choices(1);
  }

  void read_step(const Json& step) {
    if (!step.is_number() || !(step.get<double>() > 0))
      refuse("/step", "a step is a positive number", key_of(step), "> 0");
    axis_.whole = axis_.whole && step.is_number_integer();
    if ((axis_.high - axis_.low) / step.get<double>() > static_cast<double>(most_choices))
      refuse("/step", "the step is too small", key_of(step), fmt::format("at most {} values", most_choices));
    make_choices(step.get<double>());
  }

  void make_choices(double step) {
    // A thousandth of a step more: 0.1 + 9 * 0.1 may exceed 1.
    const auto steps = static_cast<int64_t>(std::floor((axis_.high - axis_.low) / step + 1e-3));
    for (int64_t i = 0; i <= steps; ++i) {
      const double value = axis_.low + static_cast<double>(i) * step;
      axis_.choices.push_back({axis_.whole ? Json(std::llround(value)) : Json(rounded(value))});
    }
  }

  void read_count(const Json& json) {
    if (!json.is_number_integer() || json < 2 || json > most_choices)
      refuse("/count", "this is no count", key_of(json), fmt::format("2 to {}", most_choices));
    const auto count = json.get<int64_t>();
    for (int64_t i = 0; i < count; ++i) {
      const double share = static_cast<double>(i) / static_cast<double>(count - 1);
      double value = axis_.low + share * (axis_.high - axis_.low);
      if (axis_.logarithmic) value = axis_.low * std::pow(axis_.high / axis_.low, share);
      const Json choice = axis_.whole ? Json(std::llround(value)) : Json(rounded(value));
      // Integers that lie nearer than the count asks for stand once.
      if (axis_.choices.empty() || axis_.choices.back()[0] != choice) axis_.choices.push_back({choice});
    }
  }

  /// `member`: "" or of the axis' object.
  [[noreturn]] void refuse(const std::string& member, const std::string& summary, const std::string& found,
                           const std::string& allowed, const std::string& suggestion = "") const {
    config::refuse(document_, axis_.at + member, summary, found, allowed, suggestion);
  }

  const Document& document_;
  Axis& axis_;
};

}  // namespace

void order_by_numbers(Axis& axis) {
  std::vector<double> numbers;
  for (const auto& choice : axis.choices) {
    const auto number = choice.size() == 1 && !choice[0].is_boolean() ? number_of(choice[0]) : std::nullopt;
    if (!number) return;
    numbers.push_back(*number);
  }
  axis.ascending.resize(numbers.size());
  std::iota(axis.ascending.begin(), axis.ascending.end(), size_t{0});
  std::stable_sort(axis.ascending.begin(), axis.ascending.end(),
                   [&](size_t a, size_t b) { return numbers[a] < numbers[b]; });
}

void read_axis_values(const Document& document, const Json& json, Axis& axis) {
  AxisReader(document, axis).read(json);
}

}  // namespace attnlab::sweep
