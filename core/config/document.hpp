// A configuration document: JSON with comments, `extends`, overrides, and the origin of every value.
#pragma once

#include <string>
#include <vector>

#include "core/base/error.hpp"
#include "core/config/parse.hpp"
#include "core/io/json.hpp"

namespace attnlab::config {

/// Where a value was written.
struct Origin {
  std::string label;   ///< a file, or an option such as "--set"
  std::string folder;  ///< paths in the value are relative to it
};

/// One thing that was said of a value.
struct Statement {
  std::string pointer;  ///< of what was said: the value itself, or a part of it
  io::Json value;
  Origin origin;
  Place place;  ///< in the origin's file; unknown for options
};

/// Objects of a base document (`"extends": "base.json"` or a list, relative to the file) are merged deeply;
/// arrays and scalars are replaced. A stage of a pipeline may be addressed by its name instead of its index.
/// Not thread-safe while it is being changed.
class Document {
 public:
  /// Reads a file and the files it extends; "$schema", for editors, is left out. Throws UserError for syntax
  /// errors, duplicate keys and circular extends, each with line and column.
  static Document load(const std::string& path);
  /// An empty document, to be filled by `set`.
  Document() = default;

  /// Applies "/pointer=value" from the command line: the value is JSON, or else a string.
  void set(const std::string& assignment);
  /// Replaces the value at `pointer`.
  void set(const std::string& pointer, io::Json value, const Origin& origin);

  const io::Json& root() const { return root_; }
  /// The file the user named; empty for a document without one.
  const std::string& path() const { return path_; }
  /// Origin of the value at `pointer`, or of the nearest value around it.
  Origin origin(const std::string& pointer) const;
  /// The start of an error about the value at `pointer`.
  base::Mistake where(const std::string& pointer) const;
  /// `path` made absolute by the origin of the value at `pointer`.
  std::string resolve_path(const std::string& pointer, const std::string& path) const;
  /// All that files and options say of the value at `pointer`, weakest first: what holds comes last. What is
  /// gone because an object or list around it was replaced is not told.
  std::vector<Statement> statements(const std::string& pointer) const;

 private:
  /// One file, or one override.
  struct Layer {
    std::string pointer;  ///< what it says something of; "" for files
    io::Json value;
    Origin origin;
    Places places;
    bool merges = false;  ///< files: objects leave members that they do not have to weaker layers
  };
  /// What a layer says of a value.
  enum class Says { nothing, value, part, removed };
  static Says says(const Layer& layer, const std::string& pointer, const io::Json*& value);
  /// The layer that decided the value at `pointer` or the nearest one around it; nullptr when there is none.
  const Layer* decisive_layer(const std::string& pointer) const;

  io::Json root_ = io::Json::object();
  std::string path_;
  std::vector<Layer> layers_;  ///< weakest first
};

/// Index of the element of `array` that a pointer's token names: its position, or, for an object, its "name",
/// else its "masker". "-" is the place after the last. Throws UserError, which begins with `where`.
size_t array_index(const io::Json& array, const std::string& token, const base::Mistake& where);

}  // namespace attnlab::config
