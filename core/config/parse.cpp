#include "core/config/parse.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <set>
#include <vector>

#include "core/base/utf8.hpp"

namespace attnlab::config {
namespace {

using base::Mistake;
using base::UserError;
using io::Json;

constexpr size_t place_byte_limit = size_t{16} << 20;
constexpr size_t place_limit = 100'000;

/// Offsets, asked for in ascending order, as lines and columns; O(text) for all of them together.
class PlaceCounter {
 public:
  explicit PlaceCounter(const std::string& text) : text_(text) {}
  Place at(size_t offset) {
    for (; at_ < std::min(offset, text_.size()); ++at_) {
      if (text_[at_] == '\n') {
        ++place_.line;
        place_.column = 1;
      } else if (!base::is_continuation(text_[at_])) {
        ++place_.column;
      }
    }
    return place_;
  }

 private:
  const std::string& text_;
  size_t at_ = 0;
  Place place_{1, 1};
};

/// Reads a text and counts what it has read: nlohmann's callback does not say where it is.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, size_t* count) : at_(at), count_(count) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    ++at_;
    ++*count_;
    return *this;
  }
  bool operator==(const CountingIterator& other) const { return at_ == other.at_; }
  bool operator!=(const CountingIterator& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  size_t* count_;
};

/// Where the string that ends before `end` begins, with its quote.
size_t string_start(const std::string& text, size_t end) {
  size_t at = end - 1;
  while (at > 0) {
    --at;
    if (text[at] != '"') continue;
    size_t backslashes = 0;
    while (backslashes < at && text[at - 1 - backslashes] == '\\') ++backslashes;
    if (backslashes % 2 == 0) break;
  }
  return at;
}

/// Watches a parse: where it is, keys that an object holds twice, and how deep it is.
class ParseWatch {
 public:
  ParseWatch(const std::string& text, Mistake where, TextKind kind)
      : text_(text), where_(std::move(where)), kind_(kind), counter_(text) {}

  Json parse() {
    const CountingIterator begin(text_.data(), &read_), end(text_.data() + text_.size(), &read_);
    Json json = Json::parse(begin, end, std::ref(*this), true, kind_ == TextKind::file);
    if (!excess_.empty()) throw UserError(excess_, where_);
    return json;
  }
  /// For Json::parse. False drops what was parsed.
  bool operator()(int depth, Json::parse_event_t event, Json& parsed) {
    if (depth > io::json_depth_limit) excess_ = too_deep();
    if (!open_.empty() && open_.back().keys.size() > io::json_member_limit) {
      excess_ = fmt::format("an object has more than {} members", io::json_member_limit);
    }
    if (!excess_.empty()) return false;
    switch (event) {
      case Json::parse_event_t::object_start:
      case Json::parse_event_t::array_start:
        note_element(read_ - 1);
        open_.push_back({.is_array = event == Json::parse_event_t::array_start, .start = read_ - 1});
        break;
      case Json::parse_event_t::object_end:
      case Json::parse_event_t::array_end:
        open_.pop_back();
        end_value();
        break;
      case Json::parse_event_t::value:
        note_element(scalar_start(parsed));
        end_value();
        break;
      case Json::parse_event_t::key:
        note_key(parsed.get<std::string>());
        break;
    }
    return true;
  }
  Places take_places() { return std::move(places_); }
  /// Offset of the innermost { or [ that is not closed yet, or npos.
  size_t unclosed() const { return open_.empty() ? std::string::npos : open_.back().start; }

 private:
  struct Container {
    bool is_array = false;
    size_t start = 0;
    size_t index = 0;
    std::string key{};
    std::set<std::string> keys{};
  };

  size_t scalar_start(const Json& value) const {
    if (value.is_string()) return string_start(text_, read_);
    if (value.is_boolean()) return read_ - (value.get<bool>() ? 4 : 5);
    if (value.is_null()) return read_ - 4;
    // The end of a number shows only at the character after it.
    size_t start = read_ - 1;
    while (start > 0 && (std::isalnum(static_cast<unsigned char>(text_[start - 1])) != 0 ||
                         std::string("+-.").find(text_[start - 1]) != std::string::npos)) {
      --start;
    }
    return start;
  }
  void note_key(const std::string& key) {
    open_.back().key = key;
    const Place place = counter_.at(string_start(text_, read_));
    note(place);
    if (open_.back().keys.insert(key).second) return;
    Mistake mistake = where_;
    mistake.pointer += pointer();
    if (kind_ == TextKind::file) {
      mistake.line = place.line;
      mistake.column = place.column;
    }
    throw UserError("the key \"" + key + "\" appears twice in one object", mistake);
  }
  /// An element of a list, or the outermost value; members are noted at their keys.
  void note_element(size_t start) {
    if (open_.empty() || open_.back().is_array) note(counter_.at(start));
  }
  void note(Place place) {
    if (places_.size() >= place_limit || place_bytes_ >= place_byte_limit) return;
    std::string at = pointer();
    place_bytes_ += at.size();
    places_.emplace(std::move(at), place);
  }
  void end_value() {
    if (!open_.empty()) ++open_.back().index;
  }
  std::string pointer() const {
    std::string text;
    for (const auto& container : open_) {
      text += "/" + (container.is_array ? std::to_string(container.index) : escape(container.key));
    }
    return text;
  }

