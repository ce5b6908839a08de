// Text files as training data: strict UTF-8 (RFC 3629), and places in text for messages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace attnlab::data {

/// The first character of a text; `size` = 0: there is none, or it is malformed.
struct Character {
  uint32_t code = 0;  ///< Unicode code point
  size_t size = 0;    ///< bytes
};

/// Malformed is what RFC 3629 excludes: stray or missing continuation bytes, overlong forms, surrogates, code
/// points past U+10FFFF, bytes that no character has.
Character first_character(std::string_view text);

/// Appends the UTF-8 of a code point that is no surrogate.
void append_character(std::string& text, uint32_t code);

/// Line and column, from 1. Lines end with "\n", columns count characters.
struct TextPlace {
  int line = 1;
  int column = 1;
};

/// Where the byte at `offset` stands; what precedes it is well-formed UTF-8. O(offset).
TextPlace place_of(std::string_view text, size_t offset);

/// Offset of the first byte that no well-formed character starts at, or npos.
size_t first_malformed(std::string_view text);

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
