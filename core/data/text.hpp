// Text files as training data, and places in text for messages.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace attnlab::data {

/// Line and column, from 1. Lines end with "\n", columns count characters.
struct TextPlace {
  int line = 1;
  int column = 1;
};

/// Where the byte at `offset` stands; what precedes it is well-formed UTF-8. O(offset).
TextPlace place_of(std::string_view text, size_t offset);

/// Throws UserError with place, offset and value of the first malformed byte. `name` is the file of the
/// error.
void check_utf8(std::string_view text, const std::string& name);

/// What the bytes of a text must be.
enum class TextEncoding {
  utf8,
  bytes  ///< anything: the tokeniser "bytes" takes bytes for what they are
};

/// The whole file as it is: byte order mark and line ends are text too. Throws UserError for a file that
/// cannot be read, is empty or does not have this encoding.
std::string read_text(const std::string& path, TextEncoding encoding = TextEncoding::utf8);

}  // namespace attnlab::data