  const std::string& text_;
  Mistake where_;
  TextKind kind_;
  PlaceCounter counter_;
  size_t read_ = 0;
  Places places_;
  size_t place_bytes_ = 0;
  std::vector<Container> open_;
  std::string excess_;
};

/// The last character before `offset` that is no white space, or 0.
char before(const std::string& text, size_t offset) {
  while (offset > 0 && std::isspace(static_cast<unsigned char>(text[offset - 1])) != 0) --offset;
  return offset == 0 ? '\0' : text[offset - 1];
}

/// What to do about a syntax error at `offset`; "" when it is not one of the usual slips.
std::string advice(const std::string& text, size_t offset, const std::string& reason, size_t unclosed) {
  if (before(text, text.size()) == '\0') return "the file is empty";
  if (offset >= text.size()) {
    if (unclosed == std::string::npos) return "";
    return fmt::format("the {} of line {} is not closed", text[unclosed],
                       PlaceCounter(text).at(unclosed).line);
  }
  const char found = text[offset];
  if (unclosed != std::string::npos &&
      ((text[unclosed] == '{' && found == ']') || (text[unclosed] == '[' && found == '}'))) {
    return fmt::format("the {} of line {} is not closed", text[unclosed],
                       PlaceCounter(text).at(unclosed).line);
  }
  if ((found == '}' || found == ']') && before(text, offset) == ',') {
    return fmt::format("remove the comma before the {}", found);
  }
  if (found == '#') return "comments are // to the end of the line, or /* ... */";
  if (found == '\'') return "text stands in double quotes, \" and not '";
  if (reason.find("expected '}'") != std::string::npos || reason.find("expected ']'") != std::string::npos) {
    return "is a comma missing before it?";
  }
  if (reason.find("expected ':'") != std::string::npos) return "a key and its value are separated by a colon";
  if (std::isalpha(static_cast<unsigned char>(found)) != 0 &&
      reason.find("invalid literal") != std::string::npos) {
    return "keys and text stand in double quotes; true, false and null do not";
  }
  return "";
}

/// The line that holds `offset`, without its indentation, shortened.
std::string line_at(const std::string& text, size_t offset) {
  const size_t newline =
      offset == 0 ? std::string::npos : text.rfind('\n', std::min(offset, text.size()) - 1);
  const size_t start = text.find_first_not_of(" \t", newline == std::string::npos ? 0 : newline + 1);
  if (start == std::string::npos) return "";
  std::string line = text.substr(start, std::min(text.find_first_of("\r\n", start), start + 80) - start);
  for (char& c : line) c = static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  return line;
}

[[noreturn]] void refuse_syntax(const std::string& text, Mistake mistake, const Json::parse_error& error,
                                size_t unclosed) {
  const size_t offset = error.byte == 0 ? 0 : error.byte - 1;
  const Place place = PlaceCounter(text).at(offset);
  mistake.line = place.line;
  mistake.column = place.column;
  // "[json.exception.parse_error.101] parse error at line 3, column 5: syntax error while parsing value -
  // REASON; last read: ..." -> the reason.
  std::string reason = error.what();
  for (const char* before_it : {"column ", ": ", " - "}) {
    const size_t at = reason.find(before_it);
    if (at != std::string::npos) reason = reason.substr(at + std::string(before_it).size());
  }
  if (reason.find("unexpected") == std::string::npos) reason = reason.substr(0, reason.find("; last read"));
  mistake.found = line_at(text, offset);
  mistake.suggestion = advice(text, offset, reason, unclosed);
  throw UserError("not valid JSON: " + reason, mistake);
}

}  // namespace

std::string too_deep() {
  return fmt::format("nested more than {} levels deep", io::json_depth_limit);
}

ParsedText parse_text(const std::string& text, const Mistake& where, TextKind kind) {
  ParseWatch watch(text, where, kind);
  try {
    Json json = watch.parse();
    return {std::move(json), watch.take_places()};
  } catch (const Json::out_of_range&) {
    throw UserError("a number is too large for a double", where);
  } catch (const Json::parse_error& error) {
    refuse_syntax(text, where, error, watch.unclosed());
  }
}

std::string escape(const std::string& key) {
  std::string text;
  for (char c : key) text += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
  return text;
}

std::vector<std::string> split_pointer(const std::string& pointer) {
  std::vector<std::string> tokens;
  size_t start = 1;
  while (start <= pointer.size() && !pointer.empty()) {
    size_t end = std::min(pointer.find('/', start), pointer.size());
    std::string token = pointer.substr(start, end - start);
    for (size_t at = 0; (at = token.find('~', at)) != std::string::npos; ++at) {
      token.replace(at, 2, token.compare(at, 2, "~1") == 0 ? "/" : "~");
    }
    tokens.push_back(token);
    start = end + 1;
  }
  return tokens;
}

}  // namespace attnlab::config
