#include "core/base/error.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "core/base/utf8.hpp"

namespace attnlab::base {
namespace {

std::string render(const std::string& summary, const Mistake& mistake) {
  std::string text;
  if (!mistake.file.empty()) text += mistake.file;
  if (mistake.line > 0) text += fmt::format(":{}:{}", mistake.line, mistake.column);
  if (!text.empty()) text += ": ";
  if (!mistake.pointer.empty()) text += mistake.pointer + ": ";
  text += summary;
  if (!mistake.found.empty()) text += "\n  found: " + mistake.found;
  if (!mistake.allowed.empty()) text += "\n  allowed: " + mistake.allowed;
  if (!mistake.suggestion.empty()) text += "\n  " + mistake.suggestion;
  return text;
}

/// Bytes of the character at the start of `text`, 0 when there is none or it is a control character.
size_t printable_character(std::string_view text) {
  const Character first = first_character(text);
  const bool control = first.code < 0x20 || (first.code >= 0x7f && first.code < 0xa0);
  return control ? 0 : first.size;
}

/// Optimal string alignment distance; O(|a| |b|).
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<size_t>> d(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  for (size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t j = 1; j <= b.size(); ++j) {
      size_t substitution = d[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, substitution});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
      }
    }
  }
  return d[a.size()][b.size()];
}

}  // namespace

UserError::UserError(std::string summary, Mistake mistake, Exit exit)
    : std::runtime_error(escape_unprintable(render(summary, mistake))),
      summary_(std::move(summary)),
      mistake_(std::move(mistake)),
      exit_(exit) {}

std::string escape_unprintable(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const size_t size = text[0] == '\n' ? 1 : printable_character(text);
    if (size > 0) {
      result += text.substr(0, size);
    } else {
      result += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[0]));
    }
    text.remove_prefix(std::max<size_t>(size, 1));
  }
  return result;
}

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
  // Words longer than this are not typing slips, and the distance is quadratic.
  if (word.size() > 128) return "";
  std::string best;
  size_t best_distance = std::max<size_t>(2, word.size() / 2) + 1;
  for (const auto& candidate : candidates) {
    size_t distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates) {
  std::string best = nearest(word, candidates);
  return best.empty() ? "" : "did you mean \"" + best + "\"?";
}

std::string join(const std::vector<std::string>& words, std::string_view separator) {
  std::string text;
  for (const auto& word : words) {
    if (!text.empty()) text += separator;
    text += word;
  }
  return text;
}

namespace {
thread_local bool broken = false;
}  // namespace

bool invariant_is_broken() {
  return broken;
}

void invariant_broken(const char* condition, const char* file, int line, const std::string& context) {
  broken = true;
  fmt::print(stderr, "attnlab: broken invariant: {} ({}:{}): {}\n", condition, file, line, context);
  std::abort();
}

}  // namespace attnlab::base
