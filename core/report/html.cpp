// report.html.
#include <fmt/format.h>

#include "core/report/assets.hpp"
#include "core/report/report.hpp"
#include "core/report/sections.hpp"
#include "core/report/table.hpp"
#include "core/report/text.hpp"

namespace attnlab::report {
namespace {

std::string header(const measure::RunRecord& run) {
  std::string html = "<header><h1>" + html_text(title_of(run)) + "</h1><dl>";
  Facts facts = input_facts(run.input);
  for (const auto& [label, text] : check_facts(run)) facts.emplace_back("check", label + ": " + text);
  for (const auto& [label, text] : facts) {
    html += fmt::format("<dt>{}</dt><dd>{}</dd>", html_text(label), html_text(text));
  }
  html += "</dl>";
  if (!run.notes.empty()) {
    html += R"(<div class="notes"><h2>Notes</h2><ul>)";
    for (const std::string& note : run.notes) html += "<li>" + html_text(note) + "</li>";
    html += "</ul></div>";
  }
  return html + "</header>";
}

}  // namespace

std::string html(const measure::RunRecord& run) {
  bool numbered = false;
  const std::string plot = plot_section(run, numbered);
  std::string page =
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
      // Nothing may be fetched, whatever a name manages to say.
      "<meta http-equiv=\"Content-Security-Policy\" "
      "content=\"default-src 'none';style-src 'unsafe-inline';script-src 'unsafe-inline'\"><title>" +
      html_text(title_of(run)) + "</title>\n<style>\n";
  page += style_sheet;
  page += "</style></head>\n<body><main>\n";
  for (const std::string& section :
       {header(run), comparison_section(run, numbered), plot, head_section(run), mask_section(run),
        cost_section(run), time_section(run), provenance_section(run)}) {
    page += section + "\n";
  }
  page += fmt::format("<footer class=\"small\">Run {}, attnlab {}</footer></main>\n", html_text(run.run_id),
                      html_text(run.version));
  page += "<script type=\"application/json\" id=\"run-data\">" + page_data(run) + "</script>\n<script>\n";
  page += script;
  return page + "</script></body></html>\n";
}

}  // namespace attnlab::report
