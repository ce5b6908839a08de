// A configuration document: JSON with comments, `extends`, overrides, and the origin of every value.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/base/error.hpp"
#include "core/io/json.hpp"

namespace attnlab::config {

/// Where a value was written.
struct Origin {
  std::string label;   ///< a file, or an option such as "--set"
  std::string folder;  ///< paths in the value are relative to it
};

/// Objects of a base document (`"extends": "base.json"` or a list, relative to the file) are merged deeply;
/// arrays and scalars are replaced. Not thread-safe while it is being changed.
class Document {
 public:
  /// Reads a file and the files it extends. Throws UserError for syntax errors (with line and column),
  /// duplicate keys and circular extends.
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
  const Origin& origin(const std::string& pointer) const;
  /// The start of an error about the value at `pointer`.
  base::Mistake where(const std::string& pointer) const;
  /// `path` made absolute by the origin of the value at `pointer`.
  std::string resolve_path(const std::string& pointer, const std::string& path) const;

 private:
  void merge(const io::Json& from, const Origin& origin, const std::string& pointer, io::Json& into);
  void forget_origins(const std::string& pointer);

  io::Json root_ = io::Json::object();
  std::string path_;
  std::map<std::string, Origin> origins_;
};

/// "a/b~c" -> "a~1b~0c", for building JSON pointers.
std::string escape(const std::string& key);

}  // namespace attnlab::config
