// Records for report tests, and a small checker of markup.
#pragma once

#include <gtest/gtest.h>

#include <limits>
#include <set>
#include <string>
#include <vector>

#include "core/measure/record.hpp"

namespace attnlab::report {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

inline measure::Quality quality(double density, double error) {
  measure::Quality quality;
  quality.density = {10, density, density / 2, density * 2, 0, 1};
  quality.mass_recall = {10, 1 - error / 2, 1 - error, 1, 0, 1};
  quality.output_error = {10, error, 0, 3 * error, 0, 9 * error};
  quality.denominator_error = {10, error / 2, 0, error, 0, 2 * error};
  quality.entropy = {10, 4.5, 2, 6, 0, 7};
  return quality;
}

/// Adds a pipeline with 2 x 3 blocks of counts, heads 0 and 1 of layers 0 and 3, and 0.25 s for its stage,
/// 0.5 s for attend.
inline void add_pipeline(measure::RunRecord& run, const std::string& name, double density, double error,
                         bool dense = false) {
  measure::PipelineRecord pipeline;
  pipeline.name = name;
  if (!dense) pipeline.stages = {{"heavy", "oracle_top_k", {{"heavy_size", 0.05}}}};
  pipeline.quality = quality(density, error);
  pipeline.active = {100, 0, 0, 10, 10, 50};
  pipeline.cost.attended_bytes_per_query = density * 4080 * 384;
  if (!dense) pipeline.cost.stages = {{"heavy", 8, 512, 0.5, 4080 * 256}};
  run.plane = {3, 1, 44, 20, 30, 2, 3, {100, 0, 0, 100, 100, 50}};
  run.pipelines.push_back(pipeline);
  for (const int64_t layer : {0, 3}) {
    for (const int64_t head : {0, 1}) {
      run.heads.push_back({name, layer, head, quality(density, error * static_cast<double>(1 + head))});
    }
  }
  measure::PipelineTime time{name, 0.5, {{"heavy", 0.25}}};
  if (dense) time = {name, 0, {}};
  run.time.pipelines.push_back(time);
}

inline measure::RunRecord small_run() {
  measure::RunRecord run;
  run.run_id = "0123abcd";
  run.title = "A small run";
  run.command = "attnlab run small.json --set /a=\"b\"";
  run.version = "0.1.0";
  run.input = {
      "power law, alpha 1", "decode", 1, 8, 2, 64, 4096, 64, 32, 16, {0, 3}, true, 0.125, 384, 4080 * 384};
  run.time.wall_seconds = 2;
  run.time.exact_rows = 1.5;
  run.time.threads = 2;
  add_pipeline(run, "dense", 1, 0, true);
  add_pipeline(run, "top_k", 0.101, 0.0032);
  return run;
}

/// Names and figures that break careless renderers.
inline measure::RunRecord awkward_run() {
  measure::RunRecord run = small_run();
  run.title = "<script>alert(1)</script> & \"title\" \x1b[31m\xff";
  run.command = "attnlab run '<b>.json' ```\n--set /x=|";
  run.notes = {"</ul><img src=x onerror=alert(1)>", "# not a | heading"};
  run.input.description = "</dd></dl> & <table>";
  run.input.expected_output_difference = nan;
  add_pipeline(run, "<script>alert('x')</script>", nan, 0.5);
  add_pipeline(run, "\"quoted\" & 'single' | `tick`, comma", 0.2, infinity);
  add_pipeline(run, "größe-ß-注意力-🎯", 0.3, nan);
  add_pipeline(run, std::string(3000, 'x'), 0, 1e300);
  add_pipeline(run, "two\nlines\x1b[2J", infinity, 1e-300);
  add_pipeline(run, "", -1, -infinity);
  run.pipelines[2].quality.density.p95 = infinity;
  run.pipelines[3].stages[0].name = "<i>";
  run.pipelines[3].stages[0].parameters = {{"</figcaption>", "\"<&"}};
  run.pipelines[4].active = {};
  run.pipelines[5].active = {4000000000, 1, 2, 3, 4, 5};  // more than is visible
  run.provenance = {{"started", 7},
                    {"machine", "</dd>"},
                    {"build", {{"compiler", "<gcc>\xff"}, {"flags", io::Json::array()}}},
                    {"inputs", {{{"path", "<b>/a.npz"}, {"hash", nullptr}, {"bytes", -3}}, 4}},
                    {"warnings", {"</script><img src=x>", 5}}};
  run.pipelines[7].quality = {};
  run.time.pipelines[2].attend = nan;
  run.time.pipelines[3].attend = infinity;
  run.time.pipelines.pop_back();
  return run;
}

/// The page without the content of its style and script elements, which are no markup.
inline std::string markup_of(std::string html) {
  for (const std::string tag : {"style", "script"}) {
    for (size_t at = 0; (at = html.find("<" + tag, at)) != std::string::npos;) {
      const size_t begin = html.find('>', at) + 1, end = html.find("</" + tag + ">", begin);
      if (end == std::string::npos) break;
      html.erase(begin, end - begin);
      at = begin;
    }
  }
  return html;
}

/// Fails unless every tag of the page is closed in order.
inline void expect_balanced(const std::string& page) {
  const std::string html = markup_of(page);
  static const std::set<std::string> empty{"meta", "br", "wbr", "!doctype"};
  std::vector<std::string> open;
  for (size_t at = html.find('<'); at != std::string::npos; at = html.find('<', at + 1)) {
    const bool closing = html[at + 1] == '/';
    const size_t start = at + (closing ? 2 : 1), end = html.find_first_of(" >/", start);
    const size_t close = html.find('>', at);
    ASSERT_NE(close, std::string::npos);
    const std::string name = html.substr(start, end - start);
    if (closing) {
      ASSERT_FALSE(open.empty()) << "stray </" << name << ">";
      ASSERT_EQ(open.back(), name) << html.substr(at > 200 ? at - 200 : 0, 260);
      open.pop_back();
    } else if (!empty.contains(name) && html[close - 1] != '/') {
      open.push_back(name);
    }
  }
  EXPECT_TRUE(open.empty());
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

inline int64_t count(const std::string& text, const std::string& part) {
  int64_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++found;
  return found;
}

}  // namespace attnlab::report
