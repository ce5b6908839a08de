// Shared by the tests of the Mixture of Attention Schemes: small layers of it, what a forward reports,
// decoding.
#pragma once

#include <gtest/gtest.h>
#include <attnlab/philox.hpp>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "tests/support/scheme_layer.hpp"

namespace attnlab::test::moas_layer {

using graph::Array;
using graph::Element;
using graph::value_of;
using io::Json;
using Doubles = std::vector<double>;

inline constexpr int64_t kHeads = 4, kWidth = 3, kChannels = 12;
inline const std::vector<int64_t> kKvHeads = {4, 2, 1};
inline const std::vector<std::string> kNames = {"mha", "gqa", "mqa"};

inline plugin::SchemeGeometry geometry() {
  plugin::SchemeGeometry g;
  g.embed_dim = kChannels;
  g.query_heads = g.kv_heads = kHeads;
  g.head_dim = g.value_dim = kWidth;
  return g;
}

inline Json moas(const std::string& mix, const Json& more = Json::object()) {
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

inline Array random_array(const graph::Extents& shape, uint64_t key, double scale = 1) {
  Array array(Element::f64, shape);
  fill<double>(array, key, scale);
  return array;
}

inline Doubles numbers(const Array& array) {
  const Array packed = array.as(Element::f64).packed();
  return {packed.data<double>(), packed.data<double>() + packed.size()};
}
inline Doubles numbers(const Var& var) {
  return numbers(value_of(var));
}

/// A layer whose tensors are large enough that tokens take different branches.
inline TestLayer layer_of(const Json& attention, Element precision = Element::f64) {
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

inline model::Parameter& tensor_of(TestLayer& layer, const std::string& name) {
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
inline Outcome forward(TestLayer& layer, const Array& x, bool training = false) {
  layer.bind(false);
  Outcome outcome;
  const Var input = layer.the_graph().constant(x);
  outcome.y = numbers(layer.forward({&input, 1}, training));
  for (const auto& report : layer.reports) outcome.reports[report.name] = numbers(report.value);
  return outcome;
}

/// Outputs of decoding in these chunks, [B, T, C].
inline Doubles decode(TestLayer& layer, const Array& x, const std::vector<int64_t>& chunks,
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

inline double largest_difference(const Doubles& a, const Doubles& b) {
  if (a.size() != b.size()) return INFINITY;
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (!(std::abs(a[i] - b[i]) <= largest)) largest = std::abs(a[i] - b[i]);
  }
  return largest;
}

/// The branch of each token: that of its largest gate.
inline std::vector<size_t> choices(const Doubles& gates, size_t branches = 3) {
  std::vector<size_t> result;
  for (auto at = gates.begin(); at != gates.end(); at += static_cast<ptrdiff_t>(branches))
    result.push_back(static_cast<size_t>(std::max_element(at, at + static_cast<ptrdiff_t>(branches)) - at));
  return result;
}

}  // namespace attnlab::test::moas_layer
