// The analysis of a router on gates made by hand, whose answers are known, and its reports.
#include "core/train/routing.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <attnlab/philox.hpp>

#include <cmath>

#include "core/report/routing.hpp"
#include "core/train/study.hpp"
#include "tests/support/catalog.hpp"

namespace attnlab::train {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::vector<std::string> names_of(const std::vector<GateGroup>& groups) {
  std::vector<std::string> names;
  for (const GateGroup& group : groups) names.push_back(group.name);
  return names;
}

std::vector<int64_t> sizes_of(const std::vector<GateGroup>& groups) {
  std::vector<int64_t> sizes;
  for (const GateGroup& group : groups) sizes.push_back(group.tokens);
  return sizes;
}

/// One window of eight tokens; the last has no target.
SweptTokens eight_tokens() {
  SweptTokens tokens;
  tokens.windows = 1;
  tokens.block = 8;
  const std::string text = "aB3 \n.z\x7f";
  for (size_t i = 0; i < 8; ++i) {
    tokens.ids.push_back(static_cast<unsigned char>(text[i]));
    tokens.positions.push_back(static_cast<int64_t>(i));
    tokens.targets.push_back(i < 7 ? 1 : data::ignored_target);
    // 7, 6 ... 1: the losses fall along the window.
    tokens.losses.push_back(i < 7 ? 7 - static_cast<double>(i) : 0);
  }
  return tokens;
}

/// Gates (p, 1 - p) with p = 1/4 for the first four tokens and 3/4 for the others.
LayerGates two_branches() {
  LayerGates layer{2, "mixture", {"left", "right"}, {}, 12};
  for (int token = 0; token < 8; ++token) {
    const float left = token < 4 ? 0.25f : 0.75f;
    layer.gates.insert(layer.gates.end(), {left, 1 - left});
  }
  return layer;
}

TEST(TrainRouting, IndependentChoicesTellNothing) {
  std::vector<int64_t> choice, id;
  for (int64_t repeat = 0; repeat < 3; ++repeat) {
    for (int64_t c = 0; c < 2; ++c) {
      for (int64_t t = 0; t < 5; ++t) {
        choice.push_back(c);
        id.push_back(t);
      }
    }
  }
  const MutualInformation found = mutual_information(choice, id);
  EXPECT_EQ(found.bits, 0);
  EXPECT_EQ(found.share, 0);
  // One bit, and (2 - 1) / 2N nats of correction.
  EXPECT_NEAR(found.entropy, 1 + 1.0 / 60 / std::log(2.0), 1e-12);
}

TEST(TrainRouting, DeterminedChoicesTellAll) {
  std::vector<int64_t> choice, id;
  for (int64_t t = 0; t < 60; ++t) {
    id.push_back(t % 6);
    choice.push_back(t % 6 % 3);
  }
  const MutualInformation found = mutual_information(choice, id);
  EXPECT_NEAR(found.share, 1, 1e-12);
  EXPECT_NEAR(found.bits, std::log2(3.0) + 2.0 / 120 / std::log(2.0), 1e-12);
}

TEST(TrainRouting, TheCorrectionTakesAwayWhatChanceTells) {
  Philox random(5);
  std::vector<int64_t> choice, id;
  for (int i = 0; i < 2000; ++i) {
    choice.push_back(static_cast<int64_t>(random.below(3)));
    id.push_back(static_cast<int64_t>(random.below(60)));
  }
  // Without it (3 - 1) (60 - 1) / 2N nats are expected: 0.043 bits.
  EXPECT_LT(mutual_information(choice, id).bits, 0.01);
}

TEST(TrainRouting, AChoiceThatNeverChangesHasNoShare) {
  const std::vector<int64_t> choice(7, 1), id = {0, 1, 2, 3, 4, 5, 6};
  const MutualInformation found = mutual_information(choice, id);
  EXPECT_EQ(found.entropy, 0);
  EXPECT_EQ(found.bits, 0);
  EXPECT_TRUE(std::isnan(found.share));
}

TEST(TrainRouting, EntropyReachesItsBounds) {
  SweptTokens tokens = eight_tokens();
  LayerGates layer{0, "mixture", {"a", "b", "c", "d"}, std::vector<float>(32, 0.25f), -1};
  const LayerRouting even = analyse_layer(layer, tokens, {});
  EXPECT_NEAR(even.entropy, std::log(4.0), 1e-12);
  EXPECT_NEAR(even.entropy_share, 1, 1e-12);
  EXPECT_LE(even.entropy_share, 1);
  // The first of equals is the largest.
  EXPECT_THAT(even.all.chosen, ElementsAre(1, 0, 0, 0));

  for (size_t i = 0; i < 32; ++i) layer.gates[i] = i % 4 == 2 ? 1 : 0;
  const LayerRouting hard = analyse_layer(layer, tokens, {});
  EXPECT_EQ(hard.entropy, 0);
  EXPECT_EQ(hard.entropy_share, 0);
  EXPECT_THAT(hard.all.gates, ElementsAre(0, 0, 1, 0));

  const LayerRouting alone = analyse_layer({0, "mixture", {"a"}, std::vector<float>(8, 1), -1}, tokens, {});
  EXPECT_EQ(alone.entropy, 0);
  EXPECT_TRUE(std::isnan(alone.entropy_share));
}

TEST(TrainRouting, MeansOverAllTokens) {
  const LayerRouting found = analyse_layer(two_branches(), eight_tokens(), {});
  EXPECT_EQ(found.layer, 2);
  EXPECT_EQ(found.cache_elements, 12);
  EXPECT_THAT(found.all.gates, ElementsAre(0.5, 0.5));
  EXPECT_THAT(found.all.chosen, ElementsAre(0.5, 0.5));
  EXPECT_NEAR(found.entropy, -0.25 * std::log(0.25) - 0.75 * std::log(0.75), 1e-7);
  EXPECT_THAT(names_of(found.classes), ElementsAre("all"));
  EXPECT_DOUBLE_EQ(eight_tokens().mean_loss(), 4);
}

TEST(TrainRouting, QuartersOfTheLosses) {
  const LayerRouting found = analyse_layer(two_branches(), eight_tokens(), {});
  // Seven targets: 1, 2, 2, 2 of them, the easiest first; these are the last tokens, with gates 3/4.
  EXPECT_THAT(sizes_of(found.losses), ElementsAre(1, 2, 2, 2));
  EXPECT_THAT(names_of(found.losses),
              ElementsAre("Q1 1.000-1.000", "Q2 2.000-3.000", "Q3 4.000-5.000", "Q4 6.000-7.000"));
  EXPECT_THAT(found.losses[1].gates, ElementsAre(0.75, 0.25));
  EXPECT_THAT(found.losses[1].chosen, ElementsAre(1, 0));
  EXPECT_THAT(found.losses[3].gates, ElementsAre(0.25, 0.75));
}

TEST(TrainRouting, FewTargetsHaveFewerQuarters) {
  SweptTokens tokens = eight_tokens();
  for (size_t i = 2; i < 8; ++i) tokens.targets[i] = data::ignored_target;
  const LayerRouting found = analyse_layer(two_branches(), tokens, {});
  EXPECT_THAT(sizes_of(found.losses), ElementsAre(1, 1));
  EXPECT_THAT(names_of(found.losses), ElementsAre("Q2 6.000-6.000", "Q4 7.000-7.000"));
}

TEST(TrainRouting, EighthsOfTheWindow) {
  SweptTokens tokens = eight_tokens();
  tokens.block = 12;
  for (int64_t& position : tokens.positions) position += 4;
  const LayerRouting found = analyse_layer(two_branches(), tokens, {});
  // Bins of 12 positions begin at 0, 2, 3, 5, 6, 8, 9, 11; nothing stands before 4.
  EXPECT_THAT(names_of(found.positions), ElementsAre("3-4", "5", "6-7", "8", "9-10", "11"));
  EXPECT_THAT(sizes_of(found.positions), ElementsAre(1, 1, 2, 1, 2, 1));

  tokens = eight_tokens();
  tokens.block = 3;
  for (int64_t& position : tokens.positions) position %= 3;
  EXPECT_THAT(names_of(analyse_layer(two_branches(), tokens, {}).positions), ElementsAre("0", "1", "2"));
}

TEST(TrainRouting, KindsOfTokens) {
  const LayerRouting found = analyse_layer(two_branches(), eight_tokens(), data::Tokeniser::bytes());
  EXPECT_THAT(names_of(found.classes), ElementsAre("lower-case", "upper-case", "digit", "space", "line break",
                                                   "punctuation", "other"));
  EXPECT_THAT(sizes_of(found.classes), ElementsAre(2, 1, 1, 1, 1, 1, 1));
  EXPECT_THAT(found.classes[0].gates, ElementsAre(0.5, 0.5));
  EXPECT_THAT(found.classes[4].gates, ElementsAre(0.75, 0.25));

  const auto characters = data::Tokeniser::characters("é\t!");
  EXPECT_EQ(token_class_names()[token_class(characters, 0)], "space");
  EXPECT_EQ(token_class_names()[token_class(characters, 1)], "punctuation");
  EXPECT_EQ(token_class_names()[token_class(characters, 2)], "other");
  EXPECT_EQ(token_class_names()[token_class(data::Tokeniser::bytes(), 0xC3)], "other");
}

RoutingRecord small_record() {
  RoutingRecord record;
  record.title = "<b>|mixture";
  record.windows = 1, record.all_windows = 9, record.tokens = 8, record.block = 8, record.steps = 5;
  record.loss = 4;
  record.layers.push_back(analyse_layer(two_branches(), eight_tokens(), data::Tokeniser::bytes()));
  // A layer with another branch, alone: gates and shares that do not exist.
  record.layers.push_back(analyse_layer({3, "other", {"up"}, std::vector<float>(8, 1), -1}, eight_tokens(),
                                        data::Tokeniser::bytes()));
  record.ablations = {
      {"left", false, 3.5, -0.5, {2}}, {"right", false, 4.25, 0.25, {2}}, {"left", true, 5, 1, {2}}};
  record.state_tokens = 8;
  record.state_bytes = 2048;
  return record;
}

/// A small model of two layers, the second routed, with random weights.
std::unique_ptr<model::Gpt> small_model(int64_t vocabulary) {
  config::Document document;
  const config::Origin origin{"test", "."};
  document.set("/model", {{"layers", 2}, {"embed_dim", 16}, {"query_heads", 2}, {"block", 8}}, origin);
  document.set("/attention",
               {{{"scheme", "mha"}}, {{"scheme", "moas"}, {"branches", {"mha", "gqa:1"}}, {"bias", true}}},
               origin);
  document.set("/task", {{"text", "none"}}, origin);
  std::vector<std::string> warnings;
  return make_model(config::resolve_training(document, test::catalog()), test::catalog(), document,
                    vocabulary, graph::Element::f32, warnings);
}

TEST(TrainRouting, ASweepLeavesThePaddingOut) {
  const auto bytes = data::Tokeniser::bytes();
  // 30 tokens validate: 29 targets in windows of 8, the last with 5.
  const std::string text = "to be, or not to be: that is the question, whether it is nobler in m";
  const data::TextSource source(bytes, bytes.encode(text), {38.5 / 68, 8, 1});
  ASSERT_EQ(source.evaluation_windows(), 4);
  const auto model = small_model(source.vocabulary_size());
  const Sweep sweep = sweep_gates(*model, source, 4, 3);
  EXPECT_EQ(sweep.tokens.ids.size(), 29u);
  EXPECT_EQ(sweep.tokens.windows, 4);
  EXPECT_EQ(sweep.tokens.positions.back(), 4);
  ASSERT_EQ(sweep.layers.size(), 1u);
  EXPECT_EQ(sweep.layers[0].layer, 1);
  EXPECT_THAT(sweep.layers[0].branches, ElementsAre("mha", "gqa1"));
  EXPECT_EQ(sweep.layers[0].gates.size(), 58u);
  EXPECT_EQ(sweep.layers[0].cache_elements, 2 * 8 * (2 + 1));
  EXPECT_NEAR(sweep.tokens.mean_loss(), Trainer(*model, source, {}).evaluate().loss, 1e-6);

  int64_t tokens = 0;
  const std::vector<uint64_t> state = decode_state_bytes(*model, source, tokens);
  EXPECT_EQ(tokens, 8);
  EXPECT_THAT(state, ElementsAre(8 * 2 * 16 * 4, 8 * 48 * 4));
}

TEST(TrainRouting, FiguresThatDoNotExistAreNull) {
  const io::Json json = to_json(small_record());
  EXPECT_EQ(json["layers"][0]["gates"], io::Json({0.5, 0.5}));
  EXPECT_TRUE(json["layers"][1]["entropy_share"].is_null());
  EXPECT_TRUE(json["layers"][1]["token_information"]["share"].is_null());
  EXPECT_TRUE(json["layers"][1]["cache_elements_per_token"].is_null());
  EXPECT_EQ(json["ablations"][2]["kind"], "force");
}

TEST(TrainRouting, ReportsShowEveryLayerAndAblation) {
  const RoutingRecord record = small_record();
  const std::string text = report::routing_text(record);
  EXPECT_THAT(text, HasSubstr("1 of 9 windows"));
  EXPECT_THAT(text, HasSubstr("mixture"));
  EXPECT_THAT(text, HasSubstr("-0.5000"));
  EXPECT_THAT(text, HasSubstr("line break"));
  EXPECT_THAT(text, Not(HasSubstr("nan")));
  const std::string markdown = report::routing_markdown(record);
  EXPECT_THAT(markdown, HasSubstr("# Routing of \\<b\\>\\|mixture"));
  EXPECT_THAT(markdown, HasSubstr("| left | dropped | 3.5000 | -0.5000 |"));
}

TEST(TrainRouting, ThePageIsSelfContained) {
  const std::string page = report::routing_html(small_record());
  EXPECT_THAT(page, HasSubstr("default-src 'none'"));
  EXPECT_THAT(page, HasSubstr("Routing of &lt;b&gt;|mixture"));
  EXPECT_THAT(page, Not(HasSubstr("<b>")));
  EXPECT_THAT(page, Not(HasSubstr("nan")));
  for (const char* outside : {"<script", "http:", "https:", "src=\"", "url("}) {
    EXPECT_THAT(page, Not(HasSubstr(outside)));
  }
  for (const char* section : {"gates", "classes", "positions", "losses", "ablations", "tables"}) {
    EXPECT_THAT(page, HasSubstr(std::string("<section id=\"") + section + "\">"));
  }
}

}  // namespace
}  // namespace attnlab::train
