// Mixture of Attention Schemes: gradients against differences, key-routed storage against loops.
#include <functional>
#include <numeric>

#include "tests/unit/scheme_moas_test_support.hpp"

namespace attnlab::test {
namespace {

using namespace moas_layer;

/// sum(y r) + losses, and its gradients by x and every tensor.
struct Loss {
  double value;
  std::map<std::string, Doubles> gradients;
};
Loss loss_of(TestLayer& layer, const Array& x, bool training, bool watched) {
  layer.bind(watched);
  Loss loss;
  const Var input = watched ? layer.the_graph().watched(x) : layer.the_graph().constant(x);
  const Var y = layer.forward({&input, 1}, training);
  Var total = sum(y * layer.the_graph().constant(random_array(x.shape(), 77)));
  for (const auto& report : layer.reports) {
    if (report.kind == ATTNLAB_REPORT_LOSS) total = total + report.value;
  }
  loss.value = value_of(total).scalar();
  if (!watched) return loss;
  std::vector<Var> by = layer.parameter_nodes();
  by.push_back(input);
  const auto found = graph::gradients(layer.the_graph(), total, {}, by, false);
  const auto& all = layer.parameters.all();
  for (size_t i = 0; i < found.size(); ++i)
    loss.gradients[i < all.size() ? all[i].name : "x"] = numbers(found[i]);
  return loss;
}

/// Largest difference of a gradient from central differences, relative to the largest of its tensor or to 1.
double gradient_error(TestLayer& layer, const Array& x, bool training,
                      const std::function<bool(const std::string&)>& checked) {
  const Loss at = loss_of(layer, x, training, true);
  double worst = 0;
  auto check = [&](const std::string& name, Array& values) {
    if (!checked(name)) return;
    const Doubles& gradient = at.gradients.at(name);
    double largest = 1;
    for (double g : gradient) largest = std::max(largest, std::abs(g));
    // Of large tensors every 17th element, which meets every column.
    for (int64_t i = 0; i<values.size(); i += values.size()> 100 ? 17 : 1) {
      double& value = values.mutable_data<double>()[i];
      const double before = value, step = 1e-5;
      value = before + step;
      const double above = loss_of(layer, x, training, false).value;
      value = before - step;
      const double below = loss_of(layer, x, training, false).value;
      value = before;
      const double difference = (above - below) / (2 * step);
      worst = std::max(worst, std::abs(gradient[static_cast<size_t>(i)] - difference) / largest);
    }
  };
  for (auto& parameter : layer.parameters.all()) check(parameter.name, parameter.value);
  Array input = x;
  check("x", input);
  return worst;
}

bool everything(const std::string&) {
  return true;
}
/// What straight-through gates leave alone: their gradient is not that of the function.
bool outside_the_router(const std::string& name) {
  return !name.starts_with("router") && name != "x";
}

TEST(MoasGradients, AreThoseOfDifferencesInEveryMode) {
  const Array x = random_array({2, 5, kChannels}, 1);
  const Json losses = {{"balance_weight", 0.5}, {"z_loss_weight", 0.3}, {"cost_weight", 0.2}};
  Json switching = losses;
  switching["balance"] = "switch";
  Json soft = losses;
  soft["key_training"] = "soft";
  Json dropping = losses;
  dropping["drop_branch"] = "gqa";
  struct {
    Json attention;
    bool training;
    bool all;
  } const cases[] = {
      {moas("static"), true, true},
      {moas("routed", losses), true, true},
      {moas("routed", switching), true, true},
      {moas("routed", dropping), true, true},
      {moas("routed", {{"dropout", 0.3}, {"gate_dropout", 0.4}}), true, true},
      {moas("routed", {{"gate_dropout", 0.4}, {"gate_dropout_renormalise", false}}), true, true},
      {moas("top1", losses), false, true},
      {moas("top1", losses), true, false},
      {moas("key_routed", losses), false, true},
      {moas("key_routed", losses), true, false},
      {moas("key_routed", soft), true, true},
      {moas("routed", {{"force_branch", "mqa"}}), true, true},
  };
  for (const auto& c : cases) {
    TestLayer layer = layer_of(c.attention);
    EXPECT_LT(gradient_error(layer, x, c.training, c.all ? everything : outside_the_router), 1e-7)
        << c.attention << (c.training ? " training" : "");
  }
}

/// Gradient of the router's last bias from dL/dg [tokens, 3]: through the softmax alone.
Doubles bias_gradient(const Doubles& gates, const Doubles& by_gate) {
  Doubles result(3, 0);
  for (size_t t = 0; t < gates.size(); t += 3) {
    double mean = 0;
    for (size_t e = 0; e < 3; ++e) mean += gates[t + e] * by_gate[t + e];
    for (size_t e = 0; e < 3; ++e) result[e] += gates[t + e] * (by_gate[t + e] - mean);
  }
  return result;
}

TEST(MoasGradients, OfTop1sRouterAreThoseOfTheMixtureAtTheChoice) {
  const Array x = random_array({2, 5, kChannels}, 1);
  TestLayer layer = layer_of(moas("top1", {{"balance_weight", 0}}));
  const Loss loss = loss_of(layer, x, true, true);
  const Outcome outcome = forward(layer, x, true);
  // y = sum_e g_e O_e, so dL/dg_e of a token is r . O_e.
  const Doubles r = numbers(random_array(x.shape(), 77));
  Doubles by_gate(30, 0);
  for (size_t t = 0; t < 10; ++t) {
    for (size_t e = 0; e < 3; ++e) {
      for (size_t c = 0; c < kChannels; ++c)
        by_gate[t * 3 + e] += r[t * kChannels + c] * outcome.reports.at("o_" + kNames[e])[t * kChannels + c];
    }
  }
  const Doubles expected = bias_gradient(outcome.reports.at("gates"), by_gate);
  EXPECT_LT(largest_difference(loss.gradients.at("router.2.bias"), expected), 1e-12);
  EXPECT_GT(std::abs(expected[0]), 1e-3);
}

/// y of key-routed storage where token j's key and value are sum_f weights[j][f] of format f; one sequence.
Doubles naive_key_routed(TestLayer& layer, const Doubles& x, const Doubles& weights) {
  const auto tokens = static_cast<int64_t>(x.size()) / kChannels;
  auto projected = [&](const std::string& name, int64_t t, int64_t out) {
    const Doubles w = numbers(tensor_of(layer, name + ".weight").value);
    double sum = numbers(tensor_of(layer, name + ".bias").value)[static_cast<size_t>(out)];
    for (int64_t c = 0; c < kChannels; ++c)
      sum += w[static_cast<size_t>(out * kChannels + c)] * x[static_cast<size_t>(t * kChannels + c)];
    return sum;
  };
  auto stored = [&](const char* part, int64_t t, int64_t head, int64_t c) {
    double sum = 0;
    for (size_t f = 0; f < 3; ++f) {
      const int64_t from = head * kKvHeads[f] / kHeads;
      sum += weights[static_cast<size_t>(t) * 3 + f] * projected(kNames[f] + part, t, from * kWidth + c);
    }
    return sum;
  };
  Doubles heads(x.size(), 0), y(x.size(), 0);
  for (int64_t head = 0; head < kHeads; ++head) {
    for (int64_t t = 0; t < tokens; ++t) {
      Doubles p;
      double total = 0;
      for (int64_t j = 0; j <= t; ++j) {
        double logit = 0;
        for (int64_t c = 0; c < kWidth; ++c)
          logit += projected("q_proj", t, head * kWidth + c) * stored(".k_proj", j, head, c);
        p.push_back(std::exp(logit / std::sqrt(static_cast<double>(kWidth))));
        total += p.back();
      }
      for (int64_t c = 0; c < kWidth; ++c) {
        for (int64_t j = 0; j <= t; ++j)
          heads[static_cast<size_t>(t * kChannels + head * kWidth + c)] +=
              p[static_cast<size_t>(j)] / total * stored(".v_proj", j, head, c);
      }
    }
  }
  const Doubles w = numbers(tensor_of(layer, "c_proj.weight").value);
  const Doubles b = numbers(tensor_of(layer, "c_proj.bias").value);
  for (size_t i = 0; i < y.size(); ++i) {
    const size_t t = i / kChannels, out = i % kChannels;
    y[i] = b[out];
    for (size_t c = 0; c < kChannels; ++c) y[i] += w[out * kChannels + c] * heads[t * kChannels + c];
  }
  return y;
}

Doubles one_hot(const std::vector<size_t>& choice) {
  Doubles result(choice.size() * 3, 0);
  for (size_t t = 0; t < choice.size(); ++t) result[t * 3 + choice[t]] = 1;
  return result;
}

TEST(MoasKeyRouted, IsWhatLoopsSay) {
  const Array x = random_array({1, 6, kChannels}, 2);
  TestLayer layer = layer_of(moas("key_routed"));
  const Outcome found = forward(layer, x);
  const Doubles hard = one_hot(choices(found.reports.at("gates")));
  EXPECT_LT(largest_difference(found.y, naive_key_routed(layer, numbers(x), hard)), 1e-12);
  EXPECT_LT(largest_difference(forward(layer, x, true).y, found.y), 1e-12);

  TestLayer soft = layer_of(moas("key_routed", {{"key_training", "soft"}}));
  const Doubles mixture = naive_key_routed(soft, numbers(x), found.reports.at("gates"));
  EXPECT_LT(largest_difference(forward(soft, x, true).y, mixture), 1e-12);
  EXPECT_LT(largest_difference(forward(soft, x).y, found.y), 1e-12) << "what is stored is hard";
}

TEST(MoasKeyRouted, RouterGradientsAreThoseOfTheMixtureAtTheChoice) {
  const Array x = random_array({1, 5, kChannels}, 2);
  TestLayer layer = layer_of(moas("key_routed", {{"balance_weight", 0}}));
  const Loss loss = loss_of(layer, x, true, true);
  const Doubles gates = forward(layer, x).reports.at("gates"), r = numbers(random_array(x.shape(), 77));
  Doubles weights = one_hot(choices(gates)), by_gate;
  auto value = [&] {
    const Doubles y = naive_key_routed(layer, numbers(x), weights);
    return std::inner_product(y.begin(), y.end(), r.begin(), 0.0);
  };
  for (double& weight : weights) {
    const double before = weight, step = 1e-5;
    weight = before + step;
    const double above = value();
    weight = before - step;
    by_gate.push_back((above - value()) / (2 * step));
    weight = before;
  }
  EXPECT_LT(largest_difference(loss.gradients.at("router.2.bias"), bias_gradient(gates, by_gate)), 1e-7);
}

}  // namespace
}  // namespace attnlab::test
