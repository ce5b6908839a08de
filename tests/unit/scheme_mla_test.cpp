// Latent attention: decoding, causality, gradients and bytes of every mode, and the graph's ops that cut
// matrices for it.
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
using graph::Extents;
using graph::value_of;
using io::Json;

struct Mode {
  std::string name;
  Json attention;
  int64_t cache_elements;  ///< per token; 0: it refuses to decode
};

void PrintTo(const Mode& mode, std::ostream* out) {
  *out << mode.attention;
}

constexpr int64_t kHeads = 2, kHeadDim = 4, kEmbed = 8, kTokens = 21, kBatch = 2;

/// Latents of 3 channels, ranks of 2.
std::vector<Mode> modes() {
  auto seed = [](const Json& more) {
    Json attention = {{"scheme", "mla"}, {"latent_dim", 3}, {"svd_rank", 2}};
    attention.merge_patch(more);
    return attention;
  };
  auto deepseek = [](const Json& more) {
    Json attention = {{"scheme", "mla"}, {"kind", "deepseek"}, {"latent_dim", 5},
                      {"nope_dim", 3},   {"rope_dim", 2},      {"value_dim", 4}};
    attention.merge_patch(more);
    return attention;
  };
  const Json none = Json::object(), prefix = {{"svd", "prefix"}, {"svd_block", 4}};
  return {
      {"seed", seed(none), kHeads * 6},
      {"seed_dropout", seed({{"dropout", 0.3}}), kHeads * 6},
      {"seed_bias", seed({{"bias", true}}), kHeads * 6},
      {"seed_expanded", seed({{"absorb", false}}), kHeads * 6},
      {"seed_latent_above_head", seed({{"latent_dim", 6}}), kHeads * 12},
      {"weight", seed({{"svd", "weight"}}), kHeads * 5},
      {"weight_expanded", seed({{"svd", "weight"}, {"absorb", false}}), kHeads * 5},
      {"weight_all", seed({{"svd", "weight"}, {"svd_rank", 0}}), kHeads * 6},
      {"weight_randomised", seed({{"svd", "weight"}, {"svd_method", "randomised"}, {"svd_oversampling", 1}}),
       kHeads * 5},
      {"weight_sketched",
       seed({{"svd", "weight"},
             {"svd_method", "randomised"},
             {"svd_oversampling", 0},
             {"svd_power_iterations", 0}}),
       kHeads * 5},
      {"prefix", seed(prefix), kHeads * 10},
      {"prefix_of_one", seed({{"svd", "prefix"}, {"svd_block", 1}}), kHeads * 10},
      {"prefix_all", seed({{"svd", "prefix"}, {"svd_rank", 3}}), kHeads * 6},
      {"fixed_basis", seed({{"svd", "fixed_basis"}}), kHeads * 5},
      {"fixed_basis_expanded", seed({{"svd", "fixed_basis"}, {"absorb", false}}), kHeads * 5},
      {"fixed_basis_wide", seed({{"svd", "fixed_basis"}, {"svd_rank", 0}}), kHeads * 6},
      {"reference", seed({{"svd", "reference_noncausal"}}), 0},
      {"deepseek", deepseek(none), 7},
      {"deepseek_expanded", deepseek({{"absorb", false}}), 7},
      {"deepseek_query_latent", deepseek({{"query_latent_dim", 6}}), 7},
      {"deepseek_without_norm", deepseek({{"query_latent_dim", 6}, {"latent_norm", false}}), 7},
      {"deepseek_dropout", deepseek({{"dropout", 0.3}}), 7},
      {"deepseek_weight", deepseek({{"svd", "weight"}, {"svd_rank", 2}}), 7},
  };
}

plugin::SchemeGeometry geometry() {
  plugin::SchemeGeometry g;
  g.embed_dim = kEmbed;
  g.query_heads = g.kv_heads = kHeads;
  g.head_dim = g.value_dim = kHeadDim;
  return g;
}

Array normals(const Extents& shape, uint64_t key, double scale = 1) {
  Array x(Element::f64, shape);
  Philox random(key);
  for (int64_t i = 0; i < x.size(); ++i) x.mutable_data<double>()[i] = scale * random.normal();
  return x;
}

/// A layer whose parameters are large enough for every path to matter.
std::unique_ptr<test::TestLayer> make_layer(const Json& attention, Element element) {
  auto layer = std::make_unique<test::TestLayer>(attention, geometry(), element);
  uint64_t key = 100;
  for (const model::Parameter& p : layer->parameters.all())
    layer->parameters.assign(p.name, normals(p.value.shape(), ++key, 0.5).to_tensor(), "test");
  return layer;
}

