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
    for (const char* outside : {"http", "<script", "<link", "<img", "url(", "@import", "href="}) {
      EXPECT_FALSE(contains(page, outside)) << outside;
    }
    EXPECT_FALSE(contains(page, "\x1b"));
  }
}

TEST(ReportHtmlTest, SvgAttributesAreNumbers) {
  for (const measure::RunRecord& run : {awkward_run(), bare_run(), measure::RunRecord{}}) {
    const std::string page = html(run);
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
       {"<h1>A small run</h1>", "<td>10.1 %</td>", "<td>3.20e-3</td>", "mind the gap", "20 queries × 30 keys",
        "heavy (oracle_top_k): heavy_size=0.05", "title=\"layer 3, head 1: 6.40e-3\">6.4e-3</td>",
        "Run 0123abcd, attnlab 0.1.0", "--set /a=&quot;b&quot;", "prefers-color-scheme:dark"}) {
    EXPECT_TRUE(contains(page, part)) << part;
  }
  EXPECT_FALSE(contains(page, "deviation from double precision"));
}

TEST(ReportPictureTest, RunsOfEqualCellsAndNothingWhereNothingIsVisible) {
  measure::Picture picture{0, 0, 20, 30, 2, 3, {1, -1, -1, 0.1f, 0.1f, 1}};
  const std::string svg = mask_picture(picture, "a \"mask\"");
  EXPECT_TRUE(contains(svg, "aria-label=\"a &quot;mask&quot;\""));
  EXPECT_TRUE(contains(svg, "viewBox=\"0 0 3 2\""));
  EXPECT_TRUE(contains(svg, "<path class=\"d15\" d=\"M0 0.5h1M2 1.5h1\"/>")) << svg;
  EXPECT_TRUE(contains(svg, "<path class=\"d5\" d=\"M0 1.5h2\"/>")) << svg;
  EXPECT_EQ(count(svg, "<path"), 2);
  EXPECT_EQ(mask_picture({}, ""), "");
}

TEST(ReportPictureTest, NoiseStaysSmall) {
  measure::Picture picture{0, 0, 960, 960, 96, 96, {}};
  for (int i = 0; i < 96 * 96; ++i) picture.density.push_back(static_cast<float>(i * 7919 % 1000) / 1000);
  EXPECT_LT(mask_picture(picture, "noise").size(), 128u << 10);
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
      const std::string svg = error_over_density(run, width, 400).svg;
      const std::regex label(R"re(class="label" text-anchor="(\w+)" x="([^"]*)" y="([^"]*)">([^<]*)<)re");
      std::vector<Box> boxes;
      for (std::sregex_iterator at(svg.begin(), svg.end(), label), end; at != end; ++at) {
        const double x = std::stod((*at)[2]), size = display_width((*at)[4].str()) * 7.2;
        const double left = (*at)[1] == "start" ? x : (*at)[1] == "end" ? x - size : x - size / 2;
        boxes.push_back({left, left + size, std::stod((*at)[3])});
        EXPECT_GE(left, 0);
      }
      EXPECT_GE(boxes.size(), run.pipelines.size() / 2) << "most find room";
      for (size_t i = 0; i < boxes.size(); ++i) {
        for (size_t j = 0; j < i; ++j) {
          const bool apart = boxes[i].right <= boxes[j].left || boxes[j].right <= boxes[i].left;
          EXPECT_TRUE(apart || std::abs(boxes[i].y - boxes[j].y) >= 16) << i << " " << j;
        }
      }
    }
  }
}

TEST(ReportScatterTest, DenseLiesOnTheZeroEdgeAndWhatHasNoFiguresIsNamed) {
  const Scatter plot = error_over_density(small_run(), 1032, 440);
  EXPECT_TRUE(contains(plot.svg, "<circle class=\"point exact\" cx=\"975.6\" cy=\"392\"")) << plot.svg;
  EXPECT_FALSE(plot.numbered);
  EXPECT_TRUE(plot.left_out.empty());
  EXPECT_TRUE(error_over_density(crowded_run(), 1032, 440).numbered);
  const Scatter awkward = error_over_density(awkward_run(), 1032, 440);
  EXPECT_EQ(awkward.left_out.size(), 4u);
  EXPECT_TRUE(contains(html(awkward_run()), "Not drawn, for want of figures: &lt;script&gt;"));
}

}  // namespace
}  // namespace attnlab::report
