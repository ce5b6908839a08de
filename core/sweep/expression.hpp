// Arithmetic of constraints and objectives: "density <= 0.1", "output_error + 0.1 * density".
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/base/error.hpp"

namespace attnlab::sweep {

/// What a name of an expression stands for; nothing: it has no number here.
using Lookup = std::function<std::optional<double>(const std::string& name)>;

/// Numbers ("0.1", "10%"), names of metrics, JSON pointers (up to a space or a bracket), + - * /, brackets,
/// min(a, b), max(a, b) and comparisons, which are 1 or 0. A value type; immutable.
class Expression {
 public:
  /// Throws UserError, which begins with `where`.
  static Expression parse(const std::string& text, const base::Mistake& where);

  const std::string& text() const { return text_; }
  /// Metrics and pointers in it, each once, in the order of the text.
  const std::vector<std::string>& names() const { return names_; }
  /// Its outermost operation compares.
  bool is_comparison() const;
  /// NaN when a name has no number, comparisons included.
  double value(const Lookup& lookup) const;

  /// Puts `replacement` for a name, such as a pointer with indices for one with names.
  void rename(size_t name, const std::string& replacement) { names_[name] = replacement; }

 private:
  friend class ExpressionParser;
  enum class Op {
    number,
    name,
    negate,
    add,
    subtract,
    multiply,
    divide,
    min,
    max,
    less,
    at_most,
    more,
    at_least,
    equal,
    differs
  };
  struct Node {
    Op op;
    double number = 0;
    size_t name = 0;
  };
  static double apply(Op op, double a, double b);

  std::string text_;
  std::vector<std::string> names_;
  std::vector<Node> nodes_;  ///< operands before their operation
};

}  // namespace attnlab::sweep
