// Text that users wrote, made safe for the place where it is shown.
#pragma once

#include <string>
#include <string_view>

namespace attnlab::report {

/// Valid UTF-8 on one line: line breaks and tabs become spaces, other control, line-separating and
/// direction-changing characters and malformed bytes U+FFFD. With `keep_lines` '\n' stays.
std::string clean(std::string_view text, bool keep_lines = false);

/// Cells that a clean text takes in a terminal: 2 for East Asian wide characters and emoji, 0 for combining
/// marks.
int display_width(std::string_view text);

/// A clean text of at most `width` (at least 1) cells, its middle replaced by "…" where it is longer.
std::string shorten(std::string_view text, int width);

/// Words of a clean text on lines of at most `width` cells (0 or less: unlimited), joined by "\n" and
/// `indent` spaces that count towards the width. A word longer than a line stays whole.
std::string wrap(std::string_view text, int width, int indent);

/// `text`, filled with spaces to `width` cells.
std::string pad_right(std::string text, int width);
std::string pad_left(const std::string& text, int width);

/// Clean text for HTML and SVG, attribute values included.
std::string html_text(std::string_view text);
/// Clean text for Markdown, table cells included.
std::string markdown_text(std::string_view text);
/// Clean text as a CSV field, RFC 4180 quotes where needed.
std::string csv_text(std::string_view text);

}  // namespace attnlab::report
