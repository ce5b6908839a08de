#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <attnlab/philox.hpp>
#include <limits>
#include <numeric>
#include <set>

#include "core/base/utf8.hpp"
#include "core/data/tokeniser.hpp"
#include "tests/unit/data_test_support.hpp"

namespace attnlab::data {
namespace {

using base::Mistake;
using base::UserError;
using io::Json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(DataTokeniser, NumbersCharactersByCodePoint) {
  const auto tokeniser = Tokeniser::characters("ba\né😀a");
  EXPECT_EQ(tokeniser.kind(), Tokeniser::Kind::characters);
  EXPECT_EQ(tokeniser.vocabulary_size(), 5);
  EXPECT_THAT(tokeniser.encode("\nabé😀"), ElementsAre(0, 1, 2, 3, 4));
  EXPECT_TRUE(tokeniser.encode("").empty());
}

TEST(DataTokeniser, BytesAreTheirOwnIds) {
  const auto tokeniser = Tokeniser::bytes();
  EXPECT_EQ(tokeniser.vocabulary_size(), 256);
  EXPECT_THAT(tokeniser.encode("a\xff\xc3"), ElementsAre(97, 255, 195));
  std::string all(256, '\0');
  std::iota(all.begin(), all.end(), '\0');
  EXPECT_EQ(tokeniser.decode(tokeniser.encode(all)), all);
}

TEST(DataTokeniser, DecodesWhatItEncodes) {
  Philox random(3);
  for (int i = 0; i < 50; ++i) {
    std::string text;
    for (int size = 0; size < 40; ++size) {
      const auto code = static_cast<uint32_t>(random.below(1u << (1 + random.below(20))));
      base::append_character(text, code >= 0xd800 && code <= 0xdfff ? '?' : code);
    }
    const auto tokeniser = Tokeniser::characters(text);
    const auto ids = tokeniser.encode(text);
    EXPECT_EQ(ids.size(), 40u);
    EXPECT_EQ(std::set(ids.begin(), ids.end()).size(), static_cast<size_t>(tokeniser.vocabulary_size()));
    EXPECT_EQ(tokeniser.decode(ids), text);
  }
}

TEST(DataTokeniser, NamesACharacterOutsideItsAlphabet) {
  const auto tokeniser = Tokeniser::characters("hello\nwörld");
  const UserError error = error_of([&] { tokeniser.encode("hell\nöo→", "prompt"); });
  const Mistake& mistake = error.mistake();
  EXPECT_EQ(mistake.file, "prompt");
  EXPECT_EQ(mistake.line, 2);
  EXPECT_EQ(mistake.column, 3);
  EXPECT_EQ(mistake.found, "\"→\" (U+2192)");
  EXPECT_EQ(mistake.allowed, "the 9 characters \"\\ndehlorwö\"");
  EXPECT_THAT(mistake.suggestion, HasSubstr("bytes"));
  EXPECT_THAT(error.what(), HasSubstr("prompt:2:3: "));
  EXPECT_EQ(mistake_of([&] { tokeniser.encode("\t"); }).found, "\"\\t\" (U+0009)");
}

TEST(DataTokeniser, ShowsAPartOfALargeAlphabet) {
  std::string text;
  for (uint32_t code = 0x4e00; code < 0x4e00 + 3000; ++code) base::append_character(text, code);
  const auto tokeniser = Tokeniser::characters(text);
  EXPECT_EQ(tokeniser.vocabulary_size(), 3000);
  const std::string allowed = mistake_of([&] { tokeniser.encode("a"); }).allowed;
  EXPECT_THAT(allowed, HasSubstr("the 3000 characters \"一"));
  EXPECT_THAT(allowed, HasSubstr("\" and so on"));
  EXPECT_LT(allowed.size(), 500u);
}

TEST(DataTokeniser, RefusesTextWithoutCharacters) {
  EXPECT_EQ(mistake_of([] { Tokeniser::characters("", "corpus"); }).file, "corpus");
  EXPECT_EQ(mistake_of([] { Tokeniser::characters("ab\xff", "corpus"); }).column, 3);
  EXPECT_EQ(mistake_of([] { Tokeniser::characters("ab").encode("a\n\xff"); }).line, 2);
}

TEST(DataTokeniser, RefusesIdsOutsideTheVocabulary) {
  const auto tokeniser = Tokeniser::characters("abc");
  for (const int32_t bad : {-1, 3, std::numeric_limits<int32_t>::min()}) {
    const std::vector<int32_t> ids = {0, bad};
    const Mistake mistake = mistake_of([&] { tokeniser.decode(ids); });
    EXPECT_EQ(mistake.pointer, "[1]");
    EXPECT_EQ(mistake.found, std::to_string(bad));
    EXPECT_EQ(mistake.allowed, "an id from 0 to 2");
  }
  EXPECT_THROW(Tokeniser::bytes().decode(std::vector<int32_t>{256}), UserError);
}

TEST(DataTokeniser, SurvivesJson) {
  std::string corpus = std::string("b\"a\\\n\t", 6) + '\0' + "é😀";
  base::append_character(corpus, 0x10ffff);
  for (const auto& tokeniser : {Tokeniser::characters(corpus), Tokeniser::bytes()}) {
    const std::string written = tokeniser.to_json().dump();
    EXPECT_EQ(Tokeniser::from_json(Json::parse(written)), tokeniser);
  }
  EXPECT_EQ(Tokeniser::characters("ba").to_json().dump(), R"({"kind":"characters","alphabet":"ab"})");
  EXPECT_EQ(Tokeniser::bytes().to_json().dump(), R"({"kind":"bytes"})");
  EXPECT_NE(Tokeniser::characters("ab"), Tokeniser::characters("ac"));
  EXPECT_NE(Tokeniser::characters("ab"), Tokeniser::bytes());
}

TEST(DataTokeniser, RefusesJsonThatIsNoTokeniser) {
  const auto refuse = [](const Json& json) {
    const Mistake mistake = mistake_of([&] { Tokeniser::from_json(json, "checkpoint", "/tokeniser"); });
    EXPECT_EQ(mistake.file, "checkpoint");
    return std::pair(mistake.pointer, mistake.found);
  };
  using Pair = std::pair<std::string, std::string>;
  EXPECT_EQ(refuse(3), Pair("/tokeniser", "number"));
  EXPECT_EQ(refuse(Json::object()), Pair("/tokeniser/kind", "nothing"));
  EXPECT_EQ(refuse({{"kind", 1}}), Pair("/tokeniser/kind", "number"));
  EXPECT_EQ(refuse({{"kind", "byte"}}), Pair("/tokeniser/kind", "byte"));
  const auto alphabet = [&](const Json& value) {
    return refuse({{"kind", "characters"}, {"alphabet", value}});
  };
  const std::string place = "/tokeniser/alphabet";
  EXPECT_EQ(refuse({{"kind", "characters"}}), Pair(place, "nothing"));
  EXPECT_EQ(alphabet(nullptr), Pair(place, "null"));
  EXPECT_EQ(alphabet(""), Pair(place, "an empty text"));
  EXPECT_EQ(alphabet("a\xff"), Pair(place, "malformed UTF-8"));
  EXPECT_EQ(alphabet("aba"), Pair(place, "U+0062 before U+0061"));
  EXPECT_EQ(alphabet("aab"), Pair(place, "U+0061 before U+0061"));
}

TEST(DataTokeniser, KnowsItsKindsByName) {
  EXPECT_EQ(Tokeniser::of_kind("characters", "ba"), Tokeniser::characters("ab"));
  EXPECT_EQ(Tokeniser::of_kind("bytes", ""), Tokeniser::bytes());
  const Mistake mistake = mistake_of([] { Tokeniser::of_kind("character", "a"); });
  EXPECT_EQ(mistake.found, "character");
  EXPECT_EQ(mistake.allowed, "characters, bytes");
  EXPECT_THAT(mistake.suggestion, HasSubstr("\"characters\""));
}

}  // namespace
}  // namespace attnlab::data
