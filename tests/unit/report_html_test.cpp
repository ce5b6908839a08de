// report.html: well formed, self-contained, and unmoved by hostile names and figures.
#include <cmath>
#include <regex>

#include "core/report/axis.hpp"
#include "core/report/report.hpp"
#include "core/report/svg.hpp"
#include "core/report/text.hpp"
#include "tests/unit/report_test_support.hpp"

namespace attnlab::report {
namespace {

measure::RunRecord crowded_run() {
  measure::RunRecord run = small_run();
  for (int i = 2; i < 40; ++i) add_pipeline(run, "variant " + std::to_string(i), 0.1 + 0.001 * i, 0.2);
  return run;
}

measure::RunRecord bare_run() {
  measure::RunRecord run;
  add_pipeline(run, "only", 0.5, 0.1);
  return run;
}

TEST(ReportHtmlTest, WellFormedWhateverTheRecord) {
  for (const measure::RunRecord& run :
       {small_run(), awkward_run(), crowded_run(), bare_run(), measure::RunRecord{}}) {
    const std::string page = html(run);
    expect_balanced(page);
    EXPECT_EQ(count(page, "<svg"), count(page, "</svg>"));
    for (const measure::PipelineRecord& pipeline : run.pipelines)
      EXPECT_TRUE(contains(page, html_text(pipeline.name)));
  }
}

TEST(ReportHtmlTest, NeedsNothingFromOutside) {
  for (const measure::RunRecord& run : {small_run(), awkward_run(), crowded_run()}) {
    const std::string page = html(run);
    for (const char* outside : {"http:", "https:", "<link", "<img", "url(", "@import", "href="}) {
      EXPECT_FALSE(contains(page, outside)) << outside;
    }
    EXPECT_FALSE(contains(page, "\x1b"));
    EXPECT_EQ(count(page, "<script"), 2) << "its data and its own script";
    EXPECT_EQ(count(page, "</script"), 2);
    EXPECT_TRUE(contains(page, "content=\"default-src 'none';"));
  }
}

/// The JSON that the page's script reads.
io::Json data_of(const std::string& page) {
  const std::string open = "<script type=\"application/json\" id=\"run-data\">";
  const size_t begin = page.find(open) + open.size();
  const std::string text = page.substr(begin, page.find("</script>", begin) - begin);
  EXPECT_FALSE(contains(text, "<"));
  return io::Json::parse(text);
}

TEST(ReportHtmlTest, DataKeepsHostileNamesAsText) {
  const measure::RunRecord run = awkward_run();
  const io::Json data = data_of(html(run));
  ASSERT_EQ(data["pipelines"].size(), run.pipelines.size());
  for (size_t i = 0; i < run.pipelines.size(); ++i) {
    EXPECT_EQ(data["pipelines"][i]["name"], clean(run.pipelines[i].name));
    EXPECT_EQ(data["heads"][i].size(), 4u);
  }
  EXPECT_EQ(data["pipelines"][2]["name"], "<script>alert('x')</script>");
  EXPECT_EQ(data["pipelines"][0]["dense"], true);
  EXPECT_EQ(data["heads"][3][0], io::Json::parse(R"([0, 0, "Infinity", "-Infinity", 0.2])"));
  EXPECT_TRUE(data["pictures"]["active"][4].is_null()) << "its counts do not fit the plane";
  EXPECT_EQ(data["pictures"]["type"], "uint32");
}

TEST(ReportHtmlTest, AFailedPipelineSaysSo) {
  measure::RunRecord run = small_run();
  run.pipelines[1].failure = "quest.so: <crashed>";
  run.pipelines[1].active.clear();
  const std::string page = html(run);
  expect_balanced(page);
  EXPECT_TRUE(contains(page, R"(<span class="warn" title="quest.so: &lt;crashed&gt;">failed</span>)"));
  EXPECT_EQ(count(page, ">failed<"), 1);
  // The column of names sorts by names, whatever stands beside them.
  EXPECT_TRUE(contains(page, "data-value=\"" + html_text(run.pipelines[1].name) + "\"><span"));
}

TEST(ReportHtmlTest, CellsCarryExactFigures) {
  measure::RunRecord run = small_run();
  run.pipelines[1].quality.output_error.mean = 0.1 + 0.2;
  run.pipelines[1].quality.output_error.max = infinity;
  run.pipelines[1].quality.density.mean = nan;
  const std::string page = html(run);
  EXPECT_TRUE(contains(page, "<td data-value=\"0.30000000000000004\">0.300</td>"));
  EXPECT_TRUE(contains(page, "<td data-value=\"Infinity\">inf</td>"));
  EXPECT_TRUE(contains(page, "<td data-value=\"\">-</td>"));
}

TEST(ReportHtmlTest, SaysWhereTheRunCameFrom) {
  measure::RunRecord run = small_run();
  EXPECT_FALSE(contains(html(run), "<dt>started</dt>"));
  run.provenance = {{"started", "2026-01-02T03:04:05Z"},
                    {"seed", 17},
                    {"inputs", {{{"path", "a & b.npz"}, {"hash", "00ff"}, {"bytes", 1536u}}}},
                    {"plugins", {{{"path", "sink.so"}, {"hash", "aa11"}, {"bytes", 12u}}}},
                    {"build", {{"attnlab", "0.1.0"}, {"plugin_abi", "1.0"}, {"compiler", "gcc 12"}}},
                    {"machine", {{"cpu", "Some CPU"}, {"cores", 2}, {"memory_bytes", 1u << 30}}},
                    {"simd_target", "AVX3"},
                    {"threads", 2},
                    {"warnings", {"mind this"}}};
  const std::string page = html(run);
  for (const char* part :
       {"<dt>started</dt><dd>2026-01-02T03:04:05Z</dd>", "<dt>seed</dt><dd>17</dd>",
        "attnlab 0.1.0, plugin ABI 1.0, gcc 12", "Some CPU, cores 2, 1.00 GiB",
        "<dt>SIMD target</dt><dd>AVX3</dd>", "<dt>warning</dt><dd>mind this</dd>",
        R"(<td>input</td><td class="who">a &amp; b.npz</td><td>1.50 KiB</td><td><code>00ff</code></td>)",
        R"(<td>plugin</td><td class="who">sink.so</td><td>12 B</td><td><code>aa11</code></td>)"}) {
    EXPECT_TRUE(contains(page, part)) << part;
  }
}

TEST(ReportHtmlTest, SvgAttributesAreNumbers) {
  for (const measure::RunRecord& run : {awkward_run(), bare_run(), measure::RunRecord{}}) {
    const std::string page = markup_of(html(run));
    const std::regex geometry(R"re( (x|y|x1|y1|x2|y2|cx|cy|r|width|height)="([^"]*)")re");
    for (std::sregex_iterator at(page.begin(), page.end(), geometry), end; at != end; ++at) {
      EXPECT_TRUE(std::regex_match((*at)[2].str(), std::regex("-?[0-9]+(\\.[0-9])?"))) << at->str();
    }
    const std::regex bad(R"re(="[^"]*\b(nan|inf)\b[^"]*")re", std::regex::icase);
    for (std::sregex_iterator at(page.begin(), page.end(), bad), end; at != end; ++at) {
      EXPECT_TRUE(contains(at->str(), "layer")) << at->str() << ": only tooltips of heads may say so";
    }
  }
}

TEST(ReportHtmlTest, ShowsTheFigures) {
  measure::RunRecord run = small_run();
  run.notes = {"mind the gap"};
  const std::string page = html(run);
  for (const char* part :
       {"<h1>A small run</h1>", "\">10.1 %</td>", "\">3.20e-3</td>", "mind the gap",
        "Layer 3, head 1: 20 queries down, 30 keys across.", "heavy (oracle_top_k): heavy_size=0.05",
        "title=\"layer 3, head 1: 6.40e-3\">6.4e-3</td>", "Run 0123abcd, attnlab 0.1.0",
        "--set /a=&quot;b&quot;", "light-dark("}) {
    EXPECT_TRUE(contains(page, part)) << part;
  }
  EXPECT_FALSE(contains(page, "deviation from double precision"));
}

TEST(ReportPictureTest, RunsOfEqualCellsAndNothingWhereNothingIsVisible) {
  const std::string svg = mask_picture({2, 3, {1, -1, -1, 0.1, 0.1, 1}}, "a \"mask\"");
  EXPECT_TRUE(contains(svg, "aria-label=\"a &quot;mask&quot;\""));
  EXPECT_TRUE(contains(svg, "viewBox=\"0 0 3 2\""));
  EXPECT_TRUE(contains(svg, "<path class=\"d15\" d=\"M0 0.5h1M2 1.5h1\"/>")) << svg;
  EXPECT_TRUE(contains(svg, "<path class=\"d5\" d=\"M0 1.5h2\"/>")) << svg;
  EXPECT_EQ(count(svg, "<path"), 2);
  EXPECT_EQ(mask_picture({}, ""), "");
}

TEST(ReportPictureTest, CoarseCellsAreSumsOfWholeBlocks) {
  // 3 x 5 blocks to 2 x 2: rows {0, 1} and {2}, columns {0, 1, 2} and {3, 4}.
  const measure::Plane plane{0, 0, 0, 6, 50, 3, 5, {9, 9, 9, 0, 0, 9, 9, 9, 0, 0, 7, 8, 9, 2, 1}};
  const MaskGrid grid = coarsen(plane, {9, 0, 0, 0, 0, 0, 1, 2, 0, 0, 1, 1, 1, 0, 1}, 2);
  EXPECT_EQ(grid.rows, 2);
  EXPECT_EQ(grid.columns, 2);
  EXPECT_EQ(grid.density, (std::vector<double>{12.0 / 54, -1, 3.0 / 24, 1.0 / 3}));
  EXPECT_EQ(coarsen(plane, std::vector<uint32_t>(15, 1), 96).density.size(), 15u);
  EXPECT_TRUE(coarsen(plane, {1, 2}, 96).density.empty());
}

TEST(ReportPictureTest, NoiseStaysSmall) {
  MaskGrid grid{96, 96, {}};
  for (int i = 0; i < 96 * 96; ++i) grid.density.push_back(static_cast<double>(i * 7919 % 1000) / 1000);
  EXPECT_LT(mask_picture(grid, "noise").size(), 128u << 10);
}

TEST(ReportPictureTest, LevelsSeparateNothingFromLittle) {
  EXPECT_EQ(density_level(0), 0);
  EXPECT_EQ(density_level(nan), 0);
  EXPECT_EQ(density_level(1e-9), 1);
  EXPECT_EQ(density_level(1), color_levels - 1);
  EXPECT_EQ(density_level(infinity), color_levels - 1);
}

TEST(ReportAxisTest, PlacesAndTicks) {
  const LogAxis axis({0.01, 1, 0}, 0, 100, 20);
  EXPECT_TRUE(axis.has_zero());
  EXPECT_EQ(axis.at(0), 0);
  EXPECT_GT(axis.at(0.01), 20);
  EXPECT_NEAR(axis.at(0.1), 60, 1e-9);
  EXPECT_EQ(axis.at(infinity), 100);
  EXPECT_EQ(axis.ticks(), (std::vector<double>{0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1}));
  for (const double smallest : {1e-300, 1e-12, 1e-3, 0.5, 1.0}) {
    const LogAxis wide({smallest, 1}, 300, 0, 20);
    EXPECT_LE(wide.ticks().size(), 10u) << smallest;
    EXPECT_GE(wide.ticks().size(), 1u) << smallest;
    for (const double tick : wide.ticks()) EXPECT_TRUE(wide.at(tick) >= 0 && wide.at(tick) <= 300);
  }
  EXPECT_TRUE(std::isfinite(LogAxis({}, 0, 100, 20).at(0.5)));
}

/// Boxes of the labels by the same estimate of the width as the plot's.
TEST(ReportScatterTest, LabelsDoNotOverlap) {
  struct Box {
    double left, right, y;
  };
  for (const measure::RunRecord& run : {small_run(), crowded_run(), awkward_run()}) {
    for (const double width : {358.0, 1032.0}) {
      for (const PlotCost& cost : plot_costs()) {
        const auto [svg, left_out, numbered] = metric_over_cost(run, plot_metrics()[0], cost, width, 400);
        const std::regex label(R"re(class="label" text-anchor="(\w+)" x="([^"]*)" y="([^"]*)">([^<]*)<)re");
        std::vector<Box> boxes;
        for (std::sregex_iterator at(svg.begin(), svg.end(), label), end; at != end; ++at) {
          const double x = std::stod((*at)[2]), size = display_width((*at)[4].str()) * 7.2;
          const double left = (*at)[1] == "start" ? x : (*at)[1] == "end" ? x - size : x - size / 2;
          boxes.push_back({left, left + size, std::stod((*at)[3])});
          EXPECT_GE(left, 0);
        }
        EXPECT_GE(boxes.size(), (run.pipelines.size() - left_out.size()) / 2) << "most find room";
        for (size_t i = 0; i < boxes.size(); ++i) {
          for (size_t j = 0; j < i; ++j) {
            const bool apart = boxes[i].right <= boxes[j].left || boxes[j].right <= boxes[i].left;
            EXPECT_TRUE(apart || std::abs(boxes[i].y - boxes[j].y) >= 16) << i << " " << j;
          }
        }
      }
    }
  }
}

TEST(ReportScatterTest, DenseLiesOnTheZeroEdgeAndWhatHasNoFiguresIsNamed) {
  const Scatter plot = metric_over_cost(small_run(), plot_metrics()[0], plot_costs()[0], 1032, 440);
  EXPECT_TRUE(
      contains(plot.svg, "<circle class=\"point exact front\" data-pipeline=\"0\" cx=\"975.6\" cy=\"392\""))
      << plot.svg;
  EXPECT_FALSE(plot.numbered);
  EXPECT_TRUE(plot.left_out.empty());
  EXPECT_TRUE(metric_over_cost(crowded_run(), plot_metrics()[0], plot_costs()[0], 1032, 440).numbered);
  const Scatter awkward = metric_over_cost(awkward_run(), plot_metrics()[0], plot_costs()[0], 1032, 440);
  EXPECT_EQ(awkward.left_out.size(), 4u);
  EXPECT_TRUE(contains(html(awkward_run()), "Not drawn, for want of figures: &lt;script&gt;"));
}

/// The places of the ringed points.
std::string front_of(const std::string& svg) {
  const std::regex front(R"re(class="point[^"]*front" data-pipeline="(\d)")re");
  std::string found;
  for (std::sregex_iterator at(svg.begin(), svg.end(), front), end; at != end; ++at) found += (*at)[1].str();
  return found;
}

TEST(ReportScatterTest, TheFrontIsWhatNoOtherBetters) {
  measure::RunRecord run = small_run();  // dense: 1, 0. top_k: 0.101, 0.0032.
  add_pipeline(run, "worse", 0.2, 0.0032);
  add_pipeline(run, "sparser", 0.05, 0.4);
  add_pipeline(run, "its twin", 0.05, 0.4);
  add_pipeline(run, "lost", 0.06, 0.5);
  const std::string svg = metric_over_cost(run, plot_metrics()[0], plot_costs()[0], 1032, 440).svg;
  EXPECT_EQ(front_of(svg), "0134");
  EXPECT_EQ(count(svg, "class=\"front-line\""), 1);
  EXPECT_TRUE(contains(
      svg, "top_k: density 10.1 %, bytes read 76.8 %, output error mean 3.20e-3, output error p05 0,"));
}

TEST(ReportScatterTest, AgainstBytesReadADearSearchLeavesTheFront) {
  measure::RunRecord run = small_run();  // Bytes: dense 100 %, top_k 76.8 %.
  add_pipeline(run, "dear", 0.05, 0.4);
  run.pipelines[2].cost.stages[0].search_bytes_per_query = 1.03 * run.input.dense_bytes_per_query;
  add_pipeline(run, "failed", 0.01, 0.5);
  run.pipelines[3].failure = "it crashed";
  EXPECT_EQ(front_of(metric_over_cost(run, plot_metrics()[0], plot_costs()[0], 1032, 440).svg), "0123");
  const Scatter plot = metric_over_cost(run, plot_metrics()[0], plot_costs()[1], 1032, 440);
  EXPECT_EQ(front_of(plot.svg), "01");
  EXPECT_EQ(plot.left_out, std::vector<std::string>{"failed"});
  EXPECT_TRUE(contains(plot.svg, "dear: density 5.00 %, bytes read 108 %,")) << plot.svg;
  const std::string page = html(run);
  EXPECT_EQ(count(page, "<div class=\"plot\""), 6) << "every metric against every cost";
  EXPECT_EQ(count(page, "data-cost=\"density\" data-cost-title=\"density\"><"), 1) << "shown without script";
  EXPECT_EQ(count(page, "data-cost=\"bytes_read\" data-cost-title=\"bytes read\" hidden><"), 3);
}

TEST(ReportScatterTest, EveryMetricIsBestAtZeroAndKeepsNaN) {
  measure::Quality quality;
  quality.output_error = {1, 1, 1, 2, 1, 2};
  quality.mass_recall = {1, 0.75, 0.5, 1, 0, 1};
  quality.denominator_error = {1, 0.125, 0, 0.25, 0, 1};
  std::vector<double> figures;
  for (const PlotMetric& metric : plot_metrics()) {
    figures.push_back(metric.mean(quality));
    figures.push_back(metric.whisker(quality));
  }
  EXPECT_EQ(figures, (std::vector<double>{1, 2, 0.25, 0.5, 0.125, 0.25}));
  quality.mass_recall.mean = nan;
  EXPECT_TRUE(std::isnan(plot_metrics()[1].mean(quality)));
  quality.mass_recall.mean = 1 + 1e-15;
  EXPECT_EQ(plot_metrics()[1].mean(quality), 0);
}

}  // namespace
}  // namespace attnlab::report
