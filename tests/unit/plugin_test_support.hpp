// Methods that are linked into the tests, and what tests of the plugin, config and attention rooms share.
#pragma once

#include <gtest/gtest.h>
#include <attnlab/scorer.hpp>

#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "core/plugin/catalog.hpp"
#include "core/plugin/masker.hpp"
#include "tests/unit/io_test_support.hpp"

namespace attnlab::plugin {

/// The text of the UserError that `action` throws must hold `words`.
#define EXPECT_REFUSED(action, words)                                                                \
  do {                                                                                               \
    const std::string refusal_text = ::attnlab::io::refusal([&] { static_cast<void>(action); });     \
    EXPECT_NE(refusal_text.find(words), std::string::npos) << "refusal: \"" << refusal_text << "\""; \
  } while (false)

/// A catalog of methods that are linked into this program.
inline Catalog catalog_of(const attnlab_plugin_entry& entry) {
  Catalog catalog;
  catalog.add_static(entry, "test");
  return catalog;
}

/// An instance with the given values by key, defaults otherwise.
inline Masker instance_of(const Catalog& catalog, const std::string& id,
                          const std::vector<std::pair<std::string, Value>>& given = {}) {
  const CatalogEntry& entry = *catalog.find(id);
  std::vector<Value> values;
  for (const auto& parameter : entry.descriptor.parameters) {
    Value value = parameter.default_value;
    for (const auto& [key, chosen] : given) {
      if (key == parameter.key) value = chosen;
    }
    values.push_back(value);
  }
  return Masker(catalog, entry, values, "main", id, {.file = "test.json", .pointer = "/pipelines/main/0"});
}

/// Sets an environment variable for the life of the object.
class ScopedVariable {
 public:
  ScopedVariable(const char* name, const std::string& value) : name_(name) {
    if (const char* old = std::getenv(name); old != nullptr) old_ = old;
    ::setenv(name, value.c_str(), 1);
  }
  ~ScopedVariable() {
    if (old_) {
      ::setenv(name_, old_->c_str(), 1);
    } else {
      ::unsetenv(name_);
    }
  }
  ScopedVariable(const ScopedVariable&) = delete;
  ScopedVariable& operator=(const ScopedVariable&) = delete;

 private:
  const char* name_;
  std::optional<std::string> old_;
};

}  // namespace attnlab::plugin
