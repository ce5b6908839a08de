// Text as token ids: one token per character or per byte.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/io/json.hpp"

namespace attnlab::data {

/// Names of the kinds, as a config has them: "characters", "bytes".
const std::vector<std::string>& tokeniser_kinds();

/// A value type. "characters": the ids number an alphabet of Unicode code points in ascending order. "bytes":
/// the id is the byte, any text is allowed.
class Tokeniser {
 public:
  enum class Kind { characters, bytes };

  /// The alphabet is all characters of `text`. Throws UserError for text that is empty or not UTF-8; `name`
  /// is the file of these errors.
  static Tokeniser characters(std::string_view text, const std::string& name = "text");
  static Tokeniser bytes();
  /// Of the kind with this name; "bytes" ignores the text. Throws UserError for an unknown kind.
  static Tokeniser of_kind(const std::string& kind, std::string_view text, const std::string& name = "text");
  /// What `to_json` wrote. Throws UserError for anything else; `file` and `pointer` say where `json` stands.
  static Tokeniser from_json(const io::Json& json, const std::string& file = "",
                             const std::string& pointer = "");

  /// {"kind": "characters", "alphabet": "..."} or {"kind": "bytes"}.
  io::Json to_json() const;

  Kind kind() const { return kind_; }
  /// Ids are in [0, vocabulary_size()).
  int64_t vocabulary_size() const;

  /// Throws UserError for the first character outside the alphabet, with its line and column in `name`.
  std::vector<int32_t> encode(std::string_view text, const std::string& name = "text") const;
  /// Bytes that a model chose need not be UTF-8. Throws UserError for ids outside the vocabulary.
  std::string decode(std::span<const int32_t> ids) const;

  bool operator==(const Tokeniser&) const = default;

 private:
  Tokeniser(Kind kind, std::vector<uint32_t> alphabet) : kind_(kind), alphabet_(std::move(alphabet)) {}
  std::string alphabet_text() const;
  [[noreturn]] void refuse_character(std::string_view text, size_t offset, const std::string& name) const;

  Kind kind_;
  std::vector<uint32_t> alphabet_;  ///< code points, ascending and distinct; empty for bytes
};

}  // namespace attnlab::data
