// What pipelines cost in bytes: the rows of the table, and the section of report.html.
#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "core/report/format.hpp"
#include "core/report/sections.hpp"
#include "core/report/table.hpp"
#include "core/report/text.hpp"

namespace attnlab::report {
namespace {

/// "512 B", "0.500 B", "1.50 KiB"; "0" without a unit; "-" for NaN.
std::string bytes_text(double bytes) {
  if (!(bytes >= 1023.5 && bytes < 0x1p63))
    return number(bytes) + (std::isfinite(bytes) && bytes != 0 ? " B" : "");
  return byte_size(static_cast<uint64_t>(std::llround(bytes)));
}

double share(double part, double whole) {
  return whole > 0 ? part / whole : std::numeric_limits<double>::quiet_NaN();
}

bool is_free(const measure::StageCost& stage) {
  return stage.index_bytes_per_token == 0 && stage.index_bytes_per_sequence == 0 &&
         stage.state_bytes_per_token == 0 && stage.search_bytes_per_query == 0;
}

CostRow row_of(const measure::RunRecord& run, const std::string& name, const measure::StageCost& cost,
               double attended) {
  const double per_token = cost.index_bytes_per_token + cost.state_bytes_per_token;
  const double read = cost.search_bytes_per_query + attended;
  return {name,
          {bytes_text(cost.index_bytes_per_token), bytes_text(cost.state_bytes_per_token),
           percent(share(per_token, run.input.kv_bytes_per_token)), bytes_text(cost.index_bytes_per_sequence),
           bytes_text(cost.search_bytes_per_query), bytes_text(attended),
           percent(share(read, run.input.dense_bytes_per_query))}};
}

}  // namespace

const std::vector<std::pair<std::string, std::string>>& cost_headings() {
  static const std::vector<std::pair<std::string, std::string>> headings{
      {"index bytes per token", "records that the method keeps per token and per page, as allocated"},
      {"state bytes per token", "other (opaque) state, by the method's own account"},
      {"share of KV", "both, relative to the key and value of a token"},
      {"index bytes per sequence", "records that the method keeps once per sequence"},
      {"search bytes per query", "read to choose keys, as if each query were answered alone"},
      {"attended bytes per query", "keys and values that any query head of the group attends to"},
      {"read", "search and attended bytes, relative to what dense attention reads"}};
  return headings;
}

double read_share(const measure::RunRecord& run, const measure::PipelineRecord& pipeline) {
  if (!pipeline.failure.empty()) return std::numeric_limits<double>::quiet_NaN();
  return share(pipeline.cost.search_bytes_per_query() + pipeline.cost.attended_bytes_per_query,
               run.input.dense_bytes_per_query);
}

std::vector<CostRow> cost_rows(const measure::RunRecord& run) {
  std::vector<CostRow> rows;
  for (const measure::PipelineRecord& pipeline : run.pipelines) {
    if (!pipeline.failure.empty()) continue;
    const measure::Cost& cost = pipeline.cost;
    measure::StageCost sum;
    for (const measure::StageCost& stage : cost.stages) {
      sum.index_bytes_per_token += stage.index_bytes_per_token;
      sum.index_bytes_per_sequence += stage.index_bytes_per_sequence;
      sum.state_bytes_per_token += stage.state_bytes_per_token;
      sum.search_bytes_per_query += stage.search_bytes_per_query;
    }
    rows.push_back(row_of(run, pipeline.name, sum, cost.attended_bytes_per_query));
    if (cost.stages.size() < 2) continue;
    for (const measure::StageCost& stage : cost.stages) {
      if (is_free(stage)) continue;
      CostRow row = row_of(run, stage.name, stage, 0);
      row.is_stage = true;
      row.cells[5] = "";  // stages attend together
      row.cells[6] = percent(share(stage.search_bytes_per_query, run.input.dense_bytes_per_query));
      rows.push_back(std::move(row));
    }
  }
  return rows;
}

std::string cost_line(const measure::InputRecord& input) {
  return fmt::format(
      "Bytes of one KV head in float32, averaged over layers and queries. The KV cache holds {} per token; "
      "dense attention reads {} for a query, which the query heads of a group share.",
      bytes_text(input.kv_bytes_per_token), bytes_text(input.dense_bytes_per_query));
}

std::string cost_section(const measure::RunRecord& run) {
  const std::vector<CostRow> rows = cost_rows(run);
  if (rows.empty() || !(run.input.kv_bytes_per_token > 0)) return "";
  std::string head = R"(<th class="who" scope="col">pipeline</th>)", meanings, body;
  for (const auto& [title, meaning] : cost_headings()) {
    head += fmt::format(R"(<th scope="col" title="{}">{}</th>)", meaning, title);
    meanings += fmt::format("<dt>{}</dt><dd>{}</dd>", title, meaning);
  }
  for (const CostRow& row : rows) {
    body += fmt::format(R"(<tr{}><th class="who" scope="row"><span class="clamp">{}</span></th>)",
                        row.is_stage ? R"( class="part")" : "", html_text(row.name));
    for (const std::string& cell : row.cells) body += "<td>" + cell + "</td>";
    body += "</tr>";
  }
  return R"(<section id="cost"><h2>Cost</h2><p class="small">)" + html_text(cost_line(run.input)) +
         R"(</p><div class="scroll" tabindex="0" role="region" aria-label="cost of the pipelines"><table class="grid-table wide"><thead><tr>)" +
         head + "</tr></thead><tbody>" + body +
         "</tbody></table></div><details><summary>What the columns mean</summary><dl>" + meanings +
         "</dl></details></section>";
}

}  // namespace attnlab::report