double largest_difference(const Array& a, const Array& b) {
  EXPECT_EQ(a.shape(), b.shape());
  const Array x = a.as(Element::f64).packed(), y = b.as(Element::f64).packed();
  double largest = 0;
  for (int64_t i = 0; i < x.size(); ++i) {
    const double difference = std::abs(x.data<double>()[i] - y.data<double>()[i]);
    if (!(difference <= largest)) largest = difference;
  }
  return largest;
}

Array decoded(test::TestLayer& layer, model::LayerState& state, const Array& x, int64_t chunk) {
  std::vector<Var> parts;
  const int64_t tokens = state.length() + x.extent(1);
  for (int64_t first = state.length(), begin = 0; first < tokens; first = state.length()) {
    const int64_t end = std::min(begin + chunk, x.extent(1));
    parts.push_back(layer.step(state, layer.the_graph().constant(x.sliced(1, begin, end))));
    begin = end;
  }
  return value_of(concat(parts, 1));
}

class Mla : public testing::TestWithParam<Mode> {};

TEST_P(Mla, DecodesWhatTheForwardSays) {
  for (const Element element : {Element::f64, Element::f32}) {
    const auto layer = make_layer(GetParam().attention, element);
    layer->bind(false);
    const Array x = normals({kBatch, kTokens, kEmbed}, 5);
    const Var input = layer->the_graph().constant(x);
    const Array whole = value_of(layer->forward({&input, 1}));
    model::LayerState state;
    if (GetParam().cache_elements == 0) {
      EXPECT_THROW(decoded(*layer, state, x, 1), base::UserError);
      continue;
    }
    for (const int64_t chunk : {1, 7}) {
      state = {};
      const Array y = decoded(*layer, state, x, chunk);
      EXPECT_LT(largest_difference(y, whole), element == Element::f64 ? 1e-10 : 1e-4) << chunk;
      EXPECT_EQ(state.bytes(), static_cast<uint64_t>(kBatch * kTokens * GetParam().cache_elements) *
                                   graph::size_of(element));
    }
    EXPECT_EQ(value_of(layer->reported("cache_elements_per_token")).scalar(), GetParam().cache_elements);
    EXPECT_NEAR(value_of(layer->reported("memory_savings_actual")).scalar(),
                2.0 * kHeads * kHeadDim / static_cast<double>(GetParam().cache_elements), 1e-6);
    // What is cut off decodes again.
    ASSERT_TRUE(state.truncate(10));
    const Array end = decoded(*layer, state, x.sliced(1, 10, kTokens), 3);
    EXPECT_LT(largest_difference(end, whole.sliced(1, 10, kTokens)), element == Element::f64 ? 1e-10 : 1e-4);
  }
}

TEST_P(Mla, TheFutureDoesNotReachThePast) {
  constexpr int64_t past = 10;
  for (const Element element : {Element::f64, Element::f32}) {
    const auto layer = make_layer(GetParam().attention, element);
    layer->bind(false);
    auto past_of = [&](uint64_t key) {
      Array x(Element::f64, {kBatch, kTokens, kEmbed});
      Array first = x.sliced(1, 0, past), second = x.sliced(1, past, kTokens);
      graph::copy_elements(normals(first.shape(), 5), first);
      graph::copy_elements(normals(second.shape(), key), second);
      const Var input = layer->the_graph().constant(x);
      return value_of(layer->forward({&input, 1})).sliced(1, 0, past);
    };
    const double change = largest_difference(past_of(6), past_of(7));
    if (GetParam().cache_elements == 0) {
      EXPECT_GT(change, 0.01);
    } else {
      EXPECT_EQ(change, 0);
    }
  }
}

TEST_P(Mla, GradientIsTheFiniteDifference) {
  if (GetParam().name == "weight_sketched") return;  // its gradient is that of the exact truncation
  const auto layer = make_layer(GetParam().attention, Element::f64);
  std::vector<Array> inputs = {normals({1, 6, kEmbed}, 5)};
  for (const model::Parameter& p : layer->parameters.all()) inputs.push_back(p.value);
  std::vector<std::unique_ptr<graph::Graph>> graphs;  // outlive the Vars that name their tables
  auto run = [&](const graph::Graph&, std::span<const Var> at) {
    graphs.push_back(std::make_unique<graph::Graph>(Element::f64));
    std::vector<graph::NodePtr> held;
    for (const Var& x : at) held.emplace_back(graph::from_handle(x.node()));
    graphs.back()->parameter = [&layer, held](std::string_view name) {
      const auto& all = layer->parameters.all();
      for (size_t i = 0; i < all.size(); ++i) {
        if (all[i].name == name) return held[i + 1];
      }
      return graph::NodePtr();
    };
    return layer->scheme->forward(*graphs.back(), geometry(), {1, 6, 0, true, 11}, {&at[0], 1});
  };
  const auto check = graph::check_gradients(run, inputs);
  EXPECT_LT(check.worst, 1e-7) << "input " << check.input << ", element " << check.element;
}

