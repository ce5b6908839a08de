#include "core/data/tokeniser.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <functional>

#include "core/base/error.hpp"
#include "core/base/utf8.hpp"
#include "core/data/text.hpp"

namespace attnlab::data {
namespace {

using io::Json;

constexpr int64_t byte_values = 256;

/// "é" (U+00E9)
std::string shown(std::string_view character) {
  return fmt::format("{} (U+{:04X})", Json(character).dump(), base::first_character(character).code);
}

/// The code points of well-formed text.
std::vector<uint32_t> code_points(std::string_view text) {
  std::vector<uint32_t> codes;
  while (!text.empty()) {
    const base::Character character = base::first_character(text);
    codes.push_back(character.code);
    text.remove_prefix(character.size);
  }
  return codes;
}

[[noreturn]] void refuse_kind(const std::string& kind, const std::string& file, const std::string& pointer) {
  throw base::UserError("unknown tokeniser", {.file = file,
                                              .pointer = pointer,
                                              .found = kind,
                                              .allowed = base::join(tokeniser_kinds()),
                                              .suggestion = base::did_you_mean(kind, tokeniser_kinds())});
}

/// The alphabet of a tokeniser read from a file.
std::vector<uint32_t> read_alphabet(const Json& json, const std::string& file, const std::string& pointer) {
  const auto refuse = [&](const std::string& found) {
    throw base::UserError("bad alphabet of a tokeniser",
                          {.file = file,
                           .pointer = pointer + "/alphabet",
                           .found = found,
                           .allowed = "a text with each character once, in the order of code points"});
  };
  const auto member = json.find("alphabet");
  if (member == json.end()) refuse("nothing");
  if (!member->is_string()) refuse(member->type_name());
  const auto& text = member->get_ref<const std::string&>();
  if (text.empty()) refuse("an empty text");
  if (!base::is_utf8(text)) refuse("malformed UTF-8");
  std::vector<uint32_t> codes = code_points(text);
  const auto disorder = std::adjacent_find(codes.begin(), codes.end(), std::greater_equal<>());
  if (disorder != codes.end()) refuse(fmt::format("U+{:04X} before U+{:04X}", disorder[0], disorder[1]));
  return codes;
}

}  // namespace

const std::vector<std::string>& tokeniser_kinds() {
  static const std::vector<std::string> kinds = {"characters", "bytes"};
  return kinds;
}

Tokeniser Tokeniser::characters(std::string_view text, const std::string& name) {
  if (text.empty()) throw base::UserError("an empty text has no alphabet", {.file = name});
  check_utf8(text, name);
  std::vector<bool> present(0x110000);
  for (size_t at = 0; at < text.size();) {
    const base::Character character = base::first_character(text.substr(at));
    present[character.code] = true;
    at += character.size;
  }
  std::vector<uint32_t> alphabet;
  for (uint32_t code = 0; code < present.size(); ++code) {
    if (present[code]) alphabet.push_back(code);
  }
  return {Kind::characters, std::move(alphabet)};
}

Tokeniser Tokeniser::bytes() {
  return {Kind::bytes, {}};
}

Tokeniser Tokeniser::of_kind(const std::string& kind, std::string_view text, const std::string& name) {
  if (kind == "characters") return characters(text, name);
  if (kind == "bytes") return bytes();
  refuse_kind(kind, "", "");
}

Tokeniser Tokeniser::from_json(const Json& json, const std::string& file, const std::string& pointer) {
  if (!json.is_object()) {
    throw base::UserError("not a tokeniser", {.file = file,
                                              .pointer = pointer,
                                              .found = json.type_name(),
                                              .allowed = "an object with \"kind\" and \"alphabet\""});
  }
  const auto member = json.find("kind");
  const std::string kind_pointer = pointer + "/kind";
  if (member == json.end()) refuse_kind("nothing", file, kind_pointer);
  if (!member->is_string()) refuse_kind(member->type_name(), file, kind_pointer);
  const auto& kind = member->get_ref<const std::string&>();
  if (kind == "bytes") return bytes();
  if (kind != "characters") refuse_kind(kind, file, kind_pointer);
  return {Kind::characters, read_alphabet(json, file, pointer)};
}

Json Tokeniser::to_json() const {
  if (kind_ == Kind::bytes) return {{"kind", "bytes"}};
  return {{"kind", "characters"}, {"alphabet", alphabet_text()}};
}

int64_t Tokeniser::vocabulary_size() const {
  return kind_ == Kind::bytes ? byte_values : static_cast<int64_t>(alphabet_.size());
}

std::vector<int32_t> Tokeniser::encode(std::string_view text, const std::string& name) const {
  std::vector<int32_t> ids;
  ids.reserve(text.size());
  if (kind_ == Kind::bytes) {
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  check_utf8(text, name);
  for (size_t at = 0; at < text.size();) {
    const base::Character character = base::first_character(text.substr(at));
    const auto found = std::lower_bound(alphabet_.begin(), alphabet_.end(), character.code);
    if (found == alphabet_.end() || *found != character.code) refuse_character(text, at, name);
    ids.push_back(static_cast<int32_t>(found - alphabet_.begin()));
    at += character.size;
  }
  return ids;
}

std::string Tokeniser::decode(std::span<const int32_t> ids) const {
  std::string text;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocabulary_size()) {
      throw base::UserError("a token outside the vocabulary",
                            {.pointer = fmt::format("[{}]", i),
                             .found = std::to_string(ids[i]),
                             .allowed = fmt::format("an id from 0 to {}", vocabulary_size() - 1)});
    }
    if (kind_ == Kind::bytes) {
      text += static_cast<char>(ids[i]);
    } else {
      base::append_character(text, alphabet_[static_cast<size_t>(ids[i])]);
    }
  }
  return text;
}

std::string Tokeniser::alphabet_text() const {
  std::string text;
  for (const uint32_t code : alphabet_) base::append_character(text, code);
  return text;
}

void Tokeniser::refuse_character(std::string_view text, size_t offset, const std::string& name) const {
  constexpr size_t listed = 128;  // alphabets of most languages, not thousands of ideographs
  std::string alphabet;
  for (size_t i = 0; i < std::min(listed, alphabet_.size()); ++i)
    base::append_character(alphabet, alphabet_[i]);
  const TextPlace place = place_of(text, offset);
  const std::string_view rest = text.substr(offset);
  throw base::UserError(
      "a character outside the tokeniser's alphabet",
      {.file = name,
       .line = place.line,
       .column = place.column,
       .found = shown(rest.substr(0, base::first_character(rest).size)),
       .allowed = fmt::format("the {} characters {}{}", alphabet_.size(), Json(alphabet).dump(),
                              alphabet_.size() > listed ? " and so on" : ""),
       .suggestion = "the tokeniser \"bytes\" takes any text"});
}

}  // namespace attnlab::data
