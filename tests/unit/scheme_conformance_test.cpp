// What every scheme promises, from one table.
#include <gtest/gtest.h>

#include <attnlab/philox.hpp>

#include <cmath>
#include <cstring>

#include "core/base/parallel.hpp"
#include "core/graph/check.hpp"
#include "tests/support/schemes.hpp"

namespace attnlab::test {
namespace {

using graph::Array;
using graph::Element;
using graph::value_of;

Array tokens(int64_t batch, int64_t count, Element element) {
  Array x(Element::f64, {batch, count, sample_geometry().embed_dim});
  attnlab::Philox random(5);
  for (int64_t i = 0; i < x.size(); ++i) x.mutable_data<double>()[i] = random.normal();
  return x.as(Element::f32).as(element);
}

double largest_difference(const Array& a, const Array& b) {
  EXPECT_EQ(a.shape(), b.shape());
  const Array x = a.as(Element::f64).packed(), y = b.as(Element::f64).packed();
  double largest = 1, error = 0;
  for (int64_t i = 0; i < x.size(); ++i) {
    largest = std::max(largest, std::abs(y.data<double>()[i]));
    error = std::max(error, std::abs(x.data<double>()[i] - y.data<double>()[i]));
  }
  return error / largest;
}

class SchemeConformance : public testing::TestWithParam<SchemeSample> {
 protected:
  const SchemeSample& sample() const { return GetParam(); }
  std::unique_ptr<TestLayer> layer(Element element) const {
    return std::make_unique<TestLayer>(sample().attention, sample_geometry(), element);
  }
  static Array forward(TestLayer& layer, const Array& x) {
    layer.bind(false);
    const Var input = layer.the_graph().constant(x);
    return value_of(layer.forward({&input, 1}));
  }
};

TEST_P(SchemeConformance, GradientsAreFiniteDifferences) {
  if (!sample().differentiable) GTEST_SKIP() << "has steps";
  auto made = layer(Element::f64);
  std::vector<Array> inputs{tokens(2, 5, Element::f64)};
  for (const auto& parameter : made->parameters.all()) inputs.push_back(parameter.value);
  const auto check = graph::check_gradients(
      [&](const graph::Graph& graph, std::span<const Var> given) {
        // The check's values take the place of the parameters.
        made->bind(true);
        made->bound = std::make_unique<model::Bound>(made->parameters, given.subspan(1));
        made->graph =
            std::make_unique<model::LayerGraph>(Element::f64, *made->layer, *made->bound, made->reports);
        Var y = made->forward(given.first(1));
        for (const model::Report& report : made->reports) {
          if (report.kind == ATTNLAB_REPORT_LOSS) y = y + report.value;
        }
        // The layer's graph ends with the next call; the check keeps the value.
        return graph.share(graph::from_handle(y.node()));
      },
      inputs, 1e-6, 30);
  EXPECT_LT(check.worst, 1e-6) << (check.input == 0 ? "x" : made->parameters.all()[check.input - 1].name)
                               << "[" << check.element << "]";
}

TEST_P(SchemeConformance, StepEqualsForwardAtEveryPosition) {
  for (const Element element : {Element::f64, Element::f32}) {
    auto made = layer(element);
    const Array x = tokens(2, sample().tokens, element);
    const Array whole = forward(*made, x);
    for (const int64_t chunk : {int64_t{1}, int64_t{7}}) {
      model::LayerState state;
      made->bind(false);
      for (int64_t t = 0; t < sample().tokens; t += chunk) {
        const int64_t end = std::min(sample().tokens, t + chunk);
        const Var part = made->the_graph().constant(x.sliced(1, t, end));
        if (!sample().steps) {
          EXPECT_THROW(made->step(state, part), base::UserError);
          return;
        }
        const Array y = value_of(made->step(state, part));
        EXPECT_LT(largest_difference(y, whole.sliced(1, t, end)), element == Element::f64 ? 1e-10 : 1e-4)
            << "positions " << t << " to " << end << ", chunks of " << chunk;
      }
      EXPECT_EQ(state.length(), sample().tokens);
    }
  }
}

TEST_P(SchemeConformance, TheFutureChangesNothing) {
  auto made = layer(Element::f32);
  const int64_t count = sample().tokens, half = count / 2;
  const Array x = tokens(1, count, Element::f32);
  Array changed(Element::f32, x.shape());
  graph::copy_elements(x, changed);
  for (int64_t i = half * x.extent(2); i < x.size(); ++i) changed.mutable_data<float>()[i] += 1;
  const Array before = forward(*made, x).sliced(1, 0, half).packed();
  const Array after = forward(*made, changed).sliced(1, 0, half).packed();
  const bool equal = std::memcmp(before.data<float>(), after.data<float>(), before.bytes()) == 0;
  EXPECT_EQ(equal, sample().causal);
}

TEST_P(SchemeConformance, StateIsWhatItSays) {
  if (!sample().steps) GTEST_SKIP() << "does not decode";
  auto made = layer(Element::f32);
  made->bind(false);
  model::LayerState state;
  const Array x = tokens(2, sample().tokens, Element::f32);
  made->step(state, made->the_graph().constant(x));
  uint64_t bytes = 0;
  for (const auto& [name, shape] : state.shapes())
    bytes += static_cast<uint64_t>(graph::element_count(shape)) * 4;
  EXPECT_EQ(state.bytes(), bytes);
  EXPECT_GE(state.allocated_bytes(), state.bytes());
  if (sample().state_per_token >= 0) {
    EXPECT_EQ(state.bytes(), static_cast<uint64_t>(2 * sample().tokens * sample().state_per_token * 4));
  }
}

TEST_P(SchemeConformance, DecodingCanForkAndGoBack) {
  if (!sample().steps) GTEST_SKIP() << "does not decode";
  auto made = layer(Element::f32);
  const Array x = tokens(1, sample().tokens, Element::f32);
  made->bind(false);
  auto part = [&](int64_t begin, int64_t end) { return made->the_graph().constant(x.sliced(1, begin, end)); };
  model::LayerState state;
  made->step(state, part(0, 4));
  model::LayerState fork = state.fork();
  const Array first = value_of(made->step(state, part(4, 6))).packed();
  // What the original appended since does not reach the fork.
  EXPECT_EQ(largest_difference(value_of(made->step(fork, part(4, 6))), first), 0);
  if (state.truncate(4)) {
    EXPECT_EQ(state.length(), 4);
    EXPECT_EQ(largest_difference(value_of(made->step(state, part(4, 6))), first), 0);
  }
}

TEST_P(SchemeConformance, SameBitsForAnyNumberOfThreads) {
  auto run = [&](int threads) {
    const base::ThreadLimit limit(threads);
    auto made = layer(Element::f32);
    return forward(*made, tokens(3, sample().tokens, Element::f32)).packed();
  };
  const Array one = run(1), three = run(3);
  EXPECT_EQ(std::memcmp(one.data<float>(), three.data<float>(), one.bytes()), 0);
}

INSTANTIATE_TEST_SUITE_P(Schemes, SchemeConformance, testing::ValuesIn(scheme_samples()),
                         [](const auto& the_case) { return the_case.param.name; });

}  // namespace
}  // namespace attnlab::test
