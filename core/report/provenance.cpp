// The command and what a result depends on, in report.html.
#include <fmt/format.h>

#include "core/report/format.hpp"
#include "core/report/sections.hpp"
#include "core/report/text.hpp"

namespace attnlab::report {
namespace {

using io::Json;

/// A member as people read it; "" where there is none.
std::string text_of(const Json& json, const char* key) {
  if (!json.is_object() || !json.contains(key)) return "";
  const Json& value = json[key];
  return value.is_string() ? value.get<std::string>() : io::line_text(value);
}

std::string bytes_of(const Json& json, const char* key) {
  if (!json.is_object() || !json.contains(key) || !json[key].is_number_unsigned()) return "";
  return byte_size(json[key].get<uint64_t>());
}

std::string joined(std::initializer_list<std::string> parts) {
  std::string text;
  for (const std::string& part : parts) {
    if (!part.empty()) text += (text.empty() ? "" : ", ") + part;
  }
  return text;
}

std::string labelled(const char* label, const std::string& text) {
  return text.empty() ? "" : label + (" " + text);
}

std::string file_rows(const char* what, const Json& files) {
  std::string rows;
  if (!files.is_array()) return rows;
  for (const Json& file : files) {
    rows += fmt::format(R"(<tr><td>{}</td><td class="who">{}</td><td>{}</td><td><code>{}</code></td></tr>)",
                        what, html_text(text_of(file, "path")), html_text(bytes_of(file, "bytes")),
                        html_text(text_of(file, "hash")));
  }
  return rows;
}

}  // namespace

std::string provenance_section(const measure::RunRecord& run) {
  std::string html = R"(<section id="provenance"><h2>Provenance</h2><pre id="command" tabindex="0">)" +
                     html_text(run.command) + "</pre>";
  const Json& record = run.provenance;
  if (!record.is_object()) return html + "</section>";
  const auto part = [&](const char* key) { return record.contains(key) ? record[key] : Json(); };
  const Json build = part("build"), machine = part("machine");
  std::string facts;
  const auto fact = [&](const char* label, const std::string& text) {
    if (!text.empty()) facts += fmt::format("<dt>{}</dt><dd>{}</dd>", label, html_text(text));
  };
  fact("started", text_of(record, "started"));
  fact("run id", run.run_id);
  fact("seed", text_of(record, "seed"));
  fact("build", joined({labelled("attnlab", text_of(build, "attnlab")),
                        labelled("plugin ABI", text_of(build, "plugin_abi")), text_of(build, "compiler")}));
  fact("flags", text_of(build, "flags"));
  fact("machine", joined({text_of(machine, "cpu"), labelled("cores", text_of(machine, "cores")),
                          bytes_of(machine, "memory_bytes"), text_of(machine, "system")}));
  fact("SIMD target", text_of(record, "simd_target"));
  fact("threads", text_of(record, "threads"));
  const Json warnings = part("warnings");
  for (size_t i = 0; warnings.is_array() && i < warnings.size(); ++i) {
    fact("warning", warnings[i].is_string() ? warnings[i].get<std::string>() : "");
  }
  html += "<dl>" + facts + "</dl>";
  const std::string files = file_rows("input", part("inputs")) + file_rows("plugin", part("plugins"));
  if (files.empty()) return html + "</section>";
  return html +
         R"(<details><summary>Input and plugin files</summary><div class="scroll" tabindex="0" role="region" aria-label="files"><table class="grid-table files"><thead><tr><th scope="col">kind</th><th scope="col" class="who">file</th><th scope="col">size</th><th scope="col">hash</th></tr></thead><tbody>)" +
         files + "</tbody></table></div></details></section>";
}

}  // namespace attnlab::report
