// What a sweep varies: axes over pointers of a base config, conditions and constraints. A point of the space
// chooses a value for each pointer.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/config/document.hpp"
#include "core/sweep/expression.hpp"

namespace attnlab::sweep {

/// {"/pipelines/main/2/heavy_size": "10%", ...}: chosen values by JSON pointer, in the order of the axes.
using Point = io::Json;

/// The number that a value means: 3, 0.1, "10%", true; nothing for anything else.
std::optional<double> number_of(const io::Json& value);

/// To twelve digits: 0.30000000000000004 would be another trial than 0.3, and an ugly one.
double rounded(double value);

/// Values of one pointer, or of several that change together (zipped). Either a list of choices, or a range
/// from `low` to `high` whose values are drawn.
struct Axis {
  std::vector<std::string> pointers;
  std::vector<std::vector<io::Json>> choices;  ///< in each, one value a pointer; empty: a range
  /// Of choices that are numbers: their indices, ascending by number. Empty: choices without an order.
  std::vector<size_t> ascending;
  double low = 0, high = 0;         ///< of a range, both included
  bool logarithmic = false;         ///< a range drawn evenly in the logarithm
  bool whole = false;               ///< a range of integers
  std::string at;                   ///< where the sweep's config says it
  std::optional<size_t> condition;  ///< without it, the base's value stays

  bool is_range() const { return choices.empty(); }
  /// Near coordinates are near values: a range, or choices in order of their numbers.
  bool is_ordered() const { return is_range() || !ascending.empty(); }
  /// Length of the part of [0, 1) that is one choice or one integer of an even range; 0: continuous.
  double cell() const;
  /// Puts the values at coordinate `u` in [0, 1) into `point`: every choice and every integer has an equal
  /// part, in the logarithm where the axis says so.
  void choose(double u, Point& point) const;
  /// A coordinate of the values in `point`, the middle of their part.
  double coordinate(const Point& point) const;
};

/// Holds where each pointer has one of its values.
struct Condition {
  struct Test {
    std::string pointer;
    std::vector<io::Json> values;
  };
  std::vector<Test> tests;
  std::string at;
};

struct Space {
  std::vector<Axis> axes;  ///< those with a condition after all others, and in the order of their conditions
  std::vector<Condition> conditions;
  std::vector<Expression> constraints;  ///< of the point alone: names are pointers
  io::Json base;                        ///< the config that points change

  /// The value at `pointer`, whether the point chooses it, a part or a whole of it, or leaves the base's.
  const io::Json* value(const Point& point, const std::string& pointer) const;
  /// That value as a number, where it is one.
  std::optional<double> number(const Point& point, const std::string& pointer) const;
  /// Whether the axis takes part in a point that has chosen on the axes before it.
  bool is_active(const Axis& axis, const Point& point) const;
  /// All constraints hold. One with a pointer that the point lacks holds.
  bool allows(const Point& point) const;
  /// The point of a place in the unit cube, with one coordinate for each axis; those of axes that take no
  /// part are passed over. May break constraints.
  Point at(std::span<const double> cube) const;
  /// All points that the constraints allow, the last axis fastest. Throws UserError for a range without steps
  /// (`document` says where) and for more than `limit` points.
  std::vector<Point> grid(size_t limit, const config::Document& document) const;
};

/// Whether pointer `inner` is `outer` or lies in it.
bool lies_in(const std::string& inner, const std::string& outer);

/// JSON text that tells values apart: 1 and 1.0 differ.
inline std::string key_of(const io::Json& value) {
  return io::line_text(value);
}

}  // namespace attnlab::sweep
