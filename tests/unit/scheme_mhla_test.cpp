// Multi-head linear attention: every way to mix against a double loop over tokens, in blocks and token by
// token; what it keeps of a sequence; gradients where no causal table reaches; mistakes.
#include <gtest/gtest.h>

#include <attnlab/philox.hpp>

#include <cmath>

#include "core/base/error.hpp"
#include "core/graph/check.hpp"
#include "tests/support/scheme_layer.hpp"

namespace attnlab {
namespace {

using graph::Array;
using graph::Element;
using graph::value_of;
using io::Json;

constexpr int64_t kBatch = 2, kQueryHeads = 4, kKvHeads = 2, kKeyDim = 3, kValueDim = 5, kTokens = 23;

struct Mode {
  std::string name;
  Json attention;
  bool causal = true, full = true;
  int64_t state = -1;    ///< numbers kept whatever the length, in summaries of a KV head; -1: no decoding
  bool growing = false;  ///< and a summary more per complete block
};

void PrintTo(const Mode& mode, std::ostream* out) {
  *out << mode.attention;
}

/// Blocks of 4 tokens, the last of 3.
std::vector<Mode> modes() {
  auto with = [](const Json& more) {
    Json attention = {{"scheme", "mhla"}, {"block_size", 4}, {"blocks", 8}};
    attention.merge_patch(more);
    return attention;
  };
  const Json no_table = {{"blocks", 0}}, whole = {{"blocks", 0}, {"block_size", 0}};
  auto join = [](Json a, const Json& b) {
    a.merge_patch(b);
    return a;
  };
  const bool yes = true, no = false;
  return {
      {"learned", with({{"init", "uniform"}}), yes, yes, 2, yes},
      {"learned_local", with({{"feature_map", "exp_clamped"}}), yes, yes, 2, yes},
      {"learned_per_head", with({{"per_head", true}, {"parametrisation", "exp"}}), yes, yes, 2, yes},
      {"softmax", with({{"normalise_mixing", "softmax"}}), yes, yes, 2, yes},
      {"softmax_per_head", with({{"normalise_mixing", "softmax"}, {"per_head", true}}), yes, yes, 2, yes},
      {"column", with({{"normalise_mixing", "column"}, {"init", "uniform"}}), yes, yes, 2, yes},
      {"clamped", with({{"parametrisation", "clamp"}, {"normalise_mixing", "none"}}), yes, yes, 2, yes},
      {"signed_mixing",
       with({{"parametrisation", "free"}, {"normaliser", "none"}, {"normalise_mixing", "none"}}), yes, yes, 2,
       yes},
      {"features_epsilon",
       with({{"feature_map", "relu"}, {"feature_epsilon", 1e-3}, {"epsilon", 1e-2}, {"scale", 0.5}}), yes,
       yes, 2, yes},
      {"relu", with({{"feature_map", "relu"}}), yes, yes, 2, yes},
      {"blocks_of_one", with({{"block_size", 1}, {"blocks", 23}}), yes, yes, 2, yes},
      {"one_block", with({{"block_size", 30}, {"blocks", 1}}), yes, yes, 2, yes},
      {"local", with(join(no_table, {{"mixing", "local"}})), yes, yes, 2, yes},
      {"local_table", with({{"mixing", "local"}}), yes, yes, 2, yes},
      {"local_plane", with(join(no_table, {{"mixing", "local"}, {"grid", {2, 3}}})), yes, yes, 2, yes},
      {"uniform", with(join(no_table, {{"mixing", "uniform"}})), yes, yes, 2, yes},
      {"low_rank", with({{"mixing", "low_rank"}, {"rank", 3}}), yes, yes, 5},
      {"low_rank_unnormalised",
       with({{"mixing", "low_rank"},
             {"normaliser", "none"},
             {"normalise_mixing", "none"},
             {"per_head", true}}),
       yes, yes, 6},
      {"relative", with(join(no_table, {{"mixing", "relative"}, {"rank", 2}})), yes, yes, 4},
      {"relative_unnormalised",
       with(join(no_table, {{"mixing", "relative"}, {"normaliser", "none"}, {"per_head", true}})), yes, yes,
       6},
      {"token_heads", with(join(whole, {{"token_heads", 5}}))},
      {"plane", with(join(whole, {{"grid", {2, 3}}}))},
      {"image", with(join(whole, {{"grid", {1, 3}}, {"image", {1, 23}}})), no},
      {"released", with({{"normaliser", "released"}, {"parametrisation", "free"}, {"feature_epsilon", 1e-2}}),
       no},
      {"strided", {{"scheme", "mhla"}, {"grouping", "strided"}, {"token_heads", 3}}, yes, yes, 3},
      {"strided_unnormalised",
       {{"scheme", "mhla"}, {"grouping", "strided"}, {"token_heads", 5}, {"normaliser", "none"}},
       yes,
       yes,
       5},
  };
}

Array normals(const graph::Extents& shape, uint64_t key, double scale = 1) {
  Array x(Element::f64, shape);
  Philox random(key);
  for (int64_t i = 0; i < x.size(); ++i) x.mutable_data<double>()[i] = scale * random.normal();
  return x;
}

struct Operands {
  Array q = normals({kBatch, kQueryHeads, kTokens, kKeyDim}, 1);
  Array k = normals({kBatch, kKvHeads, kTokens, kKeyDim}, 2);
  Array v = normals({kBatch, kKvHeads, kTokens, kValueDim}, 3);
};

/// Its tensors are random, so that no weight is as it starts.
std::unique_ptr<test::TestLayer> make_layer(const Json& attention, Element element, bool causal) {
  plugin::SchemeGeometry g;
  g.embed_dim = 4;
  g.query_heads = kQueryHeads, g.kv_heads = kKvHeads;
  g.head_dim = kKeyDim, g.value_dim = kValueDim;
  g.causal = causal;
  auto layer = std::make_unique<test::TestLayer>(attention, g, element);
  uint64_t key = 7;
  for (auto& parameter : layer->parameters.all()) {
    if (!parameter.name.starts_with("mixing")) continue;
    parameter.value = normals(parameter.value.shape(), ++key, 0.4).as(element);
  }
  return layer;
}

Array forward(test::TestLayer& layer, const Operands& o) {
  layer.bind(false);
  const Var inputs[] = {layer.the_graph().constant(o.q), layer.the_graph().constant(o.k),
                        layer.the_graph().constant(o.v)};
  return value_of(layer.forward(inputs));
}

/// Outputs of tokens [begin, end), after those before them.
Array step(test::TestLayer& layer, model::LayerState& state, const Operands& o, int64_t begin, int64_t end) {
  attnlab_scheme_state table = state.table(layer.the_graph());
  auto part = [&](const Array& x) { return layer.the_graph().constant(x.sliced(2, begin, end)); };
  const std::vector<Var> inputs = {part(o.q), part(o.k), part(o.v)};
  const Var out = layer.scheme->step(layer.the_graph(), layer.layer->geometry(),
                                     {kBatch, end - begin, begin, false, 11}, table, inputs);
  state.advance(end - begin);
  return value_of(out).packed();
}

double feature(const Json& attention, double x) {
  const std::string map = attention.value("feature_map", "elu+1");
  const double mapped = map == "relu"          ? std::max(x, 0.0)
                        : map == "exp_clamped" ? std::exp(std::min(x, 5.0))
                        : x > 0                ? x + 1
                                               : std::exp(x);
  return mapped + attention.value("feature_epsilon", 0.0);
}

/// Block and place in it of every token.
std::vector<std::pair<int64_t, int64_t>> places(const Json& attention) {
  std::vector<std::pair<int64_t, int64_t>> result;
  int64_t block = attention.value("block_size", int64_t{0});
  if (block == 0) {
    int64_t count = attention.value("token_heads", int64_t{0});
    if (attention.contains("grid"))
      count = attention["grid"][0].get<int64_t>() * attention["grid"][1].get<int64_t>();
    block = (kTokens + count - 1) / count;
  }
  for (int64_t t = 0; t < kTokens; ++t) {
    if (attention.contains("grouping")) {
      result.emplace_back(t % attention["token_heads"].get<int64_t>(), 0);
    } else {
      result.emplace_back(t / block, t % block);
    }
  }
  return result;
}

/// The operator by its definition, from the weights that the scheme reports.
Array by_definition(const Json& attention, const Operands& o, const Array& mixing, bool causal) {
  const auto place = places(attention);
  const bool strided = attention.contains("grouping");
  const std::string normaliser = attention.value("normaliser", "eq4");
  const double usual = normaliser == "none" ? 1 / std::sqrt(static_cast<double>(kKeyDim)) : 1;
  const double scale = attention.value("scale", usual), epsilon = attention.value("epsilon", 0.0);
  Array out = Array::zeros(Element::f64, {kBatch, kQueryHeads, kTokens, kValueDim});
  auto weight = [&](int64_t head, int64_t i, int64_t b) {
    if (strided) return i == b ? 1.0 : 0.0;
    const int64_t m = mixing.extent(-1), h = mixing.rank() == 3 ? head : 0;
    return mixing.data<double>()[(h * m + i) * m + b];
  };
  for (int64_t b = 0; b < kBatch; ++b) {
    for (int64_t h = 0; h < kQueryHeads; ++h) {
      const int64_t kv = h / (kQueryHeads / kKvHeads);
      auto product = [&](int64_t t, int64_t s) {
        double sum = 0;
        for (int64_t c = 0; c < kKeyDim; ++c) {
          sum += feature(attention, o.q.data<double>()[((b * kQueryHeads + h) * kTokens + t) * kKeyDim + c]) *
                 feature(attention, o.k.data<double>()[((b * kKvHeads + kv) * kTokens + s) * kKeyDim + c]);
        }
        return sum * scale;
      };
      for (int64_t t = 0; t < kTokens; ++t) {
        double* row = out.mutable_data<double>() + ((b * kQueryHeads + h) * kTokens + t) * kValueDim;
        double denominator = epsilon;
        for (int64_t s = 0; s < (causal ? t + 1 : kTokens); ++s) {
          const double a = weight(kv, place[t].first, place[s].first) * product(t, s);
          denominator += normaliser == "released" ? 0 : a;
          for (int64_t c = 0; c < kValueDim; ++c)
            row[c] += a * o.v.data<double>()[((b * kKvHeads + kv) * kTokens + s) * kValueDim + c];
        }
        if (normaliser == "released") {
          // The token at the same place of every block, with that block's own keys.
          for (int64_t other = 0; other < kTokens; ++other) {
            if (place[other].second != place[t].second) continue;
            for (int64_t s = 0; s < kTokens; ++s) {
              if (place[s].first == place[other].first)
                denominator += weight(kv, place[t].first, place[other].first) * product(other, s);
            }
          }
        }
        for (int64_t c = 0; c < kValueDim && normaliser != "none"; ++c)
          row[c] = denominator == 0 ? 0 : row[c] / denominator;
      }
    }
  }
  return out;
}

double largest_difference(const Array& a, const Array& b) {
  EXPECT_EQ(a.shape(), b.shape());
  const Array x = a.as(Element::f64).packed(), y = b.as(Element::f64).packed();
  double largest = 1, error = 0;
  for (int64_t i = 0; i < x.size(); ++i) {
    if (!std::isfinite(x.data<double>()[i])) return INFINITY;
    largest = std::max(largest, std::abs(y.data<double>()[i]));
    error = std::max(error, std::abs(x.data<double>()[i] - y.data<double>()[i]));
  }
  return error / largest;
}

class MhlaScheme : public testing::TestWithParam<Mode> {
 protected:
  const Json& attention() const { return GetParam().attention; }
};

TEST_P(MhlaScheme, IsItsDefinition) {
  const Operands o;
  for (const bool causal : {true, false}) {
    if (!(causal ? GetParam().causal : GetParam().full)) continue;
    for (const Element element : {Element::f64, Element::f32}) {
      auto layer = make_layer(attention(), element, causal);
      const Array out = forward(*layer, o);
      const Var mixing = layer->reported("mixing");
      const Array weights = mixing ? value_of(mixing).as(Element::f64).packed() : Array();
      EXPECT_LT(largest_difference(out, by_definition(attention(), o, weights, causal)),
                element == Element::f64 ? 1e-12 : 1e-4)
          << (causal ? "causal" : "full");
    }
  }
}

TEST_P(MhlaScheme, StepsAreTheForward) {
  const Operands o;
  auto layer = make_layer(attention(), Element::f64, true);
  if (GetParam().state < 0) {
    layer->bind(false);
    model::LayerState state;
    EXPECT_THROW(step(*layer, state, o, 0, 1), base::UserError);
    return;
  }
  const Array whole = forward(*layer, o);
  for (const int64_t chunk : {1, 3, 4, 7, 23}) {
    model::LayerState state;
    layer->bind(false);
    for (int64_t t = 0; t < kTokens; t += chunk) {
      const int64_t end = std::min(kTokens, t + chunk);
      EXPECT_LT(largest_difference(step(*layer, state, o, t, end), whole.sliced(2, t, end)), 1e-12)
          << "tokens " << t << " to " << end << ", chunks of " << chunk;
    }
  }
}

TEST_P(MhlaScheme, KeepsWhatItReports) {
  if (GetParam().state < 0) GTEST_SKIP() << "does not decode";
  const Operands o;
  auto layer = make_layer(attention(), Element::f32, true);
  forward(*layer, o);
  const double fixed = value_of(layer->reported("state_elements")).scalar();
  const double growing = value_of(layer->reported("state_elements_per_token")).scalar();
  const bool divides = attention().value("normaliser", "eq4") != "none";
  const int64_t summary = kKvHeads * kKeyDim * (kValueDim + (divides ? 1 : 0));
  const int64_t block = attention().value("block_size", int64_t{64});
  EXPECT_EQ(fixed, static_cast<double>(GetParam().state * summary));
  EXPECT_FLOAT_EQ(static_cast<float>(growing),
                  GetParam().growing ? static_cast<float>(summary) / static_cast<float>(block) : 0.0f);
  layer->bind(false);
  model::LayerState state;
  for (int64_t t = 0; t < kTokens; ++t) {
    step(*layer, state, o, t, t + 1);
    const int64_t complete = GetParam().growing ? (t + 1) / block : 0;
    // Memories of constant state come with the first complete block.
    const bool memories =
        attention().value("mixing", "") == "low_rank" || attention().value("mixing", "") == "relative";
    const int64_t kept = memories && t + 1 < block ? 2 : GetParam().state;
    EXPECT_EQ(state.bytes(), static_cast<uint64_t>(kBatch * (kept + complete) * summary * 4)) << t;
  }
}

TEST_P(MhlaScheme, GradientsAreFiniteDifferences) {
  if (GetParam().name == "relu" || GetParam().name == "clamped") GTEST_SKIP() << "has kinks";
  const Operands o;
  for (const bool causal : {true, false}) {
    if (!(causal ? GetParam().causal : GetParam().full)) continue;
    auto layer = make_layer(attention(), Element::f64, causal);
    std::vector<Array> inputs{o.q, o.k, o.v};
    for (const auto& parameter : layer->parameters.all()) inputs.push_back(parameter.value);
    const auto check = graph::check_gradients(
        [&](const graph::Graph& graph, std::span<const Var> given) {
          layer->bind(true);
          layer->bound = std::make_unique<model::Bound>(layer->parameters, given.subspan(3));
          layer->graph =
              std::make_unique<model::LayerGraph>(Element::f64, *layer->layer, *layer->bound, layer->reports);
          return graph.share(graph::from_handle(layer->forward(given.first(3)).node()));
        },
        inputs, 1e-6, 12);
    EXPECT_LT(check.worst, 1e-6) << "input " << check.input << "[" << check.element << "]";
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, MhlaScheme, testing::ValuesIn(modes()),
                         [](const auto& the_case) { return the_case.param.name; });

TEST(MhlaOperator, MixingOfOnesIsLinearAttention) {
  const Operands o;
  for (const bool causal : {true, false}) {
    for (const char* normaliser : {"eq4", "none"}) {
      for (const int64_t block : {1, 5, 8, 64}) {
        auto layer = make_layer({{"scheme", "mhla"},
                                 {"block_size", block},
                                 {"mixing", "uniform"},
                                 {"normalise_mixing", "none"},
                                 {"normaliser", normaliser},
                                 {"scale", 1}},
                                Element::f64, causal);
        const graph::Graph g(Element::f64);
        const bool divides = std::string_view(normaliser) == "eq4";
        const Var plain = linear_attend(g.constant(o.q), g.constant(o.k), g.constant(o.v),
                                        {.causal = causal, .normalise = divides, .feature_map = "elu+1"});
        EXPECT_LT(largest_difference(forward(*layer, o), value_of(plain)), 1e-13) << block;
      }
    }
  }
}

/// Windows of 2 x 2 and, at the edges, less, of an image of 4 x 5 tokens (the last 3 of the 23 are left out).
TEST(MhlaOperator, CutsAnImageIntoWindows) {
  Operands o;
  for (Array* x : {&o.q, &o.k, &o.v}) *x = x->sliced(2, 0, 20).packed();
  auto layer = make_layer({{"scheme", "mhla"}, {"grid", {2, 3}}, {"image", {4, 5}}, {"init", "uniform"}},
                          Element::f64, false);
  const Array in_raster = forward(*layer, o);
  // The same tokens window by window, whose last column of windows has width 1: they are padded in place.
  auto raster = [](int64_t window, int64_t place) {
    const int64_t row = window / 3 * 2 + place / 2, column = window % 3 * 2 + place % 2;
    return column < 5 ? row * 5 + column : -1;
  };
  const Array weights = value_of(layer->reported("mixing")).packed();
  for (int64_t window = 0; window < 6; ++window) {
    for (int64_t place = 0; place < 4; ++place) {
      const int64_t t = raster(window, place);
      if (t < 0) continue;
      double numerator = 0, denominator = 0;
      for (int64_t other = 0; other < 6; ++other) {
        for (int64_t j = 0; j < 4; ++j) {
          const int64_t s = raster(other, j);
          if (s < 0) continue;
          double product = 0;
          for (int64_t c = 0; c < kKeyDim; ++c)
            product += feature(Json::object(), o.q.data<double>()[t * kKeyDim + c]) *
                       feature(Json::object(), o.k.data<double>()[s * kKeyDim + c]);
          const double a = weights.data<double>()[window * 6 + other] * product;
          denominator += a, numerator += a * o.v.data<double>()[s * kValueDim];
        }
      }
      const Array row = in_raster.packed();
      EXPECT_NEAR(row.data<double>()[t * kValueDim], numerator / denominator, 1e-12) << t;
    }
  }
}

TEST(MhlaOperator, WeightsStartAsInitSays) {
  auto start = [](const Json& more, bool causal) {
    Json attention = {{"scheme", "mhla"}, {"block_size", 4}};
    attention.merge_patch(more);
    plugin::SchemeGeometry g;
    g.embed_dim = 4, g.query_heads = kQueryHeads, g.kv_heads = kKvHeads;
    g.head_dim = kKeyDim, g.value_dim = kValueDim, g.causal = causal;
    test::TestLayer layer(attention, g, Element::f64);
    forward(layer, {});
    return value_of(layer.reported("mixing")).packed();
  };
  const Array local = start({{"mixing", "local"}, {"blocks", 6}}, false);
  EXPECT_EQ(local.data<double>()[5], 0) << "the farthest block";
  for (const char* parametrisation : {"softplus", "exp", "clamp"}) {
    const Array learned = start({{"blocks", 6}, {"parametrisation", parametrisation}}, false);
    // Where the locality is 0 they start at 0.01 before rows are divided.
    EXPECT_LT(largest_difference(learned, local), 0.01);
    EXPECT_GT(learned.data<double>()[5], 0);
  }
  const Array softmax = start({{"blocks", 6}, {"normalise_mixing", "softmax"}}, true);
  EXPECT_LT(largest_difference(softmax, start({{"blocks", 6}}, true)), 1e-12);
  const Array uniform = start({{"init", "uniform"}}, true);
  EXPECT_NEAR(uniform.data<double>()[5 * 6 + 3], 1.0 / 6, 1e-15);
  // Causal without a table: distances as shares of the farthest block that is seen.
  const Array endless = start({{"mixing", "local"}, {"normalise_mixing", "none"}}, true);
  EXPECT_NEAR(endless.data<double>()[4 * 6 + 3], 0.75, 1e-15);
  // Half-lives of 1 and 2 blocks, half of each.
  const Array relative = start({{"mixing", "relative"}, {"rank", 2}, {"normalise_mixing", "none"}}, true);
  EXPECT_NEAR(relative.data<double>()[4 * 6 + 2], (0.25 + 0.5) / 2, 1e-14);
}

std::string message_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const base::UserError& e) {
    return e.what();
  }
  return "";
}

TEST(MhlaOperator, SaysWhenTheWeightsEnd) {
  const Operands o;
  auto layer = make_layer({{"scheme", "mhla"}, {"block_size", 4}, {"blocks", 3}}, Element::f64, true);
  const std::string whole = message_of([&] { forward(*layer, o); });
  EXPECT_NE(whole.find("weights for 3 blocks, the sequence needs 6 of 4 tokens"), std::string::npos) << whole;
  EXPECT_NE(whole.find("/blocks"), std::string::npos) << whole;
  layer->bind(false);
  model::LayerState state;
  step(*layer, state, o, 0, 12);
  EXPECT_NE(message_of([&] { step(*layer, state, o, 12, 13); }), "");
}

TEST(MhlaOperator, RefusesWhatDoesNotFitTogether) {
  const std::pair<Json, std::string> mistakes[] = {
      {{{"block_size", 4}, {"token_heads", 3}}, "/attention/token_heads"},
      {{{"grid", {2, 2}}, {"token_heads", 3}}, "/attention/token_heads"},
      {{{"grid", {2, 2}}, {"blocks", 3}}, "/attention/blocks"},
      {{{"grid", {2}}}, "/attention/grid"},
      {{{"grid", {2, 0}}}, "/attention/grid"},
      {{{"image", {4, 4}}}, "/attention/image"},
      {{{"image", {4, 4}}, {"grid", {2, 2}}, {"block_size", 4}}, "/attention/block_size"},
      {{{"image", {4, 1}}, {"grid", {2, 2}}}, "/attention/image/1"},
      {{{"epsilon", 0.1}, {"normaliser", "none"}}, "/attention/epsilon"},
      {{{"mixing", "relative"}, {"normalise_mixing", "column"}}, "/attention/normalise_mixing"},
      {{{"mixing", "local"}, {"normalise_mixing", "softmax"}}, "/attention/normalise_mixing"},
      {{{"mixing", "relative"}, {"blocks", 4}}, "/attention/blocks"},
      {{{"mixing", "relative"}, {"grid", {2, 2}}}, "/attention/grid"},
      {{{"grouping", "strided"}}, "/attention/token_heads"},
      {{{"grouping", "strided"}, {"token_heads", 2}, {"blocks", 2}}, "/attention/blocks"},
  };
  for (auto [attention, pointer] : mistakes) {
    attention["scheme"] = "mhla";
    const std::string message =
        message_of([&, &given = attention] { make_layer(given, Element::f64, true); });
    EXPECT_NE(message.find(pointer), std::string::npos) << attention << ": " << message;
  }
  const std::pair<Json, std::string> causal_mistakes[] = {
      {{{"normaliser", "released"}}, "/attention/normaliser"},
      {{{"image", {1, 23}}, {"grid", {1, 2}}}, "/attention/image"},
      {{{"mixing", "local"}, {"normalise_mixing", "column"}}, "/attention/normalise_mixing"},
  };
  for (auto [attention, pointer] : causal_mistakes) {
    attention["scheme"] = "mhla";
    auto layer = make_layer(attention, Element::f64, true);
    const std::string message = message_of([&] { forward(*layer, {}); });
    EXPECT_NE(message.find(pointer), std::string::npos) << attention << ": " << message;
  }
}

}  // namespace
}  // namespace attnlab
