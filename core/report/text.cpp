#include "core/report/text.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <vector>

#include "core/base/utf8.hpp"

namespace attnlab::report {
namespace {

constexpr char32_t replacement = 0xFFFD;
constexpr std::string_view replacement_bytes = "\xEF\xBF\xBD";

struct Range {
  char32_t first, last;
};

template <size_t N>
bool within(const std::array<Range, N>& ranges, char32_t code) {
  return std::any_of(ranges.begin(), ranges.end(),
                     [code](Range range) { return code >= range.first && code <= range.last; });
}

bool is_unsafe(char32_t code) {
  static constexpr std::array<Range, 6> ranges{
      {{0, 0x1F}, {0x7F, 0x9F}, {0x2028, 0x202E}, {0x2066, 0x2069}, {0xFFFE, 0xFFFF}, {0xFEFF, 0xFEFF}}};
  return within(ranges, code);
}

int cells_of(char32_t code) {
  static constexpr std::array<Range, 4> combining{
      {{0x300, 0x36F}, {0x200B, 0x200F}, {0x20D0, 0x20FF}, {0xFE00, 0xFE0F}}};
  static constexpr std::array<Range, 10> wide{{{0x1100, 0x115F},
                                               {0x2E80, 0x303E},
                                               {0x3041, 0xA4CF},
                                               {0xAC00, 0xD7A3},
                                               {0xF900, 0xFAFF},
                                               {0xFE30, 0xFE6F},
                                               {0xFF00, 0xFF60},
                                               {0xFFE0, 0xFFE6},
                                               {0x1F300, 0x1FAFF},
                                               {0x20000, 0x3FFFD}}};
  return within(combining, code) ? 0 : within(wide, code) ? 2 : 1;
}

/// Calls visit(code, bytes as a view) for each character; a malformed byte counts as one U+FFFD.
template <class Visit>
void each_character(std::string_view text, const Visit& visit) {
  while (!text.empty()) {
    base::Character character = base::first_character(text);
    if (character.size == 0) character = {replacement, 1};
    visit(character.code, text.substr(0, character.size));
    text.remove_prefix(character.size);
  }
}

}  // namespace

std::string clean(std::string_view text, bool keep_lines) {
  std::string out;
  out.reserve(text.size());
  each_character(text, [&](char32_t code, std::string_view bytes) {
    if (code == '\n' && keep_lines) {
      out += '\n';
    } else if (code == '\n' || code == '\t' || code == '\r') {
      out += ' ';
    } else {
      out += is_unsafe(code) || code == replacement ? replacement_bytes : bytes;
    }
  });
  return out;
}

int display_width(std::string_view text) {
  int width = 0;
  each_character(text, [&](char32_t code, std::string_view) { width += cells_of(code); });
  return width;
}

std::string shorten(std::string_view text, int width) {
  if (display_width(text) <= width) return std::string(text);
  std::vector<base::Character> characters;
  each_character(text, [&](char32_t code, std::string_view bytes) {
    characters.push_back({code, bytes.size()});
  });
  const int head_cells = width / 2;
  size_t head = 0, tail = text.size();
  int used = 0;
  auto next = characters.begin();
  for (; used + cells_of(next->code) <= head_cells; ++next) {
    used += cells_of(next->code);
    head += next->size;
  }
  for (auto last = characters.rbegin(); used + cells_of(last->code) <= width - 1; ++last) {
    used += cells_of(last->code);
    tail -= last->size;
  }
  return std::string(text.substr(0, head)) + "…" + std::string(text.substr(tail));
}

std::string wrap(std::string_view text, int width, int indent) {
  std::string out;
  int used = indent;
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    const int cells = display_width(word);
    if (!out.empty()) {
      const bool fits = width <= 0 || used + 1 + cells <= width;
      out += fits ? " " : "\n" + std::string(static_cast<size_t>(indent), ' ');
      used = fits ? used + 1 : indent;
    }
    out += word;
    used += cells;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

std::string pad_right(std::string text, int width) {
  const int missing = width - display_width(text);
  if (missing > 0) text.append(static_cast<size_t>(missing), ' ');
  return text;
}

std::string pad_left(const std::string& text, int width) {
  const int missing = width - display_width(text);
  return missing > 0 ? std::string(static_cast<size_t>(missing), ' ') + text : text;
}

std::string html_text(std::string_view text) {
  std::string out;
  for (const char c : clean(text, true)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string markdown_text(std::string_view text) {
  const std::string plain = clean(text);
  const auto is_word = [&](size_t i) {
    return i < plain.size() && std::isalnum(static_cast<unsigned char>(plain[i]));
  };
  std::string out;
  for (size_t i = 0; i < plain.size(); ++i) {
    // An underscore inside a word, as in top_k, is literal in Markdown and reads better bare.
    const bool inner_underscore = plain[i] == '_' && i > 0 && is_word(i - 1) && is_word(i + 1);
    if (!inner_underscore && std::string_view("\\`*_{}[]<>|#~&!").find(plain[i]) != std::string_view::npos)
      out += '\\';
    out += plain[i];
  }
  return out;
}

std::string csv_text(std::string_view text) {
  const std::string plain = clean(text);
  if (plain.find_first_of("\",") == std::string::npos) return plain;
  std::string out = "\"";
  for (const char c : plain) out += c == '"' ? "\"\"" : std::string(1, c);
  return out + '"';
}

}  // namespace attnlab::report
