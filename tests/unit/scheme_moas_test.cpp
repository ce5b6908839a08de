// Mixture of Attention Schemes: gradients, decoding, causality, what is stored, losses and ablations.
#include <gtest/gtest.h>

#include <attnlab/philox.hpp>

#include <cmath>
#include <cstring>
#include <numeric>

#include "core/base/parallel.hpp"
#include "tests/support/scheme_layer.hpp"

namespace attnlab::test {
namespace {

using graph::Array;
using graph::Element;
using graph::value_of;
using io::Json;
using Doubles = std::vector<double>;

constexpr int64_t kHeads = 4, kWidth = 3, kChannels = 12;
const std::vector<int64_t> kKvHeads = {4, 2, 1};
const std::vector<std::string> kNames = {"mha", "gqa", "mqa"};

plugin::SchemeGeometry geometry() {
  plugin::SchemeGeometry g;
  g.embed_dim = kChannels;
  g.query_heads = g.kv_heads = kHeads;
  g.head_dim = g.value_dim = kWidth;
  return g;
}

Json moas(const std::string& mix, const Json& more = Json::object()) {
  Json attention = {{"scheme", "moas"}, {"mix", mix}, {"bias", true}};
  attention.merge_patch(more);
  return attention;
}

template <class T>
void fill(Array& array, uint64_t key, double scale) {
  Philox random(key);
  for (int64_t i = 0; i < array.size(); ++i)
    array.mutable_data<T>()[i] = static_cast<T>(scale * random.normal());
}

Array random_array(const graph::Extents& shape, uint64_t key, double scale = 1) {
  Array array(Element::f64, shape);
  fill<double>(array, key, scale);
  return array;
}

Doubles numbers(const Array& array) {
  const Array packed = array.as(Element::f64).packed();
  return {packed.data<double>(), packed.data<double>() + packed.size()};
}
Doubles numbers(const Var& var) {
  return numbers(value_of(var));
}

/// A layer whose tensors are large enough that tokens take different branches.
TestLayer layer_of(const Json& attention, Element precision = Element::f64) {
  TestLayer layer(attention, geometry(), precision);
  uint64_t key = 100;
  for (auto& parameter : layer.parameters.all()) {
    // A bias would favour one branch for all tokens.
    const double scale = parameter.name == "router.2.weight" ? 2
                         : parameter.name == "router.2.bias" ? 0.1
                                                             : 0.4;
    if (precision == Element::f64) {
      fill<double>(parameter.value, key++, scale);
    } else {
      fill<float>(parameter.value, key++, scale);
    }
  }
  return layer;
}

model::Parameter& tensor_of(TestLayer& layer, const std::string& name) {
  auto& all = layer.parameters.all();
  const auto found = std::find_if(all.begin(), all.end(), [&](const auto& p) { return p.name == name; });
  if (found == all.end()) throw std::out_of_range(name);
  return *found;
}

/// What one forward gave; nothing of it refers to the graph.
struct Outcome {
  Doubles y;
  std::map<std::string, Doubles> reports;
};
Outcome forward(TestLayer& layer, const Array& x, bool training = false) {
  layer.bind(false);
  Outcome outcome;
  const Var input = layer.the_graph().constant(x);
  outcome.y = numbers(layer.forward({&input, 1}, training));
  for (const auto& report : layer.reports) outcome.reports[report.name] = numbers(report.value);
  return outcome;
}

/// Outputs of decoding in these chunks, [B, T, C].
Doubles decode(TestLayer& layer, const Array& x, const std::vector<int64_t>& chunks,
               model::LayerState& state) {
  layer.bind(false);
  std::vector<Var> parts;
  const Var input = layer.the_graph().constant(x);
  const int64_t tokens = x.extent(1);
  int64_t begin = 0;
  for (size_t i = 0; begin < tokens; ++i) {
    const int64_t end = std::min(tokens, begin + chunks[i % chunks.size()]);
    parts.push_back(layer.step(state, slice(input, 1, begin, end)));
    begin = end;
  }
  return numbers(concat(parts, 1));
}

double largest_difference(const Doubles& a, const Doubles& b) {
  if (a.size() != b.size()) return INFINITY;
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (!(std::abs(a[i] - b[i]) <= largest)) largest = std::abs(a[i] - b[i]);
  }
  return largest;
}

/// The branch of each token: that of its largest gate.
std::vector<size_t> choices(const Doubles& gates, size_t branches = 3) {
  std::vector<size_t> result;
  for (auto at = gates.begin(); at != gates.end(); at += static_cast<ptrdiff_t>(branches))
    result.push_back(static_cast<size_t>(std::max_element(at, at + static_cast<ptrdiff_t>(branches)) - at));
  return result;
}

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

const Json kEveryMode[] = {
    moas("static"),
    moas("routed"),
    moas("top1"),
    moas("key_routed"),
    moas("routed", {{"drop_branch", "gqa"}}),
    moas("top1", {{"force_branch", "mha"}}),
    moas("key_routed", {{"drop_branch", "mha"}}),
    moas("routed", {{"branches", {"gqa:4", "gqa", "mqa"}}}),
    moas("key_routed", {{"branches", {"mqa", "gqa:2", "gqa:4", "mha"}}, {"bias", false}}),
};

TEST(MoasDecoding, EqualsTheForwardInChunks) {
  const Array x = random_array({2, 23, kChannels}, 3);
  TestLayer routed = layer_of(moas("routed"));
  const std::vector<size_t> choice = choices(forward(routed, x).reports.at("gates"));
  for (size_t e = 0; e < 3; ++e) ASSERT_GT(std::count(choice.begin(), choice.end(), e), 3) << "in use";
  for (const Element precision : {Element::f64, Element::f32}) {
    for (const Json& attention : kEveryMode) {
      TestLayer layer = layer_of(attention, precision);
      const Doubles whole = forward(layer, x).y;
      for (const std::vector<int64_t>& chunks :
           {std::vector<int64_t>{1}, std::vector<int64_t>{7}, std::vector<int64_t>{9, 1, 1, 4}}) {
        model::LayerState state;
        const double error = largest_difference(decode(layer, x, chunks, state), whole);
        EXPECT_LT(error, precision == Element::f64 ? 1e-10 : 1e-4) << attention << " by " << chunks[0];
        EXPECT_EQ(state.length(), 23);
      }
    }
  }
}

TEST(MoasDecoding, GoesOnFromACutOrForkedState) {
  const Array one = random_array({2, 20, kChannels}, 4), other = random_array({2, 20, kChannels}, 5);
  for (const Json& attention : kEveryMode) {
    TestLayer layer = layer_of(attention);
    model::LayerState state;
    decode(layer, one, {6}, state);
    ASSERT_TRUE(state.truncate(9));
    decode(layer, other.sliced(1, 0, 8).packed(), {3}, state);  // 17 positions, of which 8 will go again
    ASSERT_TRUE(state.truncate(9));
    model::LayerState fork = state.fork();
    decode(layer, one.sliced(1, 0, 4).packed(), {2}, fork);
    const Array rest = other.sliced(1, 9, 20).packed();
    const Doubles found = decode(layer, rest, {5, 1}, state);

    Array spliced(Element::f64, one.shape());
    Array head = spliced.sliced(1, 0, 9), tail = spliced.sliced(1, 9, 20);
    graph::copy_elements(one.sliced(1, 0, 9), head);
    graph::copy_elements(rest, tail);
    const Doubles whole = forward(layer, spliced).y;
    for (size_t b = 0; b < 2; ++b) {
      const auto row = [&](const Doubles& all, size_t tokens, size_t t) {
        return all.begin() + static_cast<ptrdiff_t>((b * tokens + t) * kChannels);
      };
      const Doubles end(row(whole, 20, 9), row(whole, 20, 20));
      EXPECT_LT(largest_difference(Doubles(row(found, 11, 0), row(found, 11, 11)), end), 1e-10) << attention;
    }
  }
}

TEST(Moas, TheFutureLeavesThePastBitEqual) {
  // More tokens than the least number of queries of a chosen branch, and fewer.
  for (const int64_t tokens : {int64_t{90}, int64_t{40}, int64_t{9}}) {
    const int64_t past = tokens / 2;
    for (const Element precision : {Element::f32, Element::f64}) {
      for (const Json& attention : kEveryMode) {
        for (const bool training : {false, true}) {
          TestLayer layer = layer_of(attention, precision);
          const Array x = random_array({1, tokens, kChannels}, 6);
          const Doubles before = forward(layer, x, training).y;
          for (uint64_t key = 50; key < 54; ++key) {
            Array changed(Element::f64, x.shape());
            graph::copy_elements(x, changed);
            Array future = changed.sliced(1, past, tokens);
            graph::copy_elements(random_array({1, tokens - past, kChannels}, key, 3), future);
            const Doubles after = forward(layer, changed, training).y;
            const auto count = static_cast<size_t>(past * kChannels);
            ASSERT_EQ(std::memcmp(before.data(), after.data(), count * sizeof(double)), 0)
                << attention << " tokens " << tokens;
            EXPECT_NE(before.back(), after.back());
          }
        }
      }
    }
  }
}

/// Kernels may choose their way, and so their rounding, by the number of rows: few against many later tokens
/// that choose the branch of an earlier one. Streamed and packed rows differ beyond 4096 keys.
TEST(MoasTop1, TheNumberOfLaterQueriesLeavesThePastBitEqual) {
  const int64_t tokens = 4140, past = 4110;
  TestLayer layer = layer_of(moas("top1"), Element::f32);
  // Channel 0 alone decides: mha where it is positive, else mqa.
  for (const char* name : {"router.0.weight", "router.0.bias", "router.2.weight", "router.2.bias"}) {
    Array& values = tensor_of(layer, name).value;
    std::fill_n(values.mutable_data<float>(), values.size(), 0.0F);
  }
  tensor_of(layer, "router.0.weight").value.mutable_data<float>()[0] = 5;
  tensor_of(layer, "router.2.weight").value.mutable_data<float>()[0] = 10;
  tensor_of(layer, "router.2.bias").value.mutable_data<float>()[0] = -5;
  tensor_of(layer, "router.2.bias").value.mutable_data<float>()[1] = -50;
  Array x = random_array({1, tokens, kChannels}, 8);
  auto choose = [&](int64_t token, bool mha) { x.mutable_data<double>()[token * kChannels] = mha ? 2 : -2; };
  for (int64_t t = 0; t < past; ++t) choose(t, t == 4100 || t == 4105);

  std::vector<Doubles> pasts;
  for (const bool mha : {false, true}) {
    for (int64_t t = past; t < tokens; ++t) choose(t, mha);
    Outcome outcome = forward(layer, x);
    EXPECT_NEAR(outcome.reports.at("chosen_mha")[0], (mha ? 32.0 : 2.0) / static_cast<double>(tokens), 1e-6);
    outcome.y.resize(static_cast<size_t>(past * kChannels));
    pasts.push_back(std::move(outcome.y));
  }
  EXPECT_EQ(largest_difference(pasts[0], pasts[1]), 0);
}

TEST(Moas, TheBitsDoNotDependOnTheThreads) {
  const Array x = random_array({3, 70, kChannels}, 7);
  for (const Json& attention : kEveryMode) {
    TestLayer layer = layer_of(attention, Element::f32);
    const Doubles all = forward(layer, x).y;
    const base::ThreadLimit one(1);
    EXPECT_EQ(forward(layer, x).y, all) << attention;
  }
}

TEST(MoasStorage, CountsWhatEachModeKeeps) {
  const int64_t batch = 2, tokens = 23;
  const Array x = random_array({batch, tokens, kChannels}, 3);
  struct {
    Json attention;
    int64_t kv_heads;  ///< kept of a token
  } const dense[] = {
      {moas("static"), 4 + 2 + 1},
      {moas("routed"), 4 + 2 + 1},
      {moas("top1"), 4 + 2 + 1},
      {moas("routed", {{"branches", {"mha", "gqa:4", "gqa:1"}}}), 4 + 4 + 1},
      {moas("top1", {{"drop_branch", "mha"}}), 2 + 1},
      {moas("routed", {{"force_branch", "mqa"}}), 1},
  };
  for (const Element precision : {Element::f32, Element::f64}) {
    const auto size = static_cast<uint64_t>(graph::size_of(precision));
    for (const auto& c : dense) {
      TestLayer layer = layer_of(c.attention, precision);
      model::LayerState state;
      decode(layer, x, {5}, state);
      const auto elements = static_cast<uint64_t>(2 * kWidth * c.kv_heads);
      EXPECT_EQ(state.bytes(), size * elements * static_cast<uint64_t>(batch * tokens)) << c.attention;
      EXPECT_EQ(forward(layer, x).reports.at("cache_elements_per_token")[0], static_cast<double>(elements));
    }
  }
}

TEST(MoasStorage, OfKeyRoutedIsThatOfTheChosenFormats) {
  const int64_t batch = 2, tokens = 23;
  const Array x = random_array({batch, tokens, kChannels}, 3);
  TestLayer layer = layer_of(moas("key_routed"));
  const Outcome outcome = forward(layer, x);
  uint64_t elements = 0;
  std::vector<int> count(3, 0);
  for (size_t branch : choices(outcome.reports.at("gates"))) {
    elements += static_cast<uint64_t>(2 * kWidth * kKvHeads[branch] + 1);  // and where it is stored
    ++count[branch];
  }
  EXPECT_TRUE(count[0] > 0 && count[1] > 0 && count[2] > 0) << "every format is in use";
  model::LayerState state;
  decode(layer, x, {5}, state);
  EXPECT_EQ(state.bytes(), sizeof(double) * elements);
  EXPECT_NEAR(outcome.reports.at("cache_elements_per_token")[0],
              static_cast<double>(elements) / static_cast<double>(batch * tokens), 1e-12);
  EXPECT_LT(state.bytes(), sizeof(double) * static_cast<uint64_t>(2 * kWidth * kHeads * batch * tokens))
      << "less than multi-head attention alone";
  EXPECT_GE(state.allocated_bytes(), state.bytes());

  // The least there is: every token as multi-query attention stores it.
  TestLayer least = layer_of(moas("key_routed", {{"force_branch", "mqa"}}));
  model::LayerState small;
  decode(least, x, {5}, small);
  EXPECT_EQ(small.bytes(), sizeof(double) * static_cast<uint64_t>((2 * kWidth + 1) * batch * tokens));
}

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
