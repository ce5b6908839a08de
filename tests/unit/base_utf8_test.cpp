#include "core/base/utf8.hpp"

#include <gtest/gtest.h>
#include <attnlab/philox.hpp>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/base/error.hpp"
#include "core/io/json.hpp"

namespace attnlab::base {
namespace {

TEST(BaseUtf8, RefusesEachMalformedSequence) {
  const std::map<std::string, std::vector<std::string>> bad = {
      {"stray continuation", {"\x80", "\xbf"}},
      {"overlong",
       {"\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xe0\x9f\xbf", "\xf0\x80\x80\x80", "\xf0\x8f\xbf\xbf"}},
      {"truncated", {"\xc3", "\xe2\x82", "\xf0\x9f\x98"}},
      {"no continuation", {"\xc3(", "\xe2(\xa1", "\xe2\x82(", "\xf0\x9f\x98(", "\xc3\xc3\xa9"}},
      {"surrogate", {"\xed\xa0\x80", "\xed\xbf\xbf"}},
      {"past U+10FFFF", {"\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xf7\xbf\xbf\xbf", "\xf8\x88\x80\x80\x80"}},
      {"no byte of UTF-8", {"\xfe", "\xff"}}};
  for (const auto& [reason, sequences] : bad) {
    for (const auto& bytes : sequences) {
      SCOPED_TRACE(reason + ": " + escape_unprintable(bytes));
      EXPECT_EQ(first_character(bytes).size, 0u);
      EXPECT_EQ(first_malformed("aé" + bytes), 3u);
      EXPECT_EQ(first_malformed("aé" + bytes + "plain"), 3u);
    }
  }
  EXPECT_EQ(first_character("").size, 0u);
}

TEST(BaseUtf8, ReadsNothingBeyondItsEnd) {
  const std::string_view text = "é日😀";  // of 2, 3 and 4 bytes
  for (const auto& [begin, size] : {std::pair(0u, 2u), std::pair(2u, 3u), std::pair(5u, 4u)}) {
    EXPECT_EQ(first_character(text.substr(begin, size)).size, size);
    for (size_t part = 1; part < size; ++part) EXPECT_EQ(first_character(text.substr(begin, part)).size, 0u);
  }
}

TEST(BaseUtf8, ReadsEveryCodePoint) {
  for (uint32_t code = 0; code <= 0x10ffff; ++code) {
    if (code == 0xd800) code = 0xe000;
    std::string text;
    append_character(text, code);
    const Character character = first_character(text);
    ASSERT_EQ(character.code, code);
    ASSERT_EQ(character.size, text.size());
    ASSERT_EQ(text.size(), code < 0x80 ? 1u : code < 0x800 ? 2u : code < 0x10000 ? 3u : 4u);
  }
}

TEST(BaseUtf8, AgreesWithTheJsonLibraryOnWhatIsUtf8) {
  Philox random(5);
  const std::string bytes = "a\x7f\x80\x8f\x90\x9f\xa0\xbf\xc2\xdf\xe0\xe1\xed\xef\xf0\xf1\xf4";
  int malformed = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string text;
    for (uint64_t size = random.below(6); size > 0; --size) text += bytes[random.below(bytes.size())];
    bool refused = false;
    try {
      static_cast<void>(io::Json(text).dump());
    } catch (const io::Json::type_error&) {
      refused = true;
    }
    malformed += refused;
    ASSERT_EQ(is_utf8(text), !refused) << escape_unprintable(text);
  }
  EXPECT_GT(malformed, 500);
  EXPECT_LT(malformed, 2900);
}

}  // namespace
}  // namespace attnlab::base
