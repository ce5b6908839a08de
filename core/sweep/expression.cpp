#include "core/sweep/expression.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <limits>
#include <string_view>

namespace attnlab::sweep {
namespace {

/// Also bounds the depth of the parser's recursion.
constexpr size_t text_limit = 500;

}  // namespace

/// Recursive descent; each function leaves its part of the text as nodes.
class ExpressionParser {
 public:
  ExpressionParser(const std::string& text, const base::Mistake& where) : where_(where) {
    result_.text_ = text;
  }

  Expression parse() {
    if (text().size() > text_limit) refuse("an expression has at most 500 characters");
    comparison();
    skip_spaces();
    if (at_ < text().size()) refuse("an operator is missing, or something is left over");
    return std::move(result_);
  }

 private:
  using Op = Expression::Op;

  const std::string& text() const { return result_.text_; }

  [[noreturn]] void refuse(const std::string& why) const {
    base::Mistake mistake = where_;
    mistake.found = text().substr(0, std::min<size_t>(at_, 60)) + " >>> " +
                    text().substr(std::min(at_, text().size()), 60);
    mistake.allowed =
        "\"density <= 0.1\", \"output_error + 0.1 * density\", \"/pipelines/main/2/K * 2 <= 20\"";
    throw base::UserError("this expression cannot be read: " + why, mistake);
  }

  void skip_spaces() {
    while (at_ < text().size() && text()[at_] == ' ') ++at_;
  }
  bool take(std::string_view word) {
    skip_spaces();
    if (text().compare(at_, word.size(), word) != 0) return false;
    at_ += word.size();
    return true;
  }
  void require(std::string_view word) {
    if (!take(word)) refuse("\"" + std::string(word) + "\" is missing");
  }
  void push(Op op) { result_.nodes_.push_back({op}); }

  void comparison() {
    sum();
    static const std::vector<std::pair<std::string_view, Op>> operators = {
        {"<=", Op::at_most}, {">=", Op::at_least}, {"==", Op::equal},
        {"!=", Op::differs}, {"<", Op::less},      {">", Op::more}};
    for (const auto& [word, op] : operators) {
      if (!take(word)) continue;
      sum();
      push(op);
      return;
    }
  }
  void sum() {
    product();
    while (true) {
      const Op op = take("+") ? Op::add : take("-") ? Op::subtract : Op::number;
      if (op == Op::number) return;
      product();
      push(op);
    }
  }
  void product() {
    factor();
    while (true) {
      const Op op = take("*") ? Op::multiply : take("/") ? Op::divide : Op::number;
      if (op == Op::number) return;
      factor();
      push(op);
    }
  }
  void factor() {
    if (take("-")) {
      factor();
      push(Op::negate);
    } else if (take("(")) {
      comparison();
      require(")");
    } else if (at_ < text().size() &&
               (std::isdigit(static_cast<unsigned char>(text()[at_])) != 0 || text()[at_] == '.')) {
      number();
    } else {
      name();
    }
  }
  void number() {
    double value = 0;
    const char* end = text().data() + text().size();
    const auto read = std::from_chars(text().data() + at_, end, value);
    if (read.ec != std::errc()) refuse("this is no number");
    at_ = static_cast<size_t>(read.ptr - text().data());
    if (at_ < text().size() && text()[at_] == '%') {
      ++at_;
      value /= 100;
    }
    result_.nodes_.push_back({Op::number, value});
  }
  void name() {
    size_t end = at_;
    const bool pointer = end < text().size() && text()[end] == '/';
    auto belongs = [&](char c) {
      if (pointer) return std::string_view(" (),<>=!").find(c) == std::string_view::npos;
      return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
    };
    while (end < text().size() && belongs(text()[end])) ++end;
    const std::string word = text().substr(at_, end - at_);
    if (word.empty() || word == "/") refuse("a number, a metric or a pointer is missing");
    at_ = end;
    if (word == "min" || word == "max") {
      require("(");
      comparison();
      require(",");
      comparison();
      require(")");
      push(word == "min" ? Op::min : Op::max);
      return;
    }
    auto& names = result_.names_;
    const auto found = std::find(names.begin(), names.end(), word);
    result_.nodes_.push_back({Op::name, 0, static_cast<size_t>(found - names.begin())});
    if (found == names.end()) names.push_back(word);
  }

  base::Mistake where_;
  Expression result_;
  size_t at_ = 0;
};

Expression Expression::parse(const std::string& text, const base::Mistake& where) {
  return ExpressionParser(text, where).parse();
}

bool Expression::is_comparison() const {
  return nodes_.back().op >= Op::less;
}

double Expression::apply(Op op, double a, double b) {
  if (std::isnan(a) || std::isnan(b)) return std::numeric_limits<double>::quiet_NaN();
  switch (op) {
    case Op::add:
      return a + b;
    case Op::subtract:
      return a - b;
    case Op::multiply:
      return a * b;
    case Op::divide:
      return a / b;
    case Op::min:
      return std::min(a, b);
    case Op::max:
      return std::max(a, b);
    case Op::less:
      return a < b ? 1 : 0;
    case Op::at_most:
      return a <= b ? 1 : 0;
    case Op::more:
      return a > b ? 1 : 0;
    case Op::at_least:
      return a >= b ? 1 : 0;
    case Op::equal:
      return a == b ? 1 : 0;
    case Op::differs:
      return a != b ? 1 : 0;
    case Op::number:
    case Op::name:
    case Op::negate:
      break;
  }
  ATTNLAB_CHECK(false, "no operation of two operands");
}

double Expression::value(const Lookup& lookup) const {
  std::vector<double> stack;
  for (const Node& node : nodes_) {
    if (node.op == Op::number) {
      stack.push_back(node.number);
    } else if (node.op == Op::name) {
      stack.push_back(lookup(names_[node.name]).value_or(std::numeric_limits<double>::quiet_NaN()));
    } else if (node.op == Op::negate) {
      stack.back() = -stack.back();
    } else {
      const double right = stack.back();
      stack.pop_back();
      stack.back() = apply(node.op, stack.back(), right);
    }
  }
  return stack.back();
}

}  // namespace attnlab::sweep
