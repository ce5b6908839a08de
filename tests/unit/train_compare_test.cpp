// Comparisons: what their config means, how sizes are matched, and where mistakes are told.
#include "core/train/compare.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/measure/comparison.hpp"
#include "tests/support/catalog.hpp"

namespace attnlab::train {
namespace {

using base::UserError;
using config::ComparePlan;
using config::Document;
using io::Json;
using test::catalog;

Json comparison(const Json& subjects) {
  return {{"model", {{"layers", 2}, {"embed_dim", 32}, {"query_heads", 4}, {"block", 16}}},
          {"task", {{"generated", "recall"}, {"pairs", 4}, {"queries", 4}, {"keys", 8}, {"values", 8}}},
          {"train", {{"steps", 100}, {"batch", 4}, {"warmup", 10}}},
          {"subjects", subjects}};
}

Document document_of(const Json& json) {
  Document document;
  for (const auto& [key, value] : json.items()) document.set("/" + key, value, {"compare.json", "."});
  return document;
}

Json attention(const Json& scheme) {
  return {{"attention", scheme}};
}

/// The error that the comparison is refused with.
UserError refusal(const Json& json) {
  const Document document = document_of(json);
  try {
    ComparePlan plan = config::resolve_comparison(document, catalog());
    std::vector<std::string> warnings;
    match_sizes(plan, catalog(), document, warnings);
  } catch (const UserError& error) {
    return error;
  }
  ADD_FAILURE() << "accepted: " << json;
  return UserError("");
}

Json three() {
  return {{"mha", attention({{"scheme", "mha"}})},
          {"mqa", attention({{"scheme", "mha"}, {"num_kv_heads", 1}})},
          {"moas", attention({{"scheme", "moas"}, {"mix", "static"}})}};
}

TEST(Compare, SubjectsLieOverWhatIsCommon) {
  Json json = comparison(three());
  json["subjects"]["mqa"]["train"] = {{"batch", 8}};
  json["attention"] = {{"scheme", "mha"}, {"dropout", 0.5}};
  json["seeds"] = {4, 2};
  json["baseline"] = "mqa";
  const ComparePlan plan = config::resolve_comparison(document_of(json), catalog());
  ASSERT_EQ(plan.subjects.size(), 3u);
  EXPECT_EQ(plan.baseline, 1u);
  EXPECT_EQ(plan.seeds, (std::vector<uint64_t>{4, 2}));
  EXPECT_EQ(plan.subjects[1].plan.train.batch, 8);
  EXPECT_EQ(plan.subjects[1].plan.train.steps, 100);
  EXPECT_EQ(plan.subjects[0].plan.train.batch, 4);
  EXPECT_EQ(plan.trial(0, 2).seed, 2u);
  // A subject that names its scheme takes nothing from another attention.
  EXPECT_EQ(measure::attention_text(plan.subjects[1].plan, catalog()), "mha num_kv_heads=1");
  const std::vector<Trial> trials = trials_of(plan, "out");
  ASSERT_EQ(trials.size(), 6u);
  EXPECT_EQ(trials[1].folder.path, "out/mqa/seed-4");
  EXPECT_EQ(trials[3].folder.path, "out/mha/seed-2") << "seed by seed";
}

TEST(Compare, ResolvedConfigIsAComparisonOfTheSame) {
  Json json = comparison(three());
  json["match"] = "parameters";
  const Document document = document_of(json);
  ComparePlan plan = config::resolve_comparison(document, catalog());
  std::vector<std::string> warnings;
  const auto sizes = match_sizes(plan, catalog(), document, warnings);
  const Json resolved = config::to_json(plan, catalog());
  const Document again = document_of(resolved);
  ComparePlan second = config::resolve_comparison(again, catalog());
  EXPECT_EQ(match_sizes(second, catalog(), again, warnings)[1].parameters, sizes[1].parameters);
  EXPECT_EQ(config::to_json(second, catalog()), resolved);
}

TEST(Compare, ParametersAreMatchedByTheMlp) {
  Json json = comparison(three());
  json["match"] = "parameters";
  const Document document = document_of(json);
  ComparePlan plan = config::resolve_comparison(document, catalog());
  std::vector<std::string> warnings;
  const std::vector<SubjectSize> sizes = match_sizes(plan, catalog(), document, warnings);
  const int64_t per_hidden = 2 * 2 * 32;  // two matrices in each of two layers
  EXPECT_EQ(sizes[0].hidden, 128) << "the baseline stays";
  for (const SubjectSize& size : sizes)
    EXPECT_LE(2 * std::abs(size.parameters - sizes[0].parameters), per_hidden);
  EXPECT_GT(sizes[1].hidden, 128) << "what MQA saves goes into its MLP";
  EXPECT_LT(sizes[2].hidden, 128);
  EXPECT_EQ(plan.subjects[2].plan.model.mlp_dim, sizes[2].hidden);
}

TEST(Compare, ComputeIsMatchedBySteps) {
  Json json = comparison(three());
  json["match"] = "compute";
  const Document document = document_of(json);
  ComparePlan plan = config::resolve_comparison(document, catalog());
  std::vector<std::string> warnings;
  const std::vector<SubjectSize> sizes = match_sizes(plan, catalog(), document, warnings);
  const double wanted = 100 * sizes[0].flops_per_update;
  for (size_t i = 0; i < sizes.size(); ++i) {
    const auto steps = static_cast<double>(plan.subjects[i].plan.train.steps);
    EXPECT_LE(2 * std::fabs(steps * sizes[i].flops_per_update - wanted), sizes[i].flops_per_update + 1e-6);
  }
  EXPECT_EQ(plan.subjects[0].plan.train.steps, 100);
  EXPECT_GT(plan.subjects[1].plan.train.steps, 100);
  EXPECT_LT(plan.subjects[2].plan.train.steps, 100);
}

TEST(Compare, SizesByHand) {
  const Document document = document_of(comparison({{"mha", attention({{"scheme", "mha"}})}}));
  ComparePlan plan = config::resolve_comparison(document, catalog());
  std::vector<std::string> warnings;
  const SubjectSize size = match_sizes(plan, catalog(), document, warnings)[0];
  // Windows of 2 pairs + 2 queries = 16 tokens; d = 32; a vocabulary of 16.
  const double matrices = 2 * (4 * 32 * 32 + 2 * 32 * 128) + 16 * 32;
  const double pairs = 16 * 17 / 2, attended = 2 * 2 * 32 * pairs;  // layers, and logits beside values
  EXPECT_EQ(size.window, 16);
  EXPECT_DOUBLE_EQ(size.flops_per_token, 2 * (matrices * 16 + attended) / 16);
  EXPECT_DOUBLE_EQ(size.flops_per_update, 3 * size.flops_per_token * 4 * 16);
  EXPECT_EQ(size.attention_parameters, 2 * 4 * 32 * 32);
  ASSERT_TRUE(size.state_bytes_per_token.has_value());
  EXPECT_EQ(*size.state_bytes_per_token, 4 * 2 * 2 * 32);
  EXPECT_EQ(*size.state_bytes, 0);
}

TEST(Compare, MistakesAreToldWhereTheyStand) {
  Json json = comparison(three());
  json["subjects"]["mqa"]["attention"]["num_kv_heds"] = 1;
  EXPECT_EQ(refusal(json).mistake().pointer, "/subjects/mqa/attention/num_kv_heds");
  EXPECT_EQ(refusal(json).mistake().file, "compare.json");
  EXPECT_THAT(refusal(json).summary(), testing::HasSubstr("subject \"mqa\""));

  json = comparison(three());
  json["train"]["step"] = 3;
  EXPECT_EQ(refusal(json).mistake().pointer, "/train/step");
  json = comparison(three());
  json["subjects"]["moas"]["attention"]["scheme"] = "moaz";
  EXPECT_EQ(refusal(json).mistake().pointer, "/subjects/moas/attention/scheme");
  EXPECT_EQ(refusal(json).exit(), base::Exit::plugin_missing);
  json = comparison(three());
  json["subjects"]["mqa"]["attention"]["num_kv_heads"] = 3;
  EXPECT_EQ(refusal(json).mistake().pointer, "/subjects/mqa/attention/num_kv_heads");
  json = comparison(three());
  json["subjects"]["mqa"]["model"]["block"] = 32;
  EXPECT_EQ(refusal(json).mistake().pointer, "/subjects/mqa/model/block");
  json = comparison(three());
  json["subjects"]["mqa"]["task"] = json["task"];
  EXPECT_EQ(refusal(json).mistake().pointer, "/subjects/mqa/task");
  json = comparison(three());
  json["subjects"]["a/b"] = json["subjects"]["mqa"];
  EXPECT_EQ(refusal(json).mistake().pointer, "/subjects/a~1b");
  for (const Json& seeds : {Json(0), Json(-1), Json("3"), Json(Json::array()), Json({1, 1}), Json({1.5})}) {
    json = comparison(three());
    json["seeds"] = seeds;
    EXPECT_THAT(refusal(json).mistake().pointer, testing::StartsWith("/seeds")) << seeds;
  }
  json = comparison(three());
  json["baseline"] = "mah";
  EXPECT_THAT(refusal(json).mistake().suggestion, testing::HasSubstr("mha"));
  json = comparison(three());
  json["base"] = "gone.json";
  EXPECT_EQ(refusal(json).mistake().pointer, "/base");
  EXPECT_EQ(refusal(comparison(Json::object())).mistake().pointer, "/subjects");
}

TEST(Compare, WhatCannotBeMatchedIsRefused) {
  Json json = comparison(three());
  json["match"] = "parameters";
  json["model"]["mlp_dim"] = 8;  // less than MoAS brings beside
  EXPECT_EQ(refusal(json).mistake().pointer, "/subjects/moas/attention");
  json = comparison(three());
  json["match"] = "compute";
  json["train"]["warmup"] = 99;
  EXPECT_EQ(refusal(json).mistake().pointer, "/train/warmup");
}

/// A comparison of two subjects with these losses, NaN for a trial that diverged.
measure::Comparison made(const std::vector<std::vector<double>>& losses) {
  measure::Comparison comparison;
  comparison.match = "none";
  for (size_t s = 0; s < losses[0].size(); ++s) comparison.seeds.push_back(s + 1);
  for (const auto& of_subject : losses) {
    measure::ComparedSubject subject;
    subject.name = "s" + std::to_string(comparison.subjects.size());
    subject.state.long_tokens = 2, subject.state.short_tokens = 1;
    for (size_t s = 0; s < of_subject.size(); ++s) {
      TrialResult trial;
      trial.seed = s + 1;
      trial.state = std::isnan(of_subject[s]) ? TrialState::diverged : TrialState::finished;
      trial.loss = of_subject[s];
      trial.window_losses = {of_subject[s] - 1, of_subject[s] + 1, of_subject[s]};
      trial.window_targets = {2, 2, 1};
      subject.trials.push_back(trial);
    }
    comparison.subjects.push_back(subject);
  }
  measure::analyse(comparison);
  return comparison;
}

TEST(Compare, DifferencesArePairedBySeed) {
  const measure::Comparison c = made({{1, 2, 3}, {1.1, 2.1, 3.1}, {0.9, 2.2, 2.9}});
  EXPECT_NEAR(c.subjects[1].difference.difference.mean, 0.1, 1e-12);
  EXPECT_LT(c.subjects[1].difference.difference.deviation, 1e-12) << "what seeds do to both cancels";
  EXPECT_NEAR(c.subjects[2].difference.difference.mean, 0, 1e-12);
  EXPECT_NEAR(c.subjects[1].by_seed[2].difference.mean, 0.1, 1e-12);
  EXPECT_LT(c.subjects[1].adjusted_p, 1e-6);
  EXPECT_TRUE(std::isnan(c.subjects[0].adjusted_p));
  EXPECT_TRUE(c.notes.empty());
}

TEST(Compare, ADivergedTrialIsNeverAveragedAway) {
  const double none = std::nan("");
  const measure::Comparison c = made({{1, 2, 3}, {1.1, none, 3.1}});
  EXPECT_TRUE(std::isnan(c.subjects[1].loss.mean));
  EXPECT_TRUE(std::isnan(c.subjects[1].difference.difference.mean));
  EXPECT_EQ(c.failed_trials(), 1);
  EXPECT_TRUE(c.complete());
  ASSERT_EQ(c.notes.size(), 1u);
  EXPECT_THAT(c.notes[0], testing::HasSubstr("s1: the trial with seed 2 diverged"));
  EXPECT_EQ(c.subjects[1].by_seed.size(), 2u) << "what finished is still shown";
}

TEST(Compare, OneSeedHasNoInterval) {
  const measure::Comparison c = made({{1}, {2}});
  EXPECT_EQ(c.subjects[1].loss.mean, 2);
  EXPECT_TRUE(std::isnan(c.subjects[1].loss.low));
  EXPECT_TRUE(std::isnan(c.subjects[1].adjusted_p));
  EXPECT_THAT(c.notes, testing::Contains(testing::HasSubstr("One seed")));
}

}  // namespace
}  // namespace attnlab::train
