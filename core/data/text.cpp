#include "core/data/text.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>

#include "core/base/error.hpp"
#include "core/base/mapped_file.hpp"
#include "core/base/utf8.hpp"

namespace attnlab::data {
namespace {

/// The encoding that `iconv` should convert from, as far as the first bytes tell.
const char* probable_encoding(std::string_view text) {
  const bool byte_order_mark = text.starts_with("\xff\xfe") || text.starts_with("\xfe\xff");
  return byte_order_mark ? "UTF-16" : "LATIN1";
}

}  // namespace

TextPlace place_of(std::string_view text, size_t offset) {
  const std::string_view before = text.substr(0, offset);
  const size_t end = before.rfind('\n');
  const std::string_view in_line = end == std::string_view::npos ? before : before.substr(end + 1);
  const auto starts_character = [](char c) { return !base::is_continuation(c); };
  return {.line = 1 + static_cast<int>(std::count(before.begin(), before.end(), '\n')),
          .column = 1 + static_cast<int>(std::count_if(in_line.begin(), in_line.end(), starts_character))};
}

void check_utf8(std::string_view text, const std::string& name) {
  const size_t at = base::first_malformed(text);
  if (at == std::string_view::npos) return;
  const TextPlace place = place_of(text, at);
  throw base::UserError(
      "not UTF-8 text",
      {.file = name,
       .line = place.line,
       .column = place.column,
       .found = fmt::format("byte 0x{:02X} at offset {}", static_cast<unsigned char>(text[at]), at),
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
