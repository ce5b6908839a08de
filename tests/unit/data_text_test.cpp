#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/data/text.hpp"
#include "tests/unit/data_test_support.hpp"
#include "tests/unit/io_test_support.hpp"

namespace attnlab::data {
namespace {

using base::Mistake;
using base::UserError;
using ::testing::HasSubstr;

TEST(DataText, CountsLinesAndCharacters) {
  const std::string text = "añ\n\n日本x";
  const auto place = [&](size_t offset) {
    const TextPlace found = place_of(text, offset);
    return std::pair(found.line, found.column);
  };
  EXPECT_EQ(place(0), std::pair(1, 1));
  EXPECT_EQ(place(3), std::pair(1, 3)) << "the line end belongs to its line";
  EXPECT_EQ(place(4), std::pair(2, 1));
  EXPECT_EQ(place(5), std::pair(3, 1));
  EXPECT_EQ(place(8), std::pair(3, 2));
  EXPECT_EQ(place(11), std::pair(3, 3));
}

TEST(DataText, ReadsFilesAsTheyAre) {
  const io::TemporaryFolder folder;
  const std::string text = std::string("\xef\xbb\xbfone\r\ntwo\0three", 16) + "😀";
  io::write_bytes(folder / "text", text);
  EXPECT_EQ(read_text(folder / "text"), text);
  io::write_bytes(folder / "latin", "caf\xe9");
  EXPECT_EQ(read_text(folder / "latin", TextEncoding::bytes), "caf\xe9");
}

TEST(DataText, RefusesFilesThatAreNoText) {
  const io::TemporaryFolder folder;
  for (const auto encoding : {TextEncoding::utf8, TextEncoding::bytes}) {
    const UserError missing = error_of([&] { read_text(folder / "none", encoding); });
    EXPECT_EQ(missing.mistake().file, folder / "none");
    EXPECT_THAT(missing.summary(), HasSubstr("No such file"));
    const UserError is_folder = error_of([&] { read_text(folder.path(), encoding); });
    EXPECT_EQ(is_folder.mistake().file, folder.path());
    EXPECT_THAT(is_folder.summary(), HasSubstr("folder"));
    io::write_bytes(folder / "empty", "");
    const UserError empty = error_of([&] { read_text(folder / "empty", encoding); });
    EXPECT_EQ(empty.mistake().file, folder / "empty");
    EXPECT_THAT(empty.summary(), HasSubstr("empty"));
  }
}

TEST(DataText, SaysWhereAFileIsNotUtf8AndWhatToDo) {
  const io::TemporaryFolder folder;
  io::write_bytes(folder / "latin", "né\nun caf\xe9 noir");
  const Mistake mistake = mistake_of([&] { read_text(folder / "latin"); });
  EXPECT_EQ(mistake.file, folder / "latin");
  EXPECT_EQ(mistake.line, 2);
  EXPECT_EQ(mistake.column, 7);
  EXPECT_EQ(mistake.found, "byte 0xE9 at offset 10");
  EXPECT_THAT(mistake.suggestion, HasSubstr("\"bytes\""));
  EXPECT_THAT(mistake.suggestion, HasSubstr("iconv -f LATIN1 -t UTF-8"));
  io::write_bytes(folder / "utf16", std::string("\xff\xfe"
                                                "a\0",
                                                4));
  EXPECT_THAT(mistake_of([&] { read_text(folder / "utf16"); }).suggestion, HasSubstr("iconv -f UTF-16"));
}

}  // namespace
}  // namespace attnlab::data
