#include "core/sweep/space.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace attnlab::sweep {
namespace {

using base::UserError;
using io::Json;

/// Bounds within which a whole axis is drawn, so that the integers at its ends get an equal part.
std::pair<double, double> log_bounds(const Axis& axis) {
  const double half = axis.whole ? 0.5 : 0;
  return {std::log(axis.low - half), std::log(axis.high + half)};
}

double drawn(const Axis& axis, double u) {
  if (axis.logarithmic) {
    const auto [low, high] = log_bounds(axis);
    const double value = std::exp(low + u * (high - low));
    return std::clamp(axis.whole ? std::round(value) : rounded(value), axis.low, axis.high);
  }
  if (axis.whole) return std::min(axis.high, axis.low + std::floor(u * (axis.high - axis.low + 1)));
  return std::clamp(rounded(axis.low + u * (axis.high - axis.low)), axis.low, axis.high);
}

}  // namespace

std::optional<double> number_of(const Json& value) {
  if (value.is_number()) return value.get<double>();
  if (value.is_boolean()) return value.get<bool>() ? 1.0 : 0.0;
  if (!value.is_string()) return std::nullopt;
  const auto& text = value.get_ref<const std::string&>();
  double number = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || text.back() != '%' || read.ec != std::errc() || read.ptr != &text.back())
    return std::nullopt;
  return number / 100;
}

double rounded(double value) {
  return std::stod(fmt::format("{:.12g}", value));
}

bool lies_in(const std::string& inner, const std::string& outer) {
  return (inner + "/").starts_with(outer + "/");
}

double Axis::cell() const {
  if (!is_range()) return 1 / static_cast<double>(choices.size());
  return whole && !logarithmic ? 1 / (high - low + 1) : 0;
}

void Axis::choose(double u, Point& point) const {
  if (is_range()) {
    const double value = drawn(*this, u);
    point[pointers.front()] = whole ? Json(static_cast<int64_t>(value)) : Json(value);
    return;
  }
  const auto count = choices.size();
  const auto rank = std::min(count - 1, static_cast<size_t>(u * static_cast<double>(count)));
  const auto& choice = choices[ascending.empty() ? rank : ascending[rank]];
  for (size_t p = 0; p < pointers.size(); ++p) point[pointers[p]] = choice[p];
}

double Axis::coordinate(const Point& point) const {
  if (is_range()) {
    const double value = point.at(pointers.front()).get<double>();
    if (logarithmic) {
      const auto [lower, upper] = log_bounds(*this);
      return upper > lower ? (std::log(value) - lower) / (upper - lower) : 0.5;
    }
    if (whole) return (value - low + 0.5) / (high - low + 1);
    return high > low ? (value - low) / (high - low) : 0.5;
  }
  std::string wanted;
  for (const auto& pointer : pointers) wanted += key_of(point.at(pointer)) + "\n";
  for (size_t rank = 0; rank < choices.size(); ++rank) {
    std::string here;
    for (const auto& value : choices[ascending.empty() ? rank : ascending[rank]])
      here += key_of(value) + "\n";
    if (here == wanted) return (static_cast<double>(rank) + 0.5) / static_cast<double>(choices.size());
  }
  ATTNLAB_CHECK(false, "the axis has no such choice: " + wanted);
}

const Json* Space::value(const Point& point, const std::string& pointer) const {
  const Json* whole = &base;
  std::string rest = pointer;
  // The last that chose it wins, as when the point is applied.
  for (const auto& item : point.items()) {
    if (!lies_in(pointer, item.key())) continue;
    whole = &item.value();
    rest = pointer.substr(item.key().size());
  }
  const Json::json_pointer path(rest);
  return whole->contains(path) ? &whole->at(path) : nullptr;
}

std::optional<double> Space::number(const Point& point, const std::string& pointer) const {
  const Json* found = value(point, pointer);
  return found == nullptr ? std::nullopt : number_of(*found);
}

bool Space::is_active(const Axis& axis, const Point& point) const {
  if (!axis.condition) return true;
  const auto& tests = conditions[*axis.condition].tests;
  return std::all_of(tests.begin(), tests.end(), [&](const Condition::Test& test) {
    const Json* found = value(point, test.pointer);
    return found != nullptr && std::any_of(test.values.begin(), test.values.end(), [&](const Json& wanted) {
             return key_of(wanted) == key_of(*found);
           });
  });
}

bool Space::allows(const Point& point) const {
  return std::all_of(constraints.begin(), constraints.end(), [&](const Expression& constraint) {
    // NaN, of a pointer that the point lacks, is not 0.
    return constraint.value([&](const std::string& pointer) { return number(point, pointer); }) != 0;
  });
}

Point Space::at(std::span<const double> cube) const {
  ATTNLAB_CHECK(cube.size() == axes.size(), "one coordinate for each axis");
  Point point = Json::object();
  for (size_t a = 0; a < axes.size(); ++a) {
    if (is_active(axes[a], point)) axes[a].choose(cube[a], point);
  }
  return point;
}

std::vector<Point> Space::grid(size_t limit, const config::Document& document) const {
  for (const Axis& axis : axes) {
    if (!axis.is_range()) continue;
    base::Mistake mistake = document.where(axis.at);
    mistake.found = fmt::format("a range from {} to {}", axis.low, axis.high);
    mistake.allowed = R"(a list, or a range with "step" or "count")";
    mistake.suggestion = R"(or "sampler": {"kind": "sobol", "trials": 64})";
    throw UserError("a grid needs the values of every axis", mistake);
  }
  std::vector<Point> points;
  size_t visited = 0;  // constraints may refuse most of a grid that would never end
  auto extend = [&](auto& self, size_t a, const Point& chosen) -> void {
    if (a == axes.size()) {
      if (allows(chosen)) points.push_back(chosen);
      if (points.size() <= limit && ++visited <= 10 * limit) return;
      base::Mistake mistake = document.where("/space");
      mistake.allowed = fmt::format("at most {} points, or {} before constraints", limit, 10 * limit);
      mistake.suggestion = R"(fewer values, "zip", or "sampler": {"kind": "sobol", "trials": 1000})";
      throw UserError("the grid is too large", mistake);
    }
    if (!is_active(axes[a], chosen)) return self(self, a + 1, chosen);
    for (const auto& choice : axes[a].choices) {
      Point next = chosen;
      for (size_t p = 0; p < choice.size(); ++p) next[axes[a].pointers[p]] = choice[p];
      self(self, a + 1, next);
    }
  };
  extend(extend, 0, Json::object());
  return points;
}

}  // namespace attnlab::sweep
