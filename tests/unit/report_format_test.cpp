// Numbers and user text as reports print them.
#include "core/report/format.hpp"

#include "core/report/text.hpp"
#include "tests/unit/report_test_support.hpp"

namespace attnlab::report {
namespace {

TEST(ReportFormatTest, Numbers) {
  const std::vector<std::pair<double, std::string>> cases{{0, "0"},
                                                          {-0.0, "0"},
                                                          {nan, "-"},
                                                          {infinity, "inf"},
                                                          {-infinity, "-inf"},
                                                          {1, "1.00"},
                                                          {12.34, "12.3"},
                                                          {9.996, "10.0"},
                                                          {0.0123456, "0.0123"},
                                                          {0.01, "0.0100"},
                                                          {0.0099, "9.90e-3"},
                                                          {3.21e-3, "3.21e-3"},
                                                          {9.999e-3, "0.0100"},
                                                          {1234.5, "1234"},
                                                          {99999, "1.00e5"},
                                                          {-0.5, "-0.500"},
                                                          {1e300, "1.00e300"},
                                                          {5e-324, "4.94e-324"}};
  for (const auto& [value, text] : cases) EXPECT_EQ(number(value), text) << value;
  EXPECT_EQ(number(0.002, 1), "2e-3");
  EXPECT_EQ(number(0.5, 1), "0.5");
  EXPECT_EQ(number(10, 1), "10");
}

TEST(ReportFormatTest, PercentagesNeverRoundUpToAll) {
  const std::vector<std::pair<double, std::string>> cases{
      {0.101, "10.1 %"},      {1, "100 %"},      {0, "0 %"},           {0.9996, "99.96 %"},
      {0.99999, "99.999 %"},  {0.997, "99.7 %"}, {1 - 1e-9, "<100 %"}, {0.00123, "0.123 %"},
      {1e-6, "1.00e-4 %"},    {1.2, "120 %"},    {nan, "-"},           {infinity, "inf"},
      {-5e299, "-5.00e301 %"}};
  for (const auto& [value, text] : cases) EXPECT_EQ(percent(value), text) << value;
}

TEST(ReportFormatTest, DurationsAndBytes) {
  EXPECT_EQ(duration(0), "0 s");
  EXPECT_EQ(duration(3.4e-4), "340 µs");
  EXPECT_EQ(duration(0.99996e-3), "1.00 ms");
  EXPECT_EQ(duration(0.0123), "12.3 ms");
  EXPECT_EQ(duration(1.234), "1.23 s");
  EXPECT_EQ(duration(4500), "75.0 min");
  EXPECT_EQ(duration(nan), "-");
  EXPECT_EQ(duration(infinity), "inf");
  EXPECT_EQ(byte_size(0), "0 B");
  EXPECT_EQ(byte_size(1023), "1023 B");
  EXPECT_EQ(byte_size(1536), "1.50 KiB");
  EXPECT_EQ(byte_size((uint64_t{1} << 20) - 1), "1.00 MiB");
  EXPECT_EQ(byte_size(~uint64_t{0}), "1.68e7 TiB");
}

TEST(ReportFormatTest, IdRanges) {
  EXPECT_EQ(id_ranges({}), "");
  EXPECT_EQ(id_ranges({0, 1, 2, 3, 8, 12, 13}), "0-3, 8, 12, 13");
  EXPECT_EQ(id_ranges({5, 4, 3}), "5, 4, 3");
}

TEST(ReportTextTest, CleanMakesAnyBytesOneLineOfUtf8) {
  EXPECT_EQ(clean("größe 注意 🎯"), "größe 注意 🎯");
  EXPECT_EQ(clean("a\nb\tc"), "a b c");
  EXPECT_EQ(clean("a\nb", true), "a\nb");
  // ESC, NUL, a right-to-left override, a lone lead byte, an overlong slash, a surrogate.
  EXPECT_EQ(clean(std::string_view("\x1b[1m\0", 5)), "\uFFFD[1m\uFFFD");
  EXPECT_EQ(clean("\u202E"), "\uFFFD");
  EXPECT_EQ(clean("\xE6x"), "\uFFFDx");
  EXPECT_EQ(clean("\xC0\xAF"), "\uFFFD\uFFFD");
  EXPECT_EQ(clean("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(clean("\xF0\x9F\x8E"), "\uFFFD\uFFFD\uFFFD");
}

TEST(ReportTextTest, WidthAndShortening) {
  EXPECT_EQ(display_width("größe"), 5);
  EXPECT_EQ(display_width("注意力"), 6);
  EXPECT_EQ(display_width("e\u0301"), 1);
  EXPECT_EQ(shorten("short", 5), "short");
  EXPECT_EQ(shorten("abcdefghij", 7), "abc…hij");
  EXPECT_EQ(shorten("abcdefghij", 1), "…");
  for (int width = 1; width < 12; ++width) EXPECT_LE(display_width(shorten("注意力注意力", width)), width);
}

TEST(ReportTextTest, WrapKeepsWordsAndIndents) {
  EXPECT_EQ(wrap("one two three", 9, 2), "one two\n  three");
  EXPECT_EQ(wrap("one two three", 0, 2), "one two three");
  EXPECT_EQ(wrap("incomprehensibilities yes", 5, 1), "incomprehensibilities\n yes");
  EXPECT_EQ(wrap("", 5, 1), "");
}

TEST(ReportTextTest, Escapes) {
  EXPECT_EQ(html_text("<a href=\"x\">'&'</a>"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;");
  EXPECT_EQ(markdown_text("top_k _x_ a|b `c` <d>"), "top_k \\_x\\_ a\\|b \\`c\\` \\<d\\>");
  EXPECT_EQ(csv_text("plain"), "plain");
  EXPECT_EQ(csv_text("a,\"b\"\nc"), "\"a,\"\"b\"\" c\"");
}

}  // namespace
}  // namespace attnlab::report
