#include "core/report/plain_table.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/report/assets.hpp"
#include "core/report/text.hpp"

namespace attnlab::report {

std::string plain_text(const PlainTable& table) {
  std::vector<int> widths(table.rows[0].size(), 0);
  for (const auto& row : table.rows) {
    for (size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], display_width(clean(row[c])));
  }
  std::string text = table.title + "\n";
  for (const auto& row : table.rows) {
    std::string line;
    for (size_t c = 0; c < row.size(); ++c) {
      line += "  ";
      line += c < table.left ? pad_right(clean(row[c]), widths[c]) : pad_left(clean(row[c]), widths[c]);
    }
    text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return text;
}

std::string plain_markdown(const PlainTable& table) {
  std::string text = "## " + table.title + "\n\n" + markdown_text(table.about) + "\n\n";
  for (size_t r = 0; r < table.rows.size(); ++r) {
    for (const std::string& cell : table.rows[r]) text += "| " + markdown_text(cell) + " ";
    text += "|\n";
    if (r > 0) continue;
    for (size_t c = 0; c < table.rows[0].size(); ++c) text += c < table.left ? "|---" : "|---:";
    text += "|\n";
  }
  return text;
}

std::string plain_html(const PlainTable& table) {
  std::string html = "<h3>" + html_text(table.title) + "</h3>";
  if (!table.about.empty()) html += "<p class=\"small\">" + html_text(table.about) + "</p>";
  html += fmt::format(
      R"(<div class="scroll" tabindex="0" role="region" aria-label="{}"><table class="grid-table">)",
      html_text(table.title));
  for (size_t r = 0; r < table.rows.size(); ++r) {
    html += r == 0 ? "<thead><tr>" : "<tr>";
    for (size_t c = 0; c < table.rows[r].size(); ++c) {
      const char* tag = r == 0 || c == 0 ? "th" : "td";
      html += fmt::format("<{0}{1}>{2}</{0}>", tag, c < table.left ? " class=\"word\"" : "",
                          html_text(table.rows[r][c]));
    }
    html += r == 0 ? "</tr></thead><tbody>" : "</tr>";
  }
  return html + "</tbody></table></div>";
}

std::string page_head(const std::string& title, const std::string& style, Scripts scripts) {
  std::string page =
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none';style-src 'unsafe-inline'";
  page += scripts == Scripts::own ? ";script-src 'unsafe-inline'" : "";
  page += "\"><title>" + html_text(title) + "</title>\n<style>\n";
  page += style_sheet;
  page += style;
  return page + "</style></head>\n<body><main>\n";
}

}  // namespace attnlab::report
