// Mixture of Attention Schemes: branches that are computed, losses, ablations, dropout, parameters.
#include "tests/unit/scheme_moas_test_support.hpp"

namespace attnlab::test {
namespace {

using namespace moas_layer;

TEST(MoasTop1, EqualsTrainingOverManyBlocksOfQueries) {
  const Array x = random_array({2, 700, kChannels}, 8);
  TestLayer layer = layer_of(moas("top1"));
  const Outcome chosen = forward(layer, x);
  const std::vector<size_t> choice = choices(chosen.reports.at("gates"));
  EXPECT_GT(std::count(choice.begin(), choice.begin() + 700, choice[0]), 256) << "more than a block";
  EXPECT_LT(largest_difference(chosen.y, forward(layer, x, true).y), 1e-11);
}

TEST(MoasTop1, ComputesTheChosenBranchAlone) {
  const Array x = random_array({2, 40, kChannels}, 8);
  TestLayer layer = layer_of(moas("top1"));
  const Outcome chosen = forward(layer, x), full = forward(layer, x, true);
  EXPECT_LT(largest_difference(chosen.y, full.y), 1e-12) << "training computes all branches";
  const std::vector<size_t> choice = choices(chosen.reports.at("gates"));
  for (size_t e = 0; e < 3; ++e) {
    const Doubles& rows = chosen.reports.at("o_" + kNames[e]);
    const Doubles& all = full.reports.at("o_" + kNames[e]);
    size_t computed = 0;
    for (size_t t = 0; t < choice.size(); ++t) {
      const Doubles row(rows.begin() + static_cast<ptrdiff_t>(t * kChannels),
                        rows.begin() + static_cast<ptrdiff_t>((t + 1) * kChannels));
      const Doubles whole(all.begin() + static_cast<ptrdiff_t>(t * kChannels),
                          all.begin() + static_cast<ptrdiff_t>((t + 1) * kChannels));
      const bool nothing = std::all_of(row.begin(), row.end(), [](double v) { return v == 0; });
      EXPECT_EQ(nothing, choice[t] != e);
      if (!nothing) {
        ++computed;
        EXPECT_LT(largest_difference(row, whole), 1e-12);
      }
    }
    EXPECT_EQ(static_cast<double>(computed) / static_cast<double>(choice.size()),
              chosen.reports.at("chosen_" + kNames[e])[0]);
    EXPECT_GT(computed, 0u);
  }
  // Nobody reads the queries or the output of a branch that a token did not choose.
  tensor_of(layer, "mqa.q_proj.bias").value.mutable_data<double>()[0] = NAN;
  const Doubles poisoned = forward(layer, x).y, everywhere = forward(layer, x, true).y;
  for (size_t t = 0; t < choice.size(); ++t) {
    EXPECT_EQ(std::isnan(poisoned[t * kChannels]), choice[t] == 2);
    EXPECT_TRUE(std::isnan(everywhere[t * kChannels]));
  }
}

TEST(MoasLosses, AreTheirFormulas) {
  const Array x = random_array({2, 9, kChannels}, 9);
  const Json weights = {{"balance_weight", 0.5}, {"z_loss_weight", 0.25}, {"cost_weight", 2}};
  const std::string modes[] = {"routed", "top1", "key_routed"};
  for (const std::string& mix : modes) {
    TestLayer mse = layer_of(moas(mix, weights));
    const Outcome found = forward(mse, x);
    const Doubles& gates = found.reports.at("gates");
    const Doubles& logits = found.reports.at("router_logits");
    const std::vector<size_t> choice = choices(gates);
    const auto tokens = static_cast<double>(choice.size());
    Doubles p(3, 0), f(3, 0);
    double z = 0, entropy = 0;
    for (size_t t = 0; t < choice.size(); ++t) {
      double total = 0;
      for (size_t e = 0; e < 3; ++e) {
        const double gate = gates[t * 3 + e];
        p[e] += gate / tokens;
        entropy -= gate * std::log(gate) / tokens;
        total += std::exp(logits[t * 3 + e]);
      }
      f[choice[t]] += 1 / tokens;
      z += std::log(total) * std::log(total) / tokens;
    }
    double spread = 0, product = 0, cost = 0;
    for (size_t e = 0; e < 3; ++e) {
      spread += (p[e] - 1.0 / 3) * (p[e] - 1.0 / 3) / 3;
      product += 3 * f[e] * p[e];
      cost += p[e] * static_cast<double>(kKvHeads[e]) / static_cast<double>(kHeads);
      EXPECT_NEAR(found.reports.at("avg_gates")[e], p[e], 1e-14);
      EXPECT_NEAR(found.reports.at("gate_" + kNames[e])[0], p[e], 1e-14);
      EXPECT_NEAR(found.reports.at("chosen_" + kNames[e])[0], f[e], 1e-14);
    }
    EXPECT_NEAR(found.reports.at("balance")[0], 0.5 * spread, 1e-14);
    EXPECT_NEAR(found.reports.at("router_z")[0], 0.25 * z, 1e-13);
    EXPECT_NEAR(found.reports.at("cache_cost")[0], 2 * cost, 1e-13);
    EXPECT_NEAR(found.reports.at("gate_entropy")[0], entropy, 1e-13);
    TestLayer switching = layer_of(moas(mix, {{"balance", "switch"}, {"balance_weight", 0.5}}));
    EXPECT_NEAR(forward(switching, x).reports.at("balance")[0], 0.5 * product, 1e-13);
  }
}

TEST(MoasLosses, AreLeftOutWithoutAWeightOrARouter) {
  const Array x = random_array({1, 4, kChannels}, 9);
  for (const Json& attention : {moas("static"), moas("routed", {{"balance_weight", 0}}),
                                moas("routed", {{"force_branch", "mha"}, {"z_loss_weight", 1}})}) {
    TestLayer layer = layer_of(attention);
    forward(layer, x);
    for (const auto& report : layer.reports) EXPECT_NE(report.kind, ATTNLAB_REPORT_LOSS) << report.name;
  }
}

TEST(MoasLosses, UniformGatesMinimiseTheReferencesBalance) {
  const Array x = random_array({1, 4, kChannels}, 9);
  TestLayer layer = layer_of(moas("routed"));
  for (const char* name : {"router.2.weight", "router.2.bias"}) {
    Array& values = tensor_of(layer, name).value;
    std::fill_n(values.mutable_data<double>(), values.size(), 0.0);
  }
  const Outcome outcome = forward(layer, x);
  EXPECT_NEAR(outcome.reports.at("balance")[0], 0, 1e-30);
  EXPECT_NEAR(outcome.reports.at("gate_entropy")[0], std::log(3), 1e-12);
}

TEST(MoasAblation, DropsABranchAndRenormalisesTheGates) {
  const Array x = random_array({2, 9, kChannels}, 10);
  TestLayer whole = layer_of(moas("routed")), without = layer_of(moas("routed", {{"drop_branch", "gqa"}}));
  const Outcome all = forward(whole, x), rest = forward(without, x);
  EXPECT_FALSE(rest.reports.contains("o_gqa"));
  for (size_t t = 0; t < 18; ++t) {
    const double* g = all.reports.at("gates").data() + t * 3;
    const double kept = g[0] + g[2];
    EXPECT_EQ(rest.reports.at("gates")[t * 3 + 1], 0);
    for (size_t e : {0u, 2u}) EXPECT_NEAR(rest.reports.at("gates")[t * 3 + e], g[e] / kept, 1e-14);
    for (size_t c = 0; c < kChannels; ++c) {
      const size_t i = t * kChannels + c;
      const double expected = (g[0] * all.reports.at("o_mha")[i] + g[2] * all.reports.at("o_mqa")[i]) / kept;
      EXPECT_NEAR(rest.y[i], expected, 1e-12);
    }
  }
  TestLayer mean = layer_of(moas("static", {{"drop_branch", "mha"}}));
  const Outcome pair = forward(mean, x);
  for (size_t i = 0; i < pair.y.size(); ++i)
    EXPECT_NEAR(pair.y[i], (pair.reports.at("o_gqa")[i] + pair.reports.at("o_mqa")[i]) / 2, 1e-14);
}

TEST(MoasAblation, ForcesABranch) {
  const Array x = random_array({2, 9, kChannels}, 10);
  TestLayer routed = layer_of(moas("routed"));
  const Outcome all = forward(routed, x);
  for (const std::string& name : kNames) {
    for (const char* mix : {"routed", "top1"}) {
      TestLayer layer = layer_of(moas(mix, {{"force_branch", name}}));
      EXPECT_LT(largest_difference(forward(layer, x).y, all.reports.at("o_" + name)), 1e-12) << name << mix;
    }
  }
}

TEST(MoasDropout, GatesThatAreLeftSumToOneUnlessAsked) {
  const Array x = random_array({1, 64, kChannels}, 11);
  for (const bool renormalise : {true, false}) {
    TestLayer layer =
        layer_of(moas("routed", {{"gate_dropout", 0.5}, {"gate_dropout_renormalise", renormalise}}));
    // Every branch says 1, so the output is the sum of the gates.
    for (const std::string& name : kNames) {
      Array& weight = tensor_of(layer, name + ".c_proj.weight").value;
      Array& bias = tensor_of(layer, name + ".c_proj.bias").value;
      std::fill_n(weight.mutable_data<double>(), weight.size(), 0.0);
      std::fill_n(bias.mutable_data<double>(), bias.size(), 1.0);
    }
    const Outcome outcome = forward(layer, x, true);
    double off = 0, mean = 0;
    for (size_t t = 0; t < 64; ++t) {
      off = std::max(off, std::abs(outcome.y[t * kChannels] - 1));
      mean += outcome.y[t * kChannels] / 64;
    }
    if (renormalise) {
      EXPECT_LT(off, 1e-12);
    } else {
      EXPECT_GT(off, 0.5);
      EXPECT_NEAR(mean, 1, 0.4) << "inverted dropout keeps the mean";
    }
    for (double sum : forward(layer, x).y) EXPECT_NEAR(sum, 1, 1e-12) << "inference drops nothing";
  }
}

TEST(MoasDropout, IsAFunctionOfTheKey) {
  const Array x = random_array({1, 12, kChannels}, 11);
  for (const char* mix : {"static", "routed", "top1", "key_routed"}) {
    TestLayer layer = layer_of(moas(mix, {{"dropout", 0.5}}));
    const Doubles first = forward(layer, x, true).y;
    EXPECT_EQ(forward(layer, x, true).y, first);
    EXPECT_NE(forward(layer, x).y, first);
  }
}

TEST(MoasParameters, WrongOnesAreRefusedWithTheirPlace) {
  struct {
    Json attention;
    std::string pointer, text;
  } const cases[] = {
      {moas("routed", {{"branches", {"mha", "sqa"}}}), "/attention/branches/1", "gqa:G"},
      {moas("routed", {{"branches", {"mha", "gqa:0"}}}), "/attention/branches/1", "gqa:G"},
      {moas("routed", {{"branches", {"mqa", "mqa"}}}), "/attention/branches/1", "again"},
      {moas("routed", {{"branches", Json::array()}}), "/attention/branches", "at least one"},
      {moas("routed", {{"gqa_groups", 3}}), "/attention/gqa_groups", "1, 2, 4"},
      {moas("routed", {{"branches", {"mha", "gqa:3"}}}), "/attention/branches/1", "1, 2, 4"},
      {moas("routed", {{"drop_branch", "mla"}}), "/attention/drop_branch", "none, mha, gqa, mqa"},
      {moas("routed", {{"force_branch", "mla"}}), "/attention/force_branch", "none, mha, gqa, mqa"},
      {moas("routed", {{"force_branch", "mha"}, {"drop_branch", "mha"}}), "/attention/force_branch",
       "drop_branch"},
      {moas("static", {{"branches", {"mha"}}, {"drop_branch", "mha"}}), "/attention/drop_branch", "only"},
      {moas("top1", {{"gate_dropout", 0.1}, {"gate_dropout_renormalise", false}}),
       "/attention/gate_dropout_renormalise", "routed"},
  };
  for (const auto& c : cases) {
    try {
      TestLayer layer(c.attention, geometry(), Element::f64);
      ADD_FAILURE() << c.attention << " was accepted";
    } catch (const base::UserError& error) {
      EXPECT_EQ(error.mistake().pointer, c.pointer) << error.what();
      EXPECT_NE(std::string(error.what()).find(c.text), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace attnlab::test
