// User errors, the nearest word, and hashes.
#include "core/base/error.hpp"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include "core/base/hash.hpp"
#include "tests/unit/io_test_support.hpp"

namespace attnlab::base {
namespace {

TEST(BaseUserError, ShowsEveryFieldThatIsSetAndNoOther) {
  EXPECT_STREQ(UserError("it is wrong").what(), "it is wrong");
  EXPECT_EQ(UserError("it is wrong").exit(), Exit::invalid);
  const UserError error("is out of range",
                        {.file = "a.json",
                         .pointer = "/seed",
                         .found = "-1",
                         .allowed = "integer >= 0",
                         .suggestion = "did you mean 1?"},
                        Exit::plugin_missing);
  EXPECT_STREQ(error.what(),
               "a.json: /seed: is out of range\n  found: -1\n  allowed: integer >= 0\n  did you mean 1?");
  EXPECT_EQ(error.summary(), "is out of range");
  EXPECT_EQ(error.mistake().pointer, "/seed");
  EXPECT_EQ(error.exit(), Exit::plugin_missing);
}

TEST(BaseUserError, IsPrintableWhateverItQuotes) {
  const UserError error("bad\x1b[31m", {.file = "a\xff", .found = std::string("\0\t", 2)});
  EXPECT_STREQ(error.what(), "a\\xff: bad\\x1b[31m\n  found: \\x00\\x09");
  EXPECT_EQ(error.mistake().file, "a\xff") << "fields keep their bytes";
}

TEST(BaseEscapeUnprintable, KeepsUtf8AndNewlines) {
  for (const char* text : {"", "a b\n~", "\u00a0\u00e9", "\u0800\ue000\uffff", "\U00010000\U0010ffff"}) {
    EXPECT_EQ(escape_unprintable(text), text);
  }
}

TEST(BaseEscapeUnprintable, WritesWhatIsNoPrintableCharacterAsBytes) {
  for (const std::string bytes :
       {"\x7f", "\r", "\x80", "\xc2", "\xc2\x80", "\xc2\x9f", "\xc0\xaf", "\xc1\xbf", "\xe0\x9f\xbf",
        "\xed\xa0\x80", "\xed\xbf\xbf", "\xe2\x82", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80", "\xff\xbf\xbf\xbf"}) {
    std::string expected;
    for (unsigned char byte : bytes) expected += fmt::format("\\x{:02x}", byte);
    EXPECT_EQ(escape_unprintable("a" + bytes + "b"), "a" + expected + "b");
  }
  EXPECT_EQ(escape_unprintable("\xe2\x82z"), "\\xe2\\x82z") << "the next character is not swallowed";
}

TEST(BaseNearest, FindsTypingSlips) {
  const std::vector<std::string> words = {"sink_size", "window_size", "seed", "heavy_size"};
  EXPECT_EQ(nearest("snik_size", words), "sink_size");  // transposition
  EXPECT_EQ(nearest("windowsize", words), "window_size");
  EXPECT_EQ(nearest("sed", words), "seed");
  EXPECT_EQ(nearest("heavy_sizes", words), "heavy_size");
  EXPECT_EQ(nearest("seed", words), "seed");
  EXPECT_EQ(did_you_mean("sead", words), "did you mean \"seed\"?");
}

TEST(BaseNearest, ATranspositionCountsOnce) {
  // If it counted as two substitutions, the first candidate would win the tie.
  EXPECT_EQ(nearest("abcd", {"axyd", "bacd"}), "bacd");
}

TEST(BaseNearest, SaysNothingWhenNothingIsNear) {
  EXPECT_EQ(nearest("completely_different", {"seed", "mode"}), "");
  EXPECT_EQ(nearest("seed", {}), "");
  EXPECT_EQ(did_you_mean("completely_different", {"seed"}), "");
  EXPECT_EQ(nearest(std::string(100000, 'x'), {"seed"}), "") << "long words would cost quadratic time";
}

TEST(BaseNearest, TheFirstOfEqualCandidatesWins) {
  EXPECT_EQ(nearest("ax", {"ab", "ac"}), "ab");
}

TEST(BaseJoin, PutsSeparatorsBetween) {
  EXPECT_EQ(join({}), "");
  EXPECT_EQ(join({"a"}), "a");
  EXPECT_EQ(join({"a", "b", "c"}), "a, b, c");
  EXPECT_EQ(join({"a", "b"}, " | "), "a | b");
}

TEST(BaseCheckDeathTest, ABrokenInvariantNamesConditionAndPlace) {
  EXPECT_DEATH(ATTNLAB_CHECK(1 + 1 == 3, "arithmetic"), "1 \\+ 1 == 3 .*base_error_test.cpp.*arithmetic");
  bool evaluated = false;
  ATTNLAB_CHECK(true, (evaluated = true, std::string()));
  EXPECT_FALSE(evaluated);
}

/// Values of the XXH3-128 canonical form, from the reference program xxhsum -H2.
TEST(BaseHash, IsXxh3Of128Bits) {
  EXPECT_EQ(hash_hex(""), "99aa06d3014798d86001c324468d497f");
  EXPECT_EQ(hash_hex("attnlab"), "f2209b814d2acac5f3210829b3a64092");
  std::string large(100000, '\0');
  for (size_t i = 0; i < large.size(); ++i) large[i] = static_cast<char>(i * 7);
  EXPECT_EQ(hash_hex(large), "4fb78cd2670dad5801271d2740e5fca3");
}

TEST(BaseHash, OfAFileIsThatOfItsBytes) {
  const io::TemporaryFolder folder;
  io::write_bytes(folder / "a", std::string("attn\0lab", 8));
  EXPECT_EQ(hash_file(folder / "a"), hash_hex(std::string_view("attn\0lab", 8)));
  io::write_bytes(folder / "empty", "");
  EXPECT_EQ(hash_file(folder / "empty"), hash_hex(""));
  EXPECT_THROW(hash_file(folder / "missing"), UserError);
}

}  // namespace
}  // namespace attnlab::base
