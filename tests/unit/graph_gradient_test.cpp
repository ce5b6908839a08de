// Each op's gradient against finite differences, to first and second order, and its two precisions against
// each other: one table of cases for all ops.
#include <gtest/gtest.h>

#include <attnlab/philox.hpp>

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "core/graph/check.hpp"
#include "core/graph/graph.hpp"

namespace attnlab::graph {
namespace {

using Inputs = std::span<const Var>;

struct Case {
  std::string name;
  std::vector<std::string> ops;  ///< that it is a case of
  std::vector<Extents> shapes;
  std::function<Var(const Graph&, Inputs)> f;
  bool positive = false;  ///< inputs from [0.5, 2.5]
  bool second_order = true;
  double f32_error = 2e-5;  ///< of values and gradients, relative to the largest
};

Var integers(const Graph& graph, const Extents& shape, std::vector<int64_t> values) {
  Array array(Element::i64, shape);
  std::copy(values.begin(), values.end(), array.mutable_data<int64_t>());
  return graph.constant(array);
}

Case unary(const std::string& op, bool positive = false, bool second_order = true) {
  return {op,       {op},        {{3, 5}}, [op](const Graph&, Inputs x) { return apply(op, {x[0]}); },
          positive, second_order};
}
Case binary(const std::string& op, const Extents& a, const Extents& b, bool positive = false) {
  return {op + to_string(a) + to_string(b),
          {op},
          {a, b},
          [op](const Graph&, Inputs x) {
            return apply(op, {x[0], x[1]});
          },
          positive};
}
Case attention(const std::string& name, std::vector<Extents> shapes, const Attend& options) {
  return {"attend_" + name, {"attend"}, std::move(shapes), [options](const Graph&, Inputs x) {
            Attend with = options;
            if (x.size() > 3) with.bias = x[3];
            if (x.size() > 4) with.sink_logit = x[4];
            return attend(x[0], x[1], x[2], with);
          }};
}
/// With or without a state of the tokens before; 4 query heads on 2 KV heads, more tokens than two chunks of
/// the kernel.
Case linear_attention(const std::string& name, bool with_state, const LinearAttend& options) {
  const int64_t tokens = with_state ? 7 : 131;
  std::vector<Extents> shapes = {{2, 4, tokens, 3}, {2, 2, tokens, 3}, {2, 2, tokens, 2}};
  if (with_state) shapes.insert(shapes.end(), {{2, 2, 3, 2}, {2, 2, 3}});
  return {"linear_attend_" + name, {"linear_attend"}, std::move(shapes), [options](const Graph&, Inputs x) {
            LinearAttend with = options;
            if (x.size() > 3) with.state = x[3], with.key_sum = exp(x[4]);
            return linear_attend(x[0], x[1], x[2], with);
          }};
}

std::vector<Case> make_cases() {
  std::vector<Case> cases = {
      unary("negate"),
      unary("exp"),
      unary("log", true),
      unary("sqrt", true),
      unary("rsqrt", true),
      unary("sigmoid"),
      unary("tanh"),
      unary("erf"),
      unary("relu"),
      unary("abs"),
      unary("silu"),
      unary("gelu"),
      unary("gelu_tanh"),
      unary("detach", false, false),
      unary("watch"),
      unary("sign", false, false),
      unary("is_finite", false, false),
      binary("add", {3, 4}, {4}),
      binary("subtract", {2, 1, 3}, {4, 1}),
      binary("multiply", {2, 3}, {2, 1}),
      binary("divide", {2, 3}, {3}, true),
      binary("maximum", {3, 4}, {3, 4}),
      binary("minimum", {3, 4}, {1}),
      binary("greater", {3}, {3}),
      binary("greater_equal", {3}, {3}),
      binary("equal", {3}, {3}),
      binary("matmul", {3, 4}, {4, 2}),
      binary("matmul", {2, 1, 3, 4}, {3, 4, 5}),
      {"select",
       {"select"},
       {{3, 4}, {4}},
       [](const Graph&, Inputs x) {
         return select(apply("greater", {x[0], scalar(x[0], 0.1)}), x[0] * x[0], x[1]);
       }},
      {"sum", {"sum"}, {{2, 3, 4}}, [](const Graph&, Inputs x) { return sum(x[0] * x[0], 1) * sum(x[0]); }},
      {"sum_to",
       {"sum_to"},
       {{2, 3, 4}},
       [](const Graph&, Inputs x) {
         return sum_to(x[0] * x[0], {3, 1});
       }},
      {"max",
       {"max"},
       {{3, 5}},
       [](const Graph&, Inputs x) {
         return apply("max", {x[0]}, {{"axis", 0}});
       }},
      {"softmax",
       {"softmax"},
       {{3, 5}},
       [](const Graph&, Inputs x) { return softmax(x[0], 0) * softmax(x[0]); }},
      {"scan",
       {"scan"},
       {{2, 5, 1}, {2, 5, 3}, {2, 3}},
       [](const Graph&, Inputs x) { return scan(x[0], x[1], x[2], 1); }},
      {"scan_reverse",
       {"scan"},
       {{5, 1}, {5, 3}, {3}},
       [](const Graph&, Inputs x) {
         return apply("scan", {x[0], x[1], x[2]}, {{"axis", 0}, {"reverse", 1}});
       }},
      {"scan_from_zero",
       {"scan"},
       {{1, 4}, {3, 4}},
       [](const Graph&, Inputs x) { return scan(x[0], x[1], {}, -1); }},
      {"reshape",
       {"reshape"},
       {{2, 6}},
       [](const Graph&, Inputs x) {
         return reshape(x[0] * x[0], {3, -1});
       }},
      {"permute",
       {"permute"},
       {{2, 3, 4}},
       [](const Graph&, Inputs x) {
         return permute(x[0] * x[0], {2, 0, 1});
       }},
      {"broadcast",
       {"broadcast"},
       {{3, 1}},
       [](const Graph&, Inputs x) {
         return broadcast(x[0] * x[0], {2, 3, 4});
       }},
      {"slice", {"slice"}, {{3, 6}}, [](const Graph&, Inputs x) { return slice(x[0] * x[0], 1, 2, 5); }},
      {"pad", {"pad"}, {{3, 2}}, [](const Graph&, Inputs x) { return pad(x[0] * x[0], 0, 1, 2); }},
      {"concat",
       {"concat"},
       {{2, 3}, {2, 1}},
       [](const Graph&, Inputs x) { return concat(x[0] * x[0], x[1] * x[1]); }},
      {"gather",
       {"gather"},
       {{4, 3}},
       [](const Graph& g, Inputs x) {
         return gather(x[0] * x[0], integers(g, {2, 2}, {3, 0, 3, 1}), 0);
       }},
      {"scatter_add",
       {"scatter_add"},
       {{2, 3, 2}},
       [](const Graph& g, Inputs x) {
         return apply("scatter_add", {x[0] * x[0], integers(g, {3}, {4, 0, 4})}, {{"axis", 1}, {"size", 5}});
       }},
      {"linear",
       {"linear"},
       {{2, 3, 4}, {5, 4}, {5}},
       [](const Graph&, Inputs x) { return linear(x[0], x[1], x[2]); }},
      {"linear_no_bias",
       {"linear"},
       {{6, 4}, {5, 4}},
       [](const Graph&, Inputs x) { return linear(x[0], x[1]); }},
      {"dropout", {"dropout"}, {{6, 7}}, [](const Graph&, Inputs x) { return dropout(x[0] * x[0], 0.4, 9); }},
      {"layer_norm",
       {"norm"},
       {{3, 6}, {6}, {6}},
       [](const Graph&, Inputs x) { return layer_norm(x[0], x[1], x[2]); }},
      {"layer_norm_plain", {"norm"}, {{3, 6}}, [](const Graph&, Inputs x) { return layer_norm(x[0]); }},
      {"rms_norm", {"norm"}, {{2, 2, 6}, {6}}, [](const Graph&, Inputs x) { return rms_norm(x[0], x[1]); }},
      {"cross_entropy",
       {"cross_entropy"},
       {{2, 3, 5}},
       [](const Graph& g, Inputs x) {
         return cross_entropy(x[0], integers(g, {2, 3}, {0, 4, -1, 2, 2, 1}));
       }},
      {"rope",
       {"rope"},
       {{2, 3, 6}},
       [](const Graph&, Inputs x) { return rope(x[0] * x[0], {.position = 4}); }},
      {"rope_halves",
       {"rope"},
       {{3, 6}},
       [](const Graph&, Inputs x) {
         return rope(x[0], {.position = 1, .theta = 100, .interleaved = false});
       }},
      attention("causal", {{2, 4, 3, 4}, {2, 2, 5, 4}, {2, 2, 5, 3}}, {}),
      attention("dropout", {{2, 4, 3, 4}, {2, 2, 5, 4}, {2, 2, 5, 3}}, {.dropout = 0.3, .dropout_key = 7}),
      attention("dropout_full", {{2, 2, 4, 4}, {2, 2, 3, 4}, {2, 2, 3, 4}},
                {.causal = false, .dropout = 0.4, .dropout_key = 8}),
      attention("dropout_odd", {{2, 1, 3, 4}, {2, 1, 3, 4}, {2, 1, 3, 4}},
                {.dropout = 0.5, .dropout_key = 9}),
      attention("full", {{1, 2, 3, 4}, {1, 2, 5, 4}, {1, 2, 5, 4}}, {.causal = false, .scale = 0.7}),
      attention("window", {{1, 1, 6, 2}, {1, 1, 6, 2}, {1, 1, 6, 2}}, {.window = 2, .prefix = 1}),
      attention("bias", {{1, 2, 3, 4}, {1, 1, 3, 4}, {1, 1, 3, 4}, {2, 1, 3}}, {}),
      attention("sink", {{2, 2, 3, 4}, {2, 1, 3, 4}, {2, 1, 3, 4}, {1, 1}, {2}}, {}),
      {"linear_attend",
       {"linear_attend"},
       {{1, 2, 4, 3}, {1, 1, 4, 3}, {1, 1, 4, 2}},
       [](const Graph&, Inputs x) { return linear_attend(exp(x[0]), exp(x[1]), x[2]); }},
      linear_attention("state", true, {.feature_map = "elu+1", .scale = 0.7}),
      linear_attention("full", true, {.causal = false, .feature_map = "exp"}),
      linear_attention("plain", false, {.normalise = false, .scale = 0.5}),
      linear_attention("relu", false, {.causal = false, .normalise = false, .feature_map = "relu"}),
      {"low_rank",
       {"low_rank"},
       {{2, 5, 4}},
       [](const Graph&, Inputs x) {
         return apply("low_rank", {x[0]}, {{"rank", 2}});
       },
       false,
       false},
      {"randomised_low_rank",
       {"randomised_low_rank"},
       {{2, 5, 4}},
       [](const Graph&, Inputs x) {
         return apply("randomised_low_rank", {x[0]}, {{"rank", 2}});
       },
       false,
       false},
      {"row_projector",
       {"row_projector"},
       {{2, 5, 4}},
       [](const Graph&, Inputs x) { return apply("row_projector", {x[0]}, {{"rank", 2}}); },
       false,
       false},
      {"low_rank_wide",
       {"low_rank"},
       {{3, 5}},
       [](const Graph&, Inputs x) { return apply("low_rank", {x[0]}, {{"rank", 1}}); },
       false,
       false},
  };
  for (const char* activation : {"relu", "gelu", "gelu_tanh", "silu"}) {
    cases.push_back({std::string("linear_") + activation,
                     {"linear"},
                     {{3, 4}, {5, 4}, {5}},
                     [activation](const Graph&, Inputs x) { return linear(x[0], x[1], x[2], activation); }});
  }
  return cases;
}

const std::vector<Case>& cases() {
  static const std::vector<Case> all = make_cases();
  return all;
}

std::vector<Array> inputs_of(const Case& c, Element element = Element::f64) {
  std::vector<Array> inputs;
  attnlab::Philox random(17);
  for (const Extents& shape : c.shapes) {
    Array x(Element::f64, shape);
    for (int64_t i = 0; i < x.size(); ++i)
      x.mutable_data<double>()[i] = c.positive ? 0.5 + 2 * random.uniform() : random.normal();
    // Both precisions start from float32 values.
    inputs.push_back(x.as(Element::f32).as(element));
  }
  return inputs;
}

class Ops : public testing::TestWithParam<size_t> {
 protected:
  const Case& the_case() const { return cases()[GetParam()]; }
};

/// Comparisons and the like have no gradient: differences of their steps are not wanted either.
bool has_gradient(const Case& c) {
  for (const std::string& op : c.ops) {
    const Op& found = ops()[static_cast<size_t>(find_op(op))];
    if (found.gradient == nullptr && found.decompose == nullptr) return false;
  }
  return true;
}

TEST_P(Ops, GradientIsTheFiniteDifference) {
  if (!has_gradient(the_case())) {
    const Graph graph(Element::f64);
    std::vector<Var> x;
    for (const Array& input : inputs_of(the_case())) x.push_back(graph.watched(input));
    EXPECT_FALSE(from_handle(the_case().f(graph, x).node())->watched());
    return;
  }
  const auto check = check_gradients(the_case().f, inputs_of(the_case()));
  EXPECT_LT(check.worst, 1e-8) << "input " << check.input << ", element " << check.element;
}

TEST_P(Ops, GradientOfTheGradientIsTheFiniteDifference) {
  if (!the_case().second_order || !has_gradient(the_case())) return;
  auto gradient = [&](const Graph& graph, Inputs x) {
    const Var y = the_case().f(graph, x);
    // Of sum(y^2 + y): the seed depends on the inputs too.
    std::vector<Var> parts;
    for (const Var& g : gradients(graph, sum(y * y + y), {}, x, true)) parts.push_back(reshape(g, {-1}));
    return concat(parts, 0);
  };
  const auto check = check_gradients(gradient, inputs_of(the_case()));
  EXPECT_LT(check.worst, 1e-7) << "input " << check.input << ", element " << check.element;
}

/// Value and gradients in one precision, as doubles.
std::vector<Array> evaluate(const Case& c, Element element) {
  const Graph graph(element);
  std::vector<Var> x;
  for (const Array& input : inputs_of(c, element)) x.push_back(graph.watched(input));
  const Var y = c.f(graph, x);
  std::vector<Array> results{value_of(y).as(Element::f64).packed()};
  for (const Var& g : gradients(graph, sum(y * y), {}, x, false))
    results.push_back(value_of(g).as(Element::f64).packed());
  return results;
}

TEST_P(Ops, Float32IsNearFloat64) {
  const auto exact = evaluate(the_case(), Element::f64), fast = evaluate(the_case(), Element::f32);
  for (size_t r = 0; r < exact.size(); ++r) {
    ASSERT_EQ(exact[r].shape(), fast[r].shape());
    double largest = 1, error = 0;
    for (int64_t i = 0; i < exact[r].size(); ++i) {
      largest = std::max(largest, std::abs(exact[r].data<double>()[i]));
      error = std::max(error, std::abs(exact[r].data<double>()[i] - fast[r].data<double>()[i]));
    }
    EXPECT_LE(error, the_case().f32_error * largest) << (r == 0 ? "value" : "gradient ") << r;
  }
}

std::string case_name(const testing::TestParamInfo<size_t>& info) {
  std::string name;
  for (char c : cases()[info.param].name) name += std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  return std::to_string(info.param) + "_" + name;
}
INSTANTIATE_TEST_SUITE_P(Graph, Ops, testing::Range<size_t>(0, cases().size()), case_name);

TEST(GraphOps, EveryOpHasACase) {
  std::set<std::string> covered{"one_hot", "top_ids", "singular_values",
                                "right_singular_vectors"};  // graph_graph_test.cpp
  for (const Case& c : cases()) covered.insert(c.ops.begin(), c.ops.end());
  for (const Op& op : ops()) EXPECT_TRUE(covered.contains(std::string(op.name))) << op.name;
}

}  // namespace
}  // namespace attnlab::graph