INSTANTIATE_TEST_SUITE_P(Modes, Mla, testing::ValuesIn(modes()),
                         [](const auto& mode) { return mode.param.name; });

TEST(MlaScheme, AbsorbedDecodingIsExpandedDecoding) {
  for (const Mode& mode : modes()) {
    if (mode.cache_elements == 0 || mode.attention.contains("absorb")) continue;
    Json expanded = mode.attention;
    expanded["absorb"] = false;
    const Array x = normals({kBatch, kTokens, kEmbed}, 5);
    std::vector<Array> results;
    for (const Json& attention : {mode.attention, expanded}) {
      const auto layer = make_layer(attention, Element::f64);
      layer->bind(false);
      model::LayerState state;
      results.push_back(decoded(*layer, state, x, 1));
    }
    EXPECT_LT(largest_difference(results[0], results[1]), 1e-12) << mode.name;
  }
}

TEST(MlaScheme, DropoutDropsInTrainingAlone) {
  const Json attention = {{"scheme", "mla"}, {"dropout", 0.5}};
  const auto layer = make_layer(attention, Element::f64),
             plain = make_layer({{"scheme", "mla"}}, Element::f64);
  layer->bind(false), plain->bind(false);
  const Var x = layer->the_graph().constant(normals({kBatch, kTokens, kEmbed}, 5));
  const Array kept = value_of(plain->forward({&x, 1}));
  EXPECT_EQ(largest_difference(value_of(layer->forward({&x, 1})), kept), 0);
  const Array dropped = value_of(layer->forward({&x, 1}, true));
  EXPECT_GT(largest_difference(dropped, kept), 0.1);
  EXPECT_EQ(largest_difference(value_of(layer->forward({&x, 1}, true)), dropped), 0);
}

/// A latent of half a head leaves half of the singular values of its values zero, up to rounding.
TEST(MlaScheme, CutOverTheSequenceHasFiniteGradientsOfDeficientValues) {
  plugin::SchemeGeometry g;
  g.embed_dim = 128;
  g.query_heads = g.kv_heads = 4;
  g.head_dim = g.value_dim = 32;
  for (const int64_t rank : {4, 8, 16, 24}) {
    const Json attention = {{"scheme", "mla"}, {"svd", "reference_noncausal"}, {"svd_rank", rank}};
    test::TestLayer layer(attention, g, Element::f32);
    layer.bind(true);
    const Var x = layer.the_graph().constant(normals({1, 64, 128}, 5));
    const Var y = layer.forward({&x, 1}, true);
    for (const Var& gradient : gradients(layer.the_graph(), sum(y * y), {}, layer.parameter_nodes(), false)) {
      EXPECT_LT(
          largest_difference(value_of(gradient), Array::zeros(Element::f32, value_of(gradient).shape())), 100)
          << rank;
    }
  }
}

