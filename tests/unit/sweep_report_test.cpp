// Reports of sweeps: counts, importance against figures worked out by hand, and sweeps with nothing to show.
#include "core/report/sweep.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/report/sweep_figures.hpp"
#include "core/report/sweep_importance.hpp"
#include "core/report/sweep_scale.hpp"
#include "core/report/sweep_summary.hpp"

namespace attnlab::report {
namespace {

using Kind = sweep::Judgement::Kind;
using testing::DoubleNear;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

SweepAxis numbers(const std::string& pointer) {
  return {{pointer}, SweepAxis::Kind::linear, {}};
}

SweepReport sweep_of(size_t objectives, std::vector<SweepAxis> axes) {
  SweepReport report;
  report.title = "title";
  report.sampler = "grid";
  report.command = "attnlab sweep report out";
  const char* names[] = {"output_error", "density", "mass_recall"};
  for (size_t k = 0; k < objectives; ++k) report.objectives.push_back({names[k], k == 2});
  report.axes = std::move(axes);
  return report;
}

/// A feasible trial at `place` on every axis.
SweepTrial& add(SweepReport& report, double place, const std::vector<double>& values) {
  SweepTrial trial;
  trial.id = fmt::format("{:012}rest", report.trials.size());
  for (size_t a = 0; a < report.axes.size(); ++a)
    trial.point.push_back(SweepValue{fmt::format("{}", place), place});
  trial.judgement = {Kind::feasible, "", values};
  trial.config = "configs/" + trial.id + ".json";
  trial.command = "attnlab run out/" + trial.config;
  report.asked = static_cast<int64_t>(report.trials.size()) + 1;
  report.trials.push_back(trial);
  return report.trials.back();
}

SweepTrial& fail(SweepReport& report, double place, const std::string& why) {
  SweepTrial& trial = add(report, place, {});
  trial.judgement = {Kind::failed, why, {}};
  return trial;
}

size_t count_of(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++count;
  return count;
}

/// A third of the way to being random, but the same everywhere.
double wobble(size_t i) {
  const double turn = static_cast<double>(i) * 0.6180339887498949;
  return turn - std::floor(turn);
}

// What came out.

TEST(SweepReport, CountsWhatBecameOfTrials) {
  SweepReport report = sweep_of(2, {numbers("/a")});
  add(report, 1, {3, 1});
  add(report, 2, {1, 3});
  add(report, 3, {3, 3});
  add(report, 4, {0, 0}).judgement = {Kind::infeasible, "density >= 1 does not hold", {0, 0}};
  fail(report, 5, "signal SIGABRT");
  report.asked = 9;
  const SweepSummary summary = summary_of(report);
  EXPECT_THAT(summary.feasible, ElementsAre(0, 1, 2));
  EXPECT_THAT(summary.infeasible, ElementsAre(3));
  EXPECT_THAT(summary.failed, ElementsAre(4));
  EXPECT_THAT(summary.front, ElementsAre(1, 0));
  EXPECT_THAT(listed_trials(report), ElementsAre(1, 0, 4));
  for (const std::string& text : {sweep_html(report), sweep_markdown(report)}) {
    EXPECT_THAT(
        text,
        HasSubstr("5 trials of 9 over 1 axis, chosen by grid: 4 done, of them 1 infeasible, 1 failed."));
    EXPECT_THAT(text, HasSubstr("2 trials are on the Pareto front of 2 objectives."));
    EXPECT_THAT(text, HasSubstr("configs/000000000001rest.json"));
    EXPECT_THAT(text, HasSubstr("attnlab run out/configs/000000000000rest.json"));
    EXPECT_THAT(text, Not(HasSubstr("000000000002rest.json")));  // neither good nor failed
  }
}

TEST(SweepReport, SaysTheBestOfOneObjective) {
  SweepReport report = sweep_of(1, {numbers("/main/0/heavy_size")});
  for (const double place : {1, 2, 3}) add(report, place, {(place - 2) * (place - 2) + 0.5});
  EXPECT_THAT(sweep_markdown(report),
              HasSubstr("The best output_error is 0.5000, of trial 000000000001: heavy_size 2."));
  EXPECT_THAT(listed_trials(report), ElementsAre(1, 0, 2));
  report.objectives[0].maximise = true;
  EXPECT_THAT(listed_trials(report), ElementsAre(0, 2, 1));
}

TEST(SweepReport, ComparesTheLastRungOnly) {
  SweepReport report = sweep_of(1, {numbers("/a")});
  add(report, 1, {0.1});
  fail(report, 2, "ran past 10 s");
  add(report, 1, {0.5}).rung = 1;
  const SweepSummary summary = summary_of(report);
  EXPECT_THAT(summary.feasible, ElementsAre(2));
  EXPECT_EQ(summary.earlier, 1u);
  EXPECT_THAT(summary.failed, ElementsAre(1));
  EXPECT_THAT(drawn_sweep(report, summary).failed, IsEmpty());
  EXPECT_THAT(sweep_html(report), HasSubstr("1 is of an earlier rung"));
}

TEST(SweepReport, NamesAxesByWhatTellsThemApart) {
  SweepReport report = sweep_of(1, {numbers("/main/0/size"),
                                    numbers("/main/1/size"),
                                    numbers("/seed"),
                                    {{"/a/x", "/a/y"}, SweepAxis::Kind::list, {}},
                                    numbers("/seed")});
  EXPECT_THAT(summary_of(report).labels, ElementsAre("0/size", "1/size", "seed", "x + y", "seed"));
}

TEST(SweepReport, GroupsFailuresByReason) {
  SweepReport report = sweep_of(1, {numbers("/a")});
  fail(report, 1, "ran past 10 s");
  fail(report, 2, "signal SIGABRT");
  fail(report, 3, "signal SIGABRT").stderr_tail = "assertion\nfailed";
  const auto failures = failures_of(report, summary_of(report));
  ASSERT_EQ(failures.size(), 2u);
  EXPECT_EQ(failures[0].count, 2u);
  EXPECT_EQ(failures[0].example, 2u);  // it says why
  EXPECT_THAT(sweep_html(report), HasSubstr("<pre>assertion\nfailed</pre>"));
  EXPECT_THAT(sweep_markdown(report), HasSubstr("    assertion\n    failed\n"));
}

// Importance.

TEST(SweepImportance, IsTheShareOfVarianceBetweenGroups) {
  // Means 1.5, 3.5, 5.5 around 3.5: 2 (4 + 0 + 4) = 16 of 6.25 + 2.25 + 0.25 + 0.25 + 2.25 + 6.25 = 17.5.
  EXPECT_NEAR(explained_share({1, 2, 3, 4, 5, 6}, {0, 0, 1, 1, 2, 2}, 3), 16 / 17.5, 1e-12);
  // Unequal sizes: means 2 and 6 around 3: 3 * 1 + 1 * 9 = 12 of 4 + 1 + 0 + 9 = 14.
  EXPECT_NEAR(explained_share({1, 2, 3, 6}, {0, 0, 0, 1}, 2), 12.0 / 14, 1e-12);
  EXPECT_EQ(explained_share({1, 2, 1, 2}, {0, 0, 1, 1}, 2), 0);
  EXPECT_TRUE(std::isnan(explained_share({0.1, 0.1, 0.1}, {0, 1, 2}, 3)));
}

TEST(SweepImportance, NoiseIsWhatPermutationsReach) {
  // Two groups of two of {0, 0, 1, 1}: a third of all permutations explains everything, the others nothing.
  EXPECT_NEAR(noise_share({0, 0, 1, 1}, {0, 0, 1, 1}, 2), 1, 1e-12);
  // Without an effect the share of g groups of n values is about (g - 1) / (n - 1); its 95 % quantile by the
  // distribution of chi squared of 3 degrees, 7.81 / 199.
  std::vector<double> values;
  std::vector<size_t> group;
  for (size_t i = 0; i < 200; ++i) {
    values.push_back(wobble(i));
    group.push_back(i % 4);
  }
  EXPECT_THAT(noise_share(values, group, 4), DoubleNear(7.81 / 199, 0.006));
  EXPECT_EQ(noise_share(values, group, 4), noise_share(values, group, 4));
}

TEST(SweepImportance, TellsAnEffectFromNoise) {
  SweepReport report = sweep_of(2, {numbers("/acts"), numbers("/idle")});
  for (size_t i = 0; i < 120; ++i) {
    SweepTrial& trial = add(report, static_cast<double>(i % 4), {static_cast<double>(i % 4) + wobble(i), 1});
    trial.point[1] = SweepValue{"", static_cast<double>(i * 37 % 101)};
  }
  const auto all = importances(report, summary_of(report));
  EXPECT_TRUE(all[0][0].above_noise());
  EXPECT_FALSE(all[0][1].above_noise());
  EXPECT_EQ(all[0][0].values, 4u);
  EXPECT_FALSE(all[0][0].binned);
  EXPECT_TRUE(all[0][1].binned);
  EXPECT_TRUE(std::isnan(all[1][0].share));  // the second objective is constant
  EXPECT_THAT(axes_by_share(all[0]), ElementsAre(0, 1));
  EXPECT_THAT(sweep_html(report), HasSubstr("the objective is constant"));
}

TEST(SweepImportance, BinsKeepEqualNumbersTogether) {
  SweepReport report = sweep_of(1, {numbers("/a")});
  std::vector<size_t> trials;
  for (size_t i = 0; i < 64; ++i) {
    add(report, i < 36 ? 7.0 : static_cast<double>(i), {1.0 * static_cast<double>(i)});
    trials.push_back(i);
  }
  const AxisGroups groups = groups_on_axis(report, 0, trials);
  EXPECT_TRUE(groups.binned);
  EXPECT_EQ(groups.count, 5u);  // the equal ones are one, half a bin is left beside them
  for (size_t i = 0; i < 64; ++i) EXPECT_EQ(groups.group[i], i < 36 ? 0 : (i - 32) / 8 + 1);
}

TEST(SweepImportance, CountsTrialsThatHaveTheAxis) {
  SweepReport report = sweep_of(1, {numbers("/a")});
  for (size_t i = 0; i < 10; ++i) {
    SweepTrial& trial = add(report, static_cast<double>(i % 2), {wobble(i)});
    if (i < 4) trial.point[0].reset();
  }
  EXPECT_EQ(importances(report, summary_of(report))[0][0].trials, 6u);
  EXPECT_THAT(sweep_html(report), HasSubstr(">not set<"));
}

// Figures.

TEST(SweepFigures, StepsFollowDirections) {
  SweepReport report = sweep_of(3, {numbers("/a")});
  add(report, 1, {1, 2, 1});
  add(report, 2, {2, 1, 2});
  const SweepSummary summary = summary_of(report);
  const DrawnSweep drawn = drawn_sweep(report, summary);
  const auto steps = [](const std::string& svg) {
    const size_t at = svg.find("front-line\" d=\"M"), end = svg.find("\"/>", at);
    const std::string path = svg.substr(at, end - at);
    return path.find('H') < path.find('V') ? "HV" : "VH";
  };
  // To the right at no gain, then down to the next; of a maximised x up at once, for the next reaches
  // farther.
  EXPECT_STREQ(steps(objective_scatter(drawn, 0, 1, 600, 400)), "HV");
  EXPECT_STREQ(steps(objective_scatter(drawn, 0, 2, 600, 400)), "HV");
  // Maximised against the second objective the second trial betters the first: no steps.
  EXPECT_THAT(objective_scatter(drawn, 2, 1, 600, 400), Not(HasSubstr("front-line")));
  EXPECT_STREQ(steps(objective_scatter(drawn, 2, 0, 600, 400)), "VH");
}

TEST(SweepFigures, ScalesByWhatValuesAre) {
  const SweepAxis list{{"/a"}, SweepAxis::Kind::list, {"x", "y"}};
  const SweepScale even(list, {}, 0, 100);
  EXPECT_EQ(even.at(SweepValue{"x"}), 25);
  EXPECT_EQ(even.at(SweepValue{"y"}), 75);
  EXPECT_TRUE(SweepScale({1e-3, 1}, 0, 100).is_logarithmic());
  EXPECT_FALSE(SweepScale({-1e-3, 1}, 0, 100).is_logarithmic());
  EXPECT_FALSE(SweepScale({1, 2}, 0, 100).is_logarithmic());
  EXPECT_DOUBLE_EQ(SweepScale({1, 1}, 0, 100).at(1.0), 50);
  EXPECT_TRUE(std::isfinite(SweepScale(std::vector<double>{}, 0, 100).at(1.0)));
}

TEST(SweepFigures, ColoursEqualValuesEqually) {
  SweepReport report = sweep_of(1, {numbers("/a")});
  for (size_t i = 0; i < 16; ++i) add(report, 1, {i < 8 ? 1.0 : static_cast<double>(i)});
  const SweepSummary summary = summary_of(report);
  const DrawnSweep drawn = drawn_sweep(report, summary);
  for (size_t i = 0; i < 8; ++i) EXPECT_EQ(drawn.level[i], 0);
  EXPECT_EQ(drawn.level[15], sweep_levels - 1);
}

TEST(SweepFigures, ThinningKeepsWhatIsListed) {
  std::vector<size_t> all(1000);
  for (size_t i = 0; i < all.size(); ++i) all[i] = i;
  const auto few = thinned(all, {999, 3}, 10);
  EXPECT_EQ(few.size(), 10u);
  EXPECT_TRUE(std::is_sorted(few.begin(), few.end()));
  EXPECT_THAT(few, testing::IsSupersetOf({size_t{3}, size_t{999}}));
  EXPECT_EQ(thinned(all, {}, 1000), all);
}

TEST(SweepFigures, ThousandsOfTrialsFitAPage) {
  SweepReport report = sweep_of(3, {});
  for (const char* pointer : {"/a", "/b", "/c", "/d", "/e", "/f"})
    report.axes.push_back(numbers(std::string("/pipelines/main/0") + pointer));
  for (size_t i = 0; i < 3000; ++i) add(report, wobble(i), {wobble(i * 7), wobble(i * 11), wobble(i * 13)});
  const std::string page = sweep_html(report);
  EXPECT_LT(page.size(), size_t{3'000'000});
  EXPECT_EQ(count_of(page, "class=\"trial line"), 1200u);
  EXPECT_THAT(page, HasSubstr("Figures show 1200 of 3000 trials"));
}

// Whatever the records say.

TEST(SweepReport, TextStaysText) {
  const std::string bad = "<script>alert(1)</script>|`\x1b[31m\"'&";
  SweepReport report = sweep_of(2, {{{"/" + bad}, SweepAxis::Kind::list, {bad}}});
  report.title = report.sampler = report.command = report.objectives[0].name = bad;
  report.constraints = {bad};
  add(report, 1, {1, 1}).point[0] = SweepValue{bad};
  add(report, 1, {2, 2}).judgement = {Kind::infeasible, bad, {2, 2}};
  fail(report, 1, bad).stderr_tail = bad + "\n```\n";
  for (SweepTrial& trial : report.trials) trial.id = trial.config = trial.command = bad;
  const std::string page = sweep_html(report), text = sweep_markdown(report);
  EXPECT_EQ(count_of(page, "<script>"), 1u);
  EXPECT_EQ(count_of(page, "<script"), 2u);
  EXPECT_THAT(page, Not(HasSubstr("\x1b")));
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
  // In Markdown only the stderr's indented block holds it bare.
  EXPECT_EQ(count_of(text, "<script>"), count_of(text, "    <script>"));
  EXPECT_THAT(page, HasSubstr("default-src 'none';style-src 'unsafe-inline';script-src 'unsafe-inline'\">"));
}

TEST(SweepReport, NothingToShowIsSaid) {
  SweepReport empty = sweep_of(1, {numbers("/a")});
  EXPECT_THAT(sweep_html(empty), HasSubstr("No trial has ended yet."));
  EXPECT_THAT(listed_trials(empty), IsEmpty());
  SweepReport failed = sweep_of(2, {numbers("/a")});
  fail(failed, 1, "signal SIGKILL");
  EXPECT_THAT(sweep_html(failed), HasSubstr("No trial has objectives"));
  EXPECT_THAT(sweep_markdown(failed), HasSubstr("**1 x signal SIGKILL**"));
  SweepReport infeasible = sweep_of(1, {numbers("/a")});
  add(infeasible, 1, {1}).judgement = {Kind::infeasible, "density <= 0.1 does not hold", {1}};
  EXPECT_THAT(sweep_html(infeasible), HasSubstr("No trial is feasible"));
  EXPECT_THAT(sweep_markdown(infeasible), HasSubstr("- 1 x density \\<= 0.1 does not hold"));
}

TEST(SweepReport, OddSweepsHaveAPage) {
  SweepReport still = sweep_of(2, {});  // one point: the base config
  add(still, 0, {1, 2});
  EXPECT_THAT(sweep_html(still), HasSubstr("1 trial over 0 axes"));
  SweepReport single = sweep_of(1, {numbers("/a")});
  add(single, 0, {0}).density = 0.5;
  EXPECT_THAT(sweep_html(single), HasSubstr("Objective against density"));
  SweepReport unset = sweep_of(1, {numbers("/a")});
  add(unset, 0, {1}).point[0].reset();
  EXPECT_THAT(sweep_html(unset), HasSubstr("in no trial"));
}

TEST(SweepReport, IsTheSameEveryTime) {
  SweepReport report = sweep_of(2, {numbers("/a"), numbers("/b")});
  for (size_t i = 0; i < 50; ++i) add(report, wobble(i), {wobble(i * 3), wobble(i * 5)});
  EXPECT_EQ(sweep_html(report), sweep_html(report));
}

}  // namespace
}  // namespace attnlab::report
