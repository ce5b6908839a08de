#include "core/base/utf8.hpp"

#include <fmt/core.h>

#include "core/base/error.hpp"

namespace attnlab::base {
namespace {

constexpr uint32_t last_code = 0x10ffff;

bool is_surrogate(uint32_t code) {
  return code >= 0xd800 && code <= 0xdfff;
}

}  // namespace

Character first_character(std::string_view text) {
  if (text.empty()) return {};
  const uint32_t lead = static_cast<unsigned char>(text[0]);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xc0 || lead >= 0xf8) return {};
  const size_t size = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (text.size() < size) return {};
  uint32_t code = lead & (0x7fU >> size);
  for (size_t i = 1; i < size; ++i) {
    if (!is_continuation(text[i])) return {};
    code = code << 6 | (static_cast<unsigned char>(text[i]) & 0x3fU);
  }
  const uint32_t smallest = size == 2 ? 0x80 : size == 3 ? 0x800 : 0x10000;
  return code < smallest || is_surrogate(code) || code > last_code ? Character{} : Character{code, size};
}

void append_character(std::string& text, uint32_t code) {
  ATTNLAB_CHECK(code <= last_code && !is_surrogate(code), fmt::format("U+{:04X}", code));
  const auto append = [&](uint32_t byte) { text += static_cast<char>(byte); };
  if (code < 0x80) {
    append(code);
    return;
  }
  const int continuations = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
  const uint32_t lead_mark = 0xff & (0xff00U >> (continuations + 1));
  append(lead_mark | code >> 6 * continuations);
  for (int i = continuations - 1; i >= 0; --i) append(0x80 | (code >> 6 * i & 0x3f));
}

size_t first_malformed(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t size = first_character(text.substr(at)).size;
    if (size == 0) return at;
    at += size;
  }
  return std::string_view::npos;
}

}  // namespace attnlab::base
