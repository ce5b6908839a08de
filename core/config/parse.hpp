// Strict JSON with comments, and where in the text each value stands.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/base/error.hpp"
#include "core/io/json.hpp"

namespace attnlab::config {

/// A position in a text, both from 1, columns in characters; 0: unknown.
struct Place {
  int line = 0;
  int column = 0;
};

/// JSON pointer -> where the member's key, or the list element, begins. "" is the outermost value.
using Places = std::map<std::string, Place>;

/// "nested more than 64 levels deep".
std::string too_deep();

struct ParsedText {
  io::Json json;
  Places places;  ///< of the first 100 000 values, or fewer when their pointers take 16 MiB
};

enum class TextKind {
  file,      ///< may hold comments; errors have line and column
  argument,  ///< of the command line
};

/// Throws UserError for syntax errors, for a key that an object holds twice (nlohmann would silently keep the
/// last), and beyond the limits of io::json. `where` is the start of
/// these errors: its file, and the pointer that the text stands for. O(text).
ParsedText parse_text(const std::string& text, const base::Mistake& where, TextKind kind);

/// "a/b~c" -> "a~1b~0c", for building JSON pointers.
std::string escape(const std::string& key);

/// "/a~1b/0" -> {"a/b", "0"}.
std::vector<std::string> split_pointer(const std::string& pointer);

}  // namespace attnlab::config
