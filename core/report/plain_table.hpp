// A table of words as terminal text, Markdown and HTML, and the head of a page.
#pragma once

#include <string>
#include <vector>

namespace attnlab::report {

/// Raw text, still to be escaped; row 0 is the heading.
struct PlainTable {
  std::string title, about;
  std::vector<std::vector<std::string>> rows;
  size_t left = 1;  ///< columns that are words
};

/// Title and aligned columns, without `about`. Pure, as the functions below.
std::string plain_text(const PlainTable& table);
/// A section of its own.
std::string plain_markdown(const PlainTable& table);
/// A heading, `about` where there is any, and a table that scrolls sideways.
std::string plain_html(const PlainTable& table);

/// What a page's policy allows: nothing, or the scripts within the page. Nothing may be fetched in either
/// case.
enum class Scripts { none, own };
/// Everything of a page before its first heading; `title` is raw text, `style` added to the reports' sheet.
std::string page_head(const std::string& title, const std::string& style, Scripts scripts = Scripts::none);

}  // namespace attnlab::report
