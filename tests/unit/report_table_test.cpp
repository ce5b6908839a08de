// The comparison on the terminal, in Markdown and as CSV.
#include "core/report/table.hpp"

#include <cmath>
#include <sstream>

#include "core/report/report.hpp"
#include "core/report/text.hpp"
#include "tests/unit/report_test_support.hpp"

namespace attnlab::report {
namespace {

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

std::string line_with(const std::string& text, const std::string& part) {
  for (const std::string& line : lines_of(text)) {
    if (contains(line, part)) return line;
  }
  return "";
}

TEST(ReportTerminalTest, OneLinePerPipelineWithEveryFigure) {
  const std::string text = terminal_table(small_run(), false, 0);
  EXPECT_EQ(
      lines_of(text)[3],
      "dense       100 %   100 %   100 %  100 %        0       0      0        0     4.50      0    1.50 s");
  EXPECT_EQ(
      lines_of(text)[4],
      "top_k      10.1 %  76.8 %  99.8 % 99.7 %  3.20e-3 9.60e-3 0.0288  1.60e-3     4.50      0    750 ms");
  EXPECT_TRUE(contains(text, "mode    decode, 16 of 64 queries on 4096 keys, causal, scale 0.1250\n"))
      << text;
  EXPECT_TRUE(contains(text, "layers  0, 3\n"));
  EXPECT_TRUE(contains(text, "shared-run clock"));
  EXPECT_FALSE(contains(text, "check"));
  EXPECT_FALSE(contains(text, "\x1b"));
}

TEST(ReportTerminalTest, ChecksAreShownOnlyWhereTheRunHasThem) {
  measure::RunRecord run = small_run();
  run.input.expected_output_difference = 3e-7;
  run.input.true_mass_difference = 0;
  run.pipelines[0].reference_error = 1e-6;
  run.pipelines[1].reference_error = nan;
  const std::string text = terminal_table(run, false, 0);
  EXPECT_TRUE(contains(text, "the input's own output: 3.00e-7\n")) << text;
  EXPECT_TRUE(contains(text, "the exact softmax: 0\n"));
  EXPECT_TRUE(contains(text, "double precision: - (top_k)\n")) << "NaN is the worst deviation of all";
}

TEST(ReportTerminalTest, NoLineIsWiderThanTheTerminal) {
  measure::RunRecord run = small_run();
  add_pipeline(run, "a_rather_long_pipeline_name_with_注意力_inside", 0.1, 0.02);
  run.pipelines[2].quality.empty_rows = 3;
  for (int width = 40; width < 140; ++width) {
    const std::string text = terminal_table(run, false, width);
    for (const std::string& line : lines_of(text)) EXPECT_LE(display_width(line), width) << line;
    EXPECT_TRUE(contains(text, "density")) << width;
  }
  EXPECT_TRUE(contains(terminal_table(run, false, 80), "hidden  no room in 80 columns for: entropy nats"));
  EXPECT_FALSE(contains(terminal_table(run, false, 120), "hidden"));
}

TEST(ReportTerminalTest, AZeroColumnGoesBeforeANameIsCut) {
  measure::RunRecord run = small_run();
  add_pipeline(run, "twenty_characters_xx", 0.1, 0.02);
  const std::string text = terminal_table(run, false, 100);
  EXPECT_TRUE(contains(text, "twenty_characters_xx "));
  EXPECT_TRUE(contains(text, "empty rows (all 0)"));
}

TEST(ReportTerminalTest, ColorOnlyAddsStyles) {
  measure::RunRecord run = small_run();
  run.pipelines[1].quality.empty_rows = 2;
  std::string colored = terminal_table(run, true, 100);
  EXPECT_TRUE(contains(colored, "\x1b[33m"));
  for (size_t at; (at = colored.find("\x1b[")) != std::string::npos;)
    colored.erase(at, colored.find('m', at) - at + 1);
  EXPECT_EQ(colored, terminal_table(run, false, 100));
}

TEST(ReportTerminalTest, AwkwardNamesStayOnTheirLines) {
  const measure::RunRecord run = awkward_run();
  const std::string text = terminal_table(run, false, 100);
  EXPECT_FALSE(contains(text, "\x1b"));
  const std::vector<std::string> lines = lines_of(text);
  for (size_t i = 0; i < 3 + run.pipelines.size(); ++i) EXPECT_LE(display_width(lines[i]), 100);
  EXPECT_EQ(lines[3 + run.pipelines.size()], "");
  EXPECT_TRUE(contains(line_with(text, "two lines"), "inf"));
}

TEST(ReportTerminalTest, NoPipelinesAndForty) {
  measure::RunRecord run = small_run();
  for (int i = 2; i < 40; ++i) add_pipeline(run, "p" + std::to_string(i), 0.1, 0.2);
  EXPECT_EQ(count(terminal_table(run, false, 100), "\np"), 1 + 38);
  run.pipelines.clear();
  EXPECT_TRUE(contains(terminal_table(run, true, 100), "pipeline"));
}

TEST(ReportTableTest, LayersAreWeightedByRows) {
  measure::RunRecord run = small_run();
  run.heads[4].quality.output_error = {30, 0.1, 0, 0, 0, 0};
  run.heads[5].quality.output_error = {10, 0.5, 0, 0, 0, 0};
  run.heads[6].quality.output_error = {0, 7, 0, 0, 0, 0};
  run.heads[7].quality.output_error = {10, nan, 0, 0, 0, 0};
  const std::vector<LayerRow> rows = layer_rows(run);
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_EQ(rows[2].pipeline, "top_k");
  EXPECT_EQ(rows[2].layer, 0);
  EXPECT_DOUBLE_EQ(rows[2].output_error, 0.2);
  EXPECT_EQ(rows[2].worst_head, 1);
  EXPECT_DOUBLE_EQ(rows[2].worst_error, 0.5);
  EXPECT_TRUE(std::isnan(rows[3].output_error));
  EXPECT_EQ(rows[3].worst_head, -1);
}

TEST(ReportTableTest, StageLine) {
  measure::PipelineRecord pipeline;
  EXPECT_EQ(stage_line(pipeline), "dense attention");
  pipeline.stages = {{"sink", "sink", {{"sink_size", 16}}}, {"heavy", "top_k", io::Json::object()}};
  EXPECT_EQ(stage_line(pipeline), "sink: sink_size=16; heavy (top_k)");
}

TEST(ReportMarkdownTest, TablesHoldTheirColumns) {
  for (const measure::RunRecord& run : {small_run(), awkward_run()}) {
    const std::string text = markdown(run);
    for (const std::string& line : lines_of(text)) {
      if (!line.starts_with("| ")) continue;
      const int64_t bars = count(line, "|") - count(line, "\\|");
      EXPECT_TRUE(bars == 13 || bars == 9 || bars == 7) << line;
    }
    EXPECT_EQ(count(text, "\n| "), 2 * (1 + static_cast<int64_t>(run.pipelines.size())) + 1 +
                                       static_cast<int64_t>(layer_rows(run).size()));
  }
  const std::string text = markdown(small_run());
  EXPECT_TRUE(contains(text, "# A small run\n"));
  EXPECT_TRUE(contains(text, "```sh\nattnlab run small.json --set /a=\"b\"\n```\n"));
  EXPECT_TRUE(contains(text, "| top_k | 0 | 10.1 % | 4.80e-3 | 1 | 6.40e-3 |\n")) << text;
  EXPECT_TRUE(contains(text, "holds 384 B per token; dense attention reads 1.49 MiB for a query"));
  EXPECT_TRUE(contains(text, "| dense | 0 | 0 | 0 % | 0 | 0 | 1.49 MiB | 100 % |\n"));
  EXPECT_TRUE(
      contains(text, "| top_k | 8.00 B | 0.500 B | 2.21 % | 512 B | 1020 KiB | 155 KiB | 76.8 % |\n"));
}

TEST(ReportMarkdownTest, StagesOfAPipelineHaveTheirOwnCost) {
  measure::RunRecord run = small_run();
  run.pipelines[1].cost.stages.push_back({"tail", 0, 0, 0, 4080 * 384});
  const std::string text = markdown(run), page = html(run);
  EXPECT_TRUE(contains(text, "| · tail | 0 | 0 | 0 % | 0 | 1.49 MiB |  | 100 % |\n")) << text;
  EXPECT_TRUE(contains(text, "| 2.49 MiB | 155 KiB | 177 % |\n"));
  EXPECT_TRUE(contains(page, "<span class=\"clamp\">tail</span></th><td>0</td>")) << page;
  run.pipelines[1].cost.stages.push_back({"free", 0, 0, 0, 0});
  EXPECT_EQ(markdown(run), text) << "stages that cost nothing have no row";
  EXPECT_FALSE(contains(html(run), "<span class=\"clamp\">free</span>"));
  run.pipelines[1].failure = "it crashed";
  EXPECT_FALSE(contains(markdown(run), "| · tail |"));
}

TEST(ReportMarkdownTest, MarkupOfUsersIsText) {
  const std::string text = markdown(awkward_run());
  EXPECT_TRUE(contains(text, "````sh\nattnlab run '<b>.json' ```\n--set /x=|\n````\n"));
  for (const char* tag : {"<script", "<img", "<table"}) {
    EXPECT_EQ(count(text, tag), count(text, std::string("\\") + tag));
    EXPECT_GT(count(text, tag), 0);
  }
  EXPECT_TRUE(contains(text, "- \\# not a \\| heading\n"));
}

TEST(ReportCsvTest, AllDigitsAndMissingFigures) {
  const std::vector<std::string> lines = lines_of(csv(small_run()));
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(
      lines[0],
      "pipeline,density_mean,read_share,mass_recall_mean,mass_recall_p05,output_error_mean,output_error_p95,"
      "output_error_max,denominator_error_mean,entropy_mean,empty_rows,select_attend_seconds,"
      "index_bytes_per_token,index_bytes_per_sequence,state_bytes_per_token,search_bytes_per_query,"
      "attended_bytes_per_query");
  EXPECT_EQ(lines[1], "dense,1,1,1,1,0,0,0,0,4.5,0,1.5,0,0,0,0,1566720");
  EXPECT_TRUE(lines[2].starts_with("top_k,0.101,0.7676666666666666,0.9984,0.9968,0.0032,")) << lines[2];

  const std::string awkward = csv(awkward_run());
  EXPECT_EQ(lines_of(awkward).size(), 1 + awkward_run().pipelines.size());
  EXPECT_TRUE(contains(awkward, "\"\"\"quoted\"\" & 'single' | `tick`, comma\",0.2,"));
  EXPECT_TRUE(contains(awkward, ",inf,"));
  EXPECT_FALSE(contains(awkward, "nan"));
}

}  // namespace
}  // namespace attnlab::report
