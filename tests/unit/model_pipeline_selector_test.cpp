// Attention through a pipeline of maskers in the graph: its two precisions, its gradients, its counts.
#include <gtest/gtest.h>

#include <attnlab/philox.hpp>

#include "core/config/document.hpp"
#include "core/graph/check.hpp"
#include "core/graph/graph.hpp"
#include "core/model/pipeline_selector.hpp"
#include "tests/support/catalog.hpp"

namespace attnlab::model {
namespace {

using graph::Array;
using graph::Element;
using graph::Graph;
using graph::value_of;
using io::Json;

std::shared_ptr<const PipelineSelector> selector_of(const Json& stages) {
  config::Document document;
  document.set("/pipelines/main", stages, {});
  config::RunPlan run;
  config::resolve_pipelines(document, test::catalog(), run);
  return std::make_shared<const PipelineSelector>(run.pipelines.at(0), test::catalog(), document);
}

Array normals(uint64_t seed, const graph::Extents& shape) {
  Array x(Element::f64, shape);
  Philox random(seed);
  for (int64_t i = 0; i < x.size(); ++i) x.mutable_data<double>()[i] = random.normal();
  return x.as(Element::f32).as(Element::f64);
}

/// Two sequences, two groups of two query heads, 5 queries at the end of 9 keys.
std::vector<Array> problem() {
  return {normals(1, {2, 4, 5, 3}), normals(2, {2, 2, 9, 3}), normals(3, {2, 2, 9, 4})};
}

struct NamedPipeline {
  std::string name;
  Json stages;
};
void PrintTo(const NamedPipeline& pipeline, std::ostream* out) {
  *out << pipeline.name;
}

class Selected : public testing::TestWithParam<NamedPipeline> {
 protected:
  static Attend options(const PipelineSelector& selector) {
    Attend options;
    options.selector.handle =
        const_cast<void*>(static_cast<const void*>(static_cast<const graph::KeySelector*>(&selector)));
    options.layer = 1;
    options.selector_key = 5;
    return options;
  }
};

TEST_P(Selected, GradientsAreFiniteDifferences) {
  const auto selector = selector_of(GetParam().stages);
  const auto inputs = problem();
  const auto check = graph::check_gradients(
      [&](const Graph&, std::span<const Var> x) { return attend(x[0], x[1], x[2], options(*selector)); },
      inputs, 1e-6, 40);
  EXPECT_LT(check.worst, 1e-6) << "input " << check.input << "[" << check.element << "]";
}

/// The engine and the sparse backward against the masked dense plane in double precision.
TEST_P(Selected, BothPrecisionsAgree) {
  const auto selector = selector_of(GetParam().stages);
  std::vector<std::vector<Array>> results;
  for (const Element element : {Element::f64, Element::f32}) {
    const Graph graph(element);
    std::vector<Var> x;
    for (const Array& input : problem()) x.push_back(graph.watched(input));
    const Var y = attend(x[0], x[1], x[2], options(*selector));
    std::vector<Array> found{value_of(y)};
    for (const Var& gradient : graph::gradients(graph, sum(y * y), {}, x, false))
      found.push_back(value_of(gradient));
    results.push_back(found);
  }
  for (size_t i = 0; i < results[0].size(); ++i) {
    const Array expected = results[0][i].packed(), found = results[1][i].as(Element::f64).packed();
    ASSERT_EQ(expected.shape(), found.shape());
    for (int64_t e = 0; e < expected.size(); ++e)
      ASSERT_NEAR(found.data<double>()[e], expected.data<double>()[e], 2e-5)
          << "array " << i << "[" << e << "]";
  }
}

INSTANTIATE_TEST_SUITE_P(
    Pipelines, Selected,
    testing::Values(NamedPipeline{"none", Json::array()},
                    NamedPipeline{"sink_local", Json::parse(R"([{"masker": "sink", "sink_size": 1},
                                                                {"masker": "local", "window_size": 2}])")},
                    NamedPipeline{"top_k", Json::parse(R"([{"masker": "oracle_top_k", "heavy_size": 3}])")},
                    NamedPipeline{"sampled", Json::parse(R"([{"masker": "local", "window_size": 2},
                                                    {"masker": "random_sampling", "sampling_rate": 0.5}])")}),
    [](const auto& the_case) { return the_case.param.name; });

TEST(PipelineSelector, CountsActiveAndVisibleKeysOfEachLayer) {
  const auto selector = selector_of(Json::parse(R"([{"masker": "local", "window_size": 2}])"));
  const auto inputs = problem();
  graph::SelectorCall call;
  call.q = inputs[0].as(Element::f32), call.k = inputs[1].as(Element::f32),
  call.v = inputs[2].as(Element::f32);
  call.layer = 3;
  selector->attend(call);
  selector->attend(call);
  const auto counts = selector->counts();
  ASSERT_EQ(counts.size(), 1U);
  // Rows at positions 4 to 8 see 5 to 9 keys; 8 heads of all sequences, two calls.
  EXPECT_EQ(counts.at(3).rows, 2U * 8 * 5);
  EXPECT_EQ(counts.at(3).visible, 2U * 8 * (5 + 6 + 7 + 8 + 9));
  EXPECT_EQ(counts.at(3).active, 2U * 8 * 5 * 2);
}

TEST(PipelineSelector, RowsWithoutKeysAreAnErrorOrDense) {
  const auto selector = selector_of(Json::parse(R"([{"masker": "sink", "sink_size": 1},
                                                    {"masker": "oracle_top_p", "top_p": 0.5}])"));
  const auto none = selector_of(Json::parse(R"([{"masker": "oracle_top_k", "select": "threshold",
                                                 "threshold": 1e30}])"));
  const auto inputs = problem();
  graph::SelectorCall call;
  call.q = inputs[0].as(Element::f32), call.k = inputs[1].as(Element::f32),
  call.v = inputs[2].as(Element::f32);
  EXPECT_NO_THROW(selector->attend(call));
  EXPECT_THROW(none->attend(call), graph::OperandError);
  call.dense_when_empty = true;
  none->attend(call);
  EXPECT_EQ(none->counts().at(0).density(), 1);
}

/// Other options of the op are refused rather than ignored.
TEST(PipelineSelector, GoesWithNoOtherRestriction) {
  const auto selector = selector_of(Json::parse(R"([{"masker": "sink", "sink_size": 1}])"));
  const Graph graph;
  std::vector<Var> x;
  for (const Array& input : problem()) x.push_back(graph.constant(input));
  Attend options;
  options.selector.handle =
      const_cast<void*>(static_cast<const void*>(static_cast<const graph::KeySelector*>(selector.get())));
  options.window = 3;
  EXPECT_THROW(attend(x[0], x[1], x[2], options), HostError);
  options.window = 0;
  options.bias = graph.constant(0.5);
  EXPECT_THROW(attend(x[0], x[1], x[2], options), HostError);
}

}  // namespace
}  // namespace attnlab::model
