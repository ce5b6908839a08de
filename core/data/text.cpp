#include "core/data/text.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>

#include "core/base/error.hpp"
#include "core/base/mapped_file.hpp"

namespace attnlab::data {
namespace {

constexpr uint32_t last_code = 0x10ffff;

uint32_t byte_at(std::string_view text, size_t at) {
  return static_cast<unsigned char>(text[at]);
}

bool is_continuation(uint32_t byte) {
  return (byte & 0xc0) == 0x80;
}

/// The encoding that `iconv` should convert from, as far as the first bytes tell.
const char* probable_encoding(std::string_view text) {
  const bool byte_order_mark = text.starts_with("\xff\xfe") || text.starts_with("\xfe\xff");
  return byte_order_mark ? "UTF-16" : "LATIN1";
}

}  // namespace

Character first_character(std::string_view text) {
  if (text.empty()) return {};
  const uint32_t lead = byte_at(text, 0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xc0 || lead >= 0xf8) return {};
  const size_t size = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (text.size() < size) return {};
  uint32_t code = lead & (0x7fU >> size);
  for (size_t i = 1; i < size; ++i) {
    const uint32_t byte = byte_at(text, i);
    if (!is_continuation(byte)) return {};
    code = code << 6 | (byte & 0x3f);
  }
  const uint32_t smallest = size == 2 ? 0x80 : size == 3 ? 0x800 : 0x10000;
  const bool surrogate = code >= 0xd800 && code <= 0xdfff;
  return code < smallest || surrogate || code > last_code ? Character{} : Character{code, size};
}

void append_character(std::string& text, uint32_t code) {
  ATTNLAB_CHECK(code <= last_code && (code < 0xd800 || code > 0xdfff), fmt::format("U+{:04X}", code));
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

TextPlace place_of(std::string_view text, size_t offset) {
  const std::string_view before = text.substr(0, offset);
  const size_t end = before.rfind('\n');
  const std::string_view in_line = end == std::string_view::npos ? before : before.substr(end + 1);
  const auto starts_character = [](char c) { return !is_continuation(static_cast<unsigned char>(c)); };
  return {.line = 1 + static_cast<int>(std::count(before.begin(), before.end(), '\n')),
          .column = 1 + static_cast<int>(std::count_if(in_line.begin(), in_line.end(), starts_character))};
}

size_t first_malformed(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t size = first_character(text.substr(at)).size;
    if (size == 0) return at;
    at += size;
  }
  return std::string_view::npos;
}

void check_utf8(std::string_view text, const std::string& name) {
  const size_t at = first_malformed(text);
  if (at == std::string_view::npos) return;
  const TextPlace place = place_of(text, at);
  throw base::UserError(
      "not UTF-8 text",
      {.file = name,
       .line = place.line,
       .column = place.column,
       .found = fmt::format("byte 0x{:02X} at offset {}", byte_at(text, at), at),
       .allowed = "well-formed UTF-8",
       .suggestion = fmt::format("take the tokeniser \"bytes\", or convert the text: iconv -f {} -t UTF-8",
                                 probable_encoding(text))});
}

std::string read_text(const std::string& path, TextEncoding encoding) {
  std::error_code ignored;  // what cannot be asked cannot be opened either, which says why
  if (std::filesystem::is_directory(path, ignored)) {
    throw base::UserError("a folder is no text", {.file = path, .allowed = "a text file"});
  }
  const auto file = base::MappedFile::open(path);
  if (file->size() == 0) {
    throw base::UserError("the text is empty", {.file = path, .found = "0 bytes", .allowed = "a text file"});
  }
  std::string text(reinterpret_cast<const char*>(file->data()), file->size());
  if (encoding == TextEncoding::utf8) check_utf8(text, path);
  return text;
}

}  // namespace attnlab::data
