// Reports of comparisons: whatever the title says stays text, and what is missing is shown as missing.
#include "core/report/compare.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/report/compare_plot.hpp"
#include "core/report/compare_table.hpp"

namespace attnlab::report {
namespace {

using testing::HasSubstr;
using testing::Not;

measure::Comparison made(const std::string& title, const std::vector<std::vector<double>>& losses) {
  measure::Comparison comparison;
  comparison.title = title;
  comparison.match = "none";
  for (size_t s = 0; s < losses[0].size(); ++s) comparison.seeds.push_back(s + 1);
  for (const auto& of_subject : losses) {
    measure::ComparedSubject subject;
    subject.name = "subject_" + std::to_string(comparison.subjects.size());
    subject.steps = 10;
    subject.size.parameters = 1234567;
    subject.size.flops_per_token = 5e6;
    subject.state = {"", 1, 2, 100, 200 + 100 * comparison.subjects.size()};
    for (size_t s = 0; s < of_subject.size(); ++s) {
      train::TrialResult trial;
      trial.seed = s + 1;
      trial.state = std::isnan(of_subject[s]) ? train::TrialState::diverged : train::TrialState::finished;
      trial.loss = of_subject[s];
      trial.held_out = {{0, 5}, {5, of_subject[s] + 1}, {10, of_subject[s]}};
      trial.training = {{5, of_subject[s] + 1}, {10, of_subject[s]}};
      trial.window_losses = {of_subject[s] - 1, of_subject[s] + 1, of_subject[s]};
      trial.window_targets = {2, 2, 1};
      subject.trials.push_back(trial);
    }
    comparison.subjects.push_back(subject);
  }
  measure::analyse(comparison);
  return comparison;
}

std::vector<std::string> all_reports(const measure::Comparison& comparison) {
  return {compare_terminal(comparison, false, 100), compare_markdown(comparison), compare_latex(comparison),
          compare_csv(comparison), compare_html(comparison)};
}

TEST(CompareReport, TitlesStayText) {
  const measure::Comparison c = made("<script>|\\input{x}\n%_&\x1b[31m", {{1, 2}, {2, 1}});
  EXPECT_THAT(compare_html(c), Not(HasSubstr("<script")));
  EXPECT_THAT(compare_markdown(c), HasSubstr("\\<script\\>\\|"));
  EXPECT_THAT(compare_latex(c), Not(HasSubstr("\nx")));
  for (const std::string& text : all_reports(c)) EXPECT_THAT(text, Not(HasSubstr("\x1b")));
}

TEST(CompareReport, LatexEscapesNames) {
  const std::string text = compare_latex(made("t", {{1, 2, 3}, {0.9, 1.8, 2.9}}));
  EXPECT_THAT(text, HasSubstr("subject\\_1 &"));
  EXPECT_THAT(text, HasSubstr("$-$0.1333 $\\pm$ "));
}

TEST(CompareReport, WhatIsMissingIsShownAsMissing) {
  const double none = std::nan("");
  const measure::Comparison c = made("t", {{1, 2}, {none, 3}});
  EXPECT_THAT(compare_terminal(c, false, 100), HasSubstr("diverged 1/2"));
  EXPECT_THAT(compare_html(c), HasSubstr("diverged 1/2"));
  for (const std::string& text : all_reports(c)) {
    EXPECT_THAT(text, Not(HasSubstr("nan")));
    EXPECT_THAT(text, Not(HasSubstr("inf")));
  }
  measure::Comparison nothing = made("t", {{none}, {none}});
  for (const std::string& text : all_reports(nothing)) EXPECT_THAT(text, Not(HasSubstr("nan")));
}

TEST(CompareReport, EqualLossesHaveFigures) {
  for (const std::string& text : all_reports(made("t", {{1, 1}, {1, 1}})))
    EXPECT_THAT(text, Not(HasSubstr("nan")));
}

TEST(CompareReport, NarrowTerminalsKeepWhatMatters) {
  const std::string text = compare_terminal(made("t", {{1, 2}, {2, 1}}), false, 60);
  EXPECT_THAT(text, HasSubstr("loss"));
  EXPECT_THAT(text, HasSubstr("difference"));
  EXPECT_THAT(text, HasSubstr("Left out for width: "));
}

TEST(CompareReport, CompactNumbers) {
  EXPECT_EQ(compact(0), "0");
  EXPECT_EQ(compact(999), "999");
  EXPECT_EQ(compact(999.6), "1.00 k");
  EXPECT_EQ(compact(842112), "842 k");
  EXPECT_EQ(compact(1.65e9), "1.65 G");
  EXPECT_EQ(compact(std::nan("")), "-");
}

TEST(ComparePlot, LabelsKeepTheirDistanceAndOrder) {
  const std::vector<double> places = spread({10, 11, 50, 9}, 10, 0, 100);
  // 9, 10 and 11 want to lie around 10, and half a distance from the edge.
  EXPECT_THAT(places, testing::ElementsAre(15, 25, 50, 5));
}

TEST(ComparePlot, TicksAreRound) {
  const LinearAxis axis(-0.031, 0.112, 0, 100);
  const std::vector<double> ticks = axis.ticks(8);
  ASSERT_GE(ticks.size(), 4u);
  EXPECT_EQ(axis.label(ticks[0], 8, true), "-0.02");
  EXPECT_EQ(axis.label(0, 8, true), "0");
  EXPECT_FALSE(std::signbit(ticks[1]));
}

}  // namespace
}  // namespace attnlab::report