TEST(MlaScheme, AWideLatentWarnsWithItsCache) {
  testing::internal::CaptureStderr();
  make_layer({{"scheme", "mla"}, {"latent_dim", 8}}, Element::f64);
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_NE(log.find("warning: latent_dim 8 is more than head_dim 4"), std::string::npos) << log;
  EXPECT_NE(log.find("cache of 32 elements is 200 % of the 16 of multi-head attention"), std::string::npos);
  testing::internal::CaptureStderr();
  make_layer({{"scheme", "mla"}}, Element::f64);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST(MlaScheme, RefusesWhatDoesNotFitTogether) {
  const std::pair<Json, std::string> mistakes[] = {
      {{{"rope_dim", 3}, {"kind", "deepseek"}}, "/attention/rope_dim"},
      {{{"nope_dim", 3}}, "/attention/nope_dim"},
      {{{"bias", true}, {"kind", "deepseek"}}, "/attention/bias"},
      {{{"svd", "prefix"}, {"kind", "deepseek"}}, "/attention/svd"},
      {{{"svd", "prefix"}, {"svd_method", "randomised"}}, "/attention/svd_method"},
  };
  for (auto [attention, pointer] : mistakes) {
    attention["scheme"] = "mla";
    try {
      make_layer(attention, Element::f64);
      ADD_FAILURE() << attention;
    } catch (const base::UserError& e) {
      EXPECT_NE(std::string(e.what()).find(pointer), std::string::npos) << e.what();
    }
  }
}

/// U diag(s) V^T with bases of random matrices.
Array with_spectrum(int64_t rows, int64_t columns, const std::vector<double>& s) {
  const graph::Graph g(Element::f64);
  const auto count = static_cast<int64_t>(s.size());
  auto basis = [&](int64_t n, uint64_t key) {
    return apply("right_singular_vectors", {g.constant(normals({n, n}, key))}, {{"rank", count}});
  };
  Array values(Element::f64, {count});
  std::copy(s.begin(), s.end(), values.mutable_data<double>());
  return value_of(matmul(basis(rows, 1) * g.constant(values), transpose(basis(columns, 2))));
}

TEST(MatrixOps, RandomisedTruncationIsTheExactOneWhereTheSpectrumHasAGap) {
  const Array a = with_spectrum(12, 9, {5, 4, 3, 1e-7, 1e-7, 1e-7, 1e-7});
  const graph::Graph g(Element::f64);
  const Var x = g.watched(a);
  const Var exact = apply("low_rank", {x}, {{"rank", 3}});
  auto randomised = [](const Var& matrix) {
    return apply("randomised_low_rank", {matrix}, {{"rank", 3}, {"oversampling", 2}, {"key", 4}});
  };
  EXPECT_LT(largest_difference(value_of(exact), value_of(randomised(x))), 1e-12);
  const auto by_exact = gradients(g, sum(exact * exact * exact), {}, {&x, 1}, false);
  const Var y = randomised(x);
  const auto by_randomised = gradients(g, sum(y * y * y), {}, {&x, 1}, false);
  EXPECT_LT(largest_difference(value_of(by_exact[0]), value_of(by_randomised[0])), 1e-5);
  // The terms that are left out are those of singular values beyond the five looked for, 1e-7 of the others.
  const auto check = graph::check_gradients(
      [&](const graph::Graph&, std::span<const Var> in) { return randomised(in[0]); }, std::vector{a});
  EXPECT_LT(check.worst, 1e-6);
}

TEST(MatrixOps, RandomisedTruncationThatLooksEverywhereIsExact) {
  const Array a = normals({2, 6, 5}, 3);
  const graph::Graph g(Element::f64);
  auto randomised = [](const Var& matrix) {
    return apply("randomised_low_rank", {matrix}, {{"rank", 2}, {"oversampling", 8}});
  };
  const Var x = g.constant(a);
  EXPECT_LT(largest_difference(value_of(randomised(x)), value_of(apply("low_rank", {x}, {{"rank", 2}}))),
            1e-12);
  const auto check = graph::check_gradients(
      [&](const graph::Graph&, std::span<const Var> in) { return randomised(in[0]); }, std::vector{a});
  EXPECT_LT(check.worst, 1e-8);
}

TEST(MatrixOps, RowProjectorKeepsTheLeadingDirections) {
  const graph::Graph g(Element::f64);
  const Array a = normals({2, 7, 4}, 3);
  const Var x = g.constant(a);
  const Var projected = matmul(x, apply("row_projector", {x}, {{"rank", 2}}));
  EXPECT_LT(largest_difference(value_of(projected), value_of(apply("low_rank", {x}, {{"rank", 2}}))), 1e-13);
  auto projector = [](const graph::Graph&, std::span<const Var> in) {
    return apply("row_projector", {in[0]}, {{"rank", 2}});
  };
  EXPECT_LT(graph::check_gradients(projector, std::vector{a}).worst, 1e-8);
  // Wide, with as many directions as are kept.
  EXPECT_LT(graph::check_gradients(projector, std::vector{normals({2, 5}, 4)}).worst, 1e-8);
}

TEST(MatrixOps, RowProjectorOfTooFewDirectionsIsTheIdentity) {
  for (const Element element : {Element::f32, Element::f64}) {
    const graph::Graph g(element);
    // One direction, five times over.
    const Var row = g.watched(normals({1, 4}, 3));
    const Var projector = apply("row_projector", {broadcast(row, {5, 4}) * 0.3}, {{"rank", 2}});
    for (int64_t i = 0; i < 16; ++i) {
      const Array p = value_of(projector).as(Element::f64);
      EXPECT_EQ(p.data<double>()[i], i % 5 == 0 ? 1 : 0);
    }
    const auto gradient = gradients(g, sum(projector), {}, {&row, 1}, false);
    EXPECT_EQ(largest_difference(value_of(gradient[0]), Array::zeros(element, {1, 4})), 0);
  }
}

TEST(MatrixOps, RefuseOperandsThatDoNotFit) {
  const graph::Graph g(Element::f64);
  const Var x = g.constant(normals({6, 5}, 3));
  EXPECT_THROW(apply("row_projector", {x}, {{"rank", 0}}), HostError);
  EXPECT_THROW(apply("randomised_low_rank", {x}, {{"rank", 2}, {"power_iterations", -1}}), HostError);
  EXPECT_THROW(apply("randomised_low_rank", {x, g.constant(normals({6, 3}, 1))}, {{"rank", 2}}), HostError);
  EXPECT_THROW(apply("randomised_low_rank", {x, g.constant(normals({5, 1}, 1))}, {{"rank", 2}}), HostError);
  EXPECT_THROW(apply("right_singular_vectors", {x / 0.0}, {{"rank", 2}}), HostError);
}

}  // namespace
}  // namespace attnlab
