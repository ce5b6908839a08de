// Named arguments of an op.
#pragma once

#include <attnlab/abi.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "core/graph/array.hpp"

namespace attnlab::graph {

/// A few values by name. Those left out have the default that the reader gives.
class Attributes {
 public:
  using Value = std::variant<int64_t, double, std::string, std::vector<int64_t>, void*>;

  Attributes() = default;
  Attributes(std::initializer_list<std::pair<std::string, Value>> values) : values_(values) {}
  static Attributes from(const attnlab_attribute* values, uint64_t count);

  bool has(std::string_view name) const { return find(name) != nullptr; }
  /// Throw OperandError when the value has another type; a real may be given as an integer.
  int64_t integer(std::string_view name, int64_t otherwise) const;
  double real(std::string_view name, double otherwise) const;
  std::string text(std::string_view name, std::string_view otherwise) const;
  Extents integers(std::string_view name) const;
  void* handle(std::string_view name) const;

  /// A copy with one value set.
  Attributes with(std::string_view name, Value value) const;
  const std::vector<std::pair<std::string, Value>>& values() const { return values_; }

 private:
  const Value* find(std::string_view name) const;

  std::vector<std::pair<std::string, Value>> values_;
};

}  // namespace attnlab::graph
