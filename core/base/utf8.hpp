// UTF-8 as RFC 3629 has it, strictly.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace attnlab::base {

/// The first character of a text; `size` = 0: there is none, or it is malformed.
struct Character {
  uint32_t code = 0;  ///< Unicode code point
  size_t size = 0;    ///< bytes
};

/// Malformed is what RFC 3629 excludes: stray or missing continuation bytes, overlong forms, surrogates, code
/// points past U+10FFFF, bytes that no character has.
Character first_character(std::string_view text);

/// Whether a byte goes on with a character that an earlier byte began.
inline bool is_continuation(char byte) {
  return (static_cast<unsigned char>(byte) & 0xc0) == 0x80;
}

/// Appends the UTF-8 of a code point that is no surrogate.
void append_character(std::string& text, uint32_t code);

/// Offset of the first byte that no well-formed character starts at, or npos.
size_t first_malformed(std::string_view text);

/// Whether all characters of the text are well-formed.
inline bool is_utf8(std::string_view text) {
  return first_malformed(text) == std::string_view::npos;
}

}  // namespace attnlab::base
