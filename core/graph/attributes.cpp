#include "core/graph/attributes.hpp"

#include <attnlab/params.hpp>

namespace attnlab::graph {
namespace {

[[noreturn]] void wrong_type(std::string_view name, const char* expected) {
  throw OperandError("attribute \"" + std::string(name) + "\" must be " + expected);
}

}  // namespace

Attributes Attributes::from(const attnlab_attribute* values, uint64_t count) {
  Attributes result;
  for (uint64_t i = 0; i < count; ++i) {
    const attnlab_attribute& a = values[i];
    Value value;
    switch (a.type) {
      case ATTNLAB_ATTRIBUTE_INT:
        value = a.integer;
        break;
      case ATTNLAB_ATTRIBUTE_REAL:
        value = a.real;
        break;
      case ATTNLAB_ATTRIBUTE_TEXT:
        value = std::string(from_abi(a.text));
        break;
      case ATTNLAB_ATTRIBUTE_INTS:
        value = std::vector<int64_t>(a.integers, a.integers + a.integer_count);
        break;
      case ATTNLAB_ATTRIBUTE_HANDLE:
        value = a.handle;
        break;
      default:
        throw OperandError("attribute \"" + std::string(from_abi(a.name)) + "\" has the unknown type " +
                           std::to_string(a.type));
    }
    result.values_.emplace_back(from_abi(a.name), std::move(value));
  }
  return result;
}

const Attributes::Value* Attributes::find(std::string_view name) const {
  for (const auto& [key, value] : values_) {
    if (key == name) return &value;
  }
  return nullptr;
}

int64_t Attributes::integer(std::string_view name, int64_t otherwise) const {
  const Value* value = find(name);
  if (value == nullptr) return otherwise;
  if (const auto* integer = std::get_if<int64_t>(value)) return *integer;
  wrong_type(name, "an integer");
}

double Attributes::real(std::string_view name, double otherwise) const {
  const Value* value = find(name);
  if (value == nullptr) return otherwise;
  if (const auto* real = std::get_if<double>(value)) return *real;
  if (const auto* integer = std::get_if<int64_t>(value)) return static_cast<double>(*integer);
  wrong_type(name, "a number");
}

std::string Attributes::text(std::string_view name, std::string_view otherwise) const {
  const Value* value = find(name);
  if (value == nullptr) return std::string(otherwise);
  if (const auto* text = std::get_if<std::string>(value)) return *text;
  wrong_type(name, "text");
}

Extents Attributes::integers(std::string_view name) const {
  const Value* value = find(name);
  if (value == nullptr) throw OperandError("attribute \"" + std::string(name) + "\" is missing");
  const auto* list = std::get_if<std::vector<int64_t>>(value);
  if (list == nullptr) wrong_type(name, "a list of integers");
  if (list->size() > kMaxRank) wrong_type(name, "a list of at most 8 integers");
  return {list->begin(), list->end()};
}

void* Attributes::handle(std::string_view name) const {
  const Value* value = find(name);
  if (value == nullptr) return nullptr;
  if (const auto* handle = std::get_if<void*>(value)) return *handle;
  wrong_type(name, "a handle");
}

Attributes Attributes::with(std::string_view name, Value value) const {
  Attributes copy = *this;
  for (auto& [key, old] : copy.values_) {
    if (key == name) {
      old = std::move(value);
      return copy;
    }
  }
  copy.values_.emplace_back(name, std::move(value));
  return copy;
}

}  // namespace attnlab::graph
