#include "core/plugin/scheme.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

namespace attnlab::plugin {
namespace {

constexpr int64_t kMostElements = int64_t{1} << 32;

attnlab_scheme_context context_of(const SchemeGeometry& g, const SchemeCall& call,
                                  const attnlab_graph* graph) {
  attnlab_scheme_context context{};
  context.struct_size = sizeof context;
  context.layer = g.layer;
  context.batch = call.batch, context.tokens = call.tokens, context.past = call.past;
  context.embed_dim = g.embed_dim;
  context.query_heads = g.query_heads, context.kv_heads = g.kv_heads;
  context.head_dim = g.head_dim, context.value_dim = g.value_dim;
  context.causal = g.causal ? 1 : 0, context.training = call.training ? 1 : 0;
  context.rng_key = call.rng_key;
  context.graph = graph;
  context.scale =
      g.scale != 0 ? g.scale : 1 / std::sqrt(static_cast<double>(std::max<int64_t>(g.head_dim, 1)));
  return context;
}

[[noreturn]] void refuse(const std::string& message) {
  throw HostError(ATTNLAB_CONTRACT, message);
}

void add_parameter(SchemeDeclaration& declaration, SchemeParameter parameter) {
  const std::string what = "parameter \"" + base::escape_unprintable(parameter.name) + "\": ";
  static const std::vector<std::string> rules = {"normal", "zeros", "ones", "constant", "fan_in"};
  if (parameter.name.empty() || parameter.name.size() > 128 || parameter.name.find('/') != std::string::npos)
    refuse(what + "a name of 1 to 128 characters without a slash is wanted");
  if (std::any_of(declaration.parameters.begin(), declaration.parameters.end(),
                  [&](const SchemeParameter& other) { return other.name == parameter.name; }))
    refuse(what + "declared twice");
  int64_t elements = 1;
  for (int64_t extent : parameter.shape) {
    if (extent < 1 || extent > kMostElements / elements)
      refuse(what + "illegal shape " + graph::to_string(parameter.shape));
    elements *= extent;
  }
  if (std::find(rules.begin(), rules.end(), parameter.init) == rules.end())
    refuse(what + "unknown init rule \"" + base::escape_unprintable(parameter.init) +
           "\"; allowed: " + base::join(rules));
  if (!std::isfinite(parameter.init_scale)) refuse(what + "its init scale is not finite");
  declaration.parameters.push_back(std::move(parameter));
}

}  // namespace

Scheme::Scheme(const Catalog& catalog, const CatalogEntry& entry, const std::vector<Value>& values,
               const Usage& usage)
    : instance_(catalog, entry, values, usage), table_(instance_.method().scheme) {
  ATTNLAB_CHECK(table_ != nullptr, "the caller names a scheme");
}

SchemeDeclaration Scheme::declare(const SchemeGeometry& geometry) const {
  SchemeDeclaration declaration;
  attnlab_scheme_sink sink{};
  sink.struct_size = sizeof sink;
  sink.context = &declaration;
  sink.input = [](void* context, attnlab_text name, attnlab_error* error) -> attnlab_status {
    return attnlab::detail::guard(error, [&] {
      static_cast<SchemeDeclaration*>(context)->inputs.emplace_back(attnlab::from_abi(name));
    });
  };
  sink.parameter = [](void* context, attnlab_text name, const int64_t* shape, uint64_t rank,
                      attnlab_text init, double init_scale, int32_t residual,
                      attnlab_error* error) -> attnlab_status {
    return attnlab::detail::guard(error, [&] {
      if (rank > graph::kMaxRank) refuse("a parameter of rank " + std::to_string(rank));
      add_parameter(*static_cast<SchemeDeclaration*>(context),
                    {std::string(attnlab::from_abi(name)), graph::Extents(shape, shape + rank),
                     std::string(attnlab::from_abi(init)), init_scale, residual != 0});
    });
  };
  const attnlab_scheme_context context = context_of(geometry, {}, nullptr);
  instance_.call("declare", {.layer = geometry.layer}, [&](attnlab_error* error) {
    return table_->declare(instance_.self(), &context, &sink, error);
  });
  using Names = std::vector<std::string>;
  if (declaration.inputs != Names{"q", "k", "v"} && declaration.inputs != Names{"x"} &&
      declaration.inputs != Names{"x", "key", "value"})
    instance_.fail("its inputs are " + base::escape_unprintable(base::join(declaration.inputs)) +
                       "; allowed: q, k, v; x; or x, key, value",
                   "declare");
  return declaration;
}

template <class Body>
Var Scheme::run(const char* slot, const graph::Graph& graph, const SchemeGeometry& geometry,
                const SchemeCall& call, std::span<const Var> inputs, const Body& body) const {
  const attnlab_scheme_context context = context_of(geometry, call, graph.table());
  std::vector<attnlab_node*> nodes;
  for (const Var& input : inputs) nodes.push_back(input.node());
  attnlab_node* output = nullptr;
  const Place place{
      .layer = geometry.layer, .first_position = call.past, .last_position = call.past + call.tokens - 1};
  instance_.call(slot, place, [&](attnlab_error* error) { return body(context, nodes, &output, error); });
  if (output == nullptr) instance_.fail("it returned no value", slot, place);
  Var result = Var::adopt(graph.table(), output);
  const bool is_operator = !inputs.empty() && inputs[0].shape().size() == 4;
  const graph::Extents expected =
      is_operator ? graph::Extents{call.batch, geometry.query_heads, call.tokens, geometry.value_dim}
                  : graph::Extents{call.batch, call.tokens, geometry.embed_dim};
  const graph::Extents& found = graph::value_of(result).shape();
  if (found != expected)
    instance_.fail("its output is " + graph::to_string(found) + " instead of " + graph::to_string(expected),
                   slot, place);
  return result;
}

Var Scheme::forward(const graph::Graph& graph, const SchemeGeometry& geometry, const SchemeCall& call,
                    std::span<const Var> inputs) const {
  return run("forward", graph, geometry, call, inputs,
             [&](const attnlab_scheme_context& context, const auto& nodes, attnlab_node** output,
                 attnlab_error* error) {
               return table_->forward(instance_.self(), &context, nodes.data(), nodes.size(), output, error);
             });
}

Var Scheme::step(const graph::Graph& graph, const SchemeGeometry& geometry, const SchemeCall& call,
                 const attnlab_scheme_state& state, std::span<const Var> inputs) const {
  return run("step", graph, geometry, call, inputs,
             [&](const attnlab_scheme_context& context, const auto& nodes, attnlab_node** output,
                 attnlab_error* error) {
               return table_->step(instance_.self(), &context, &state, nodes.data(), nodes.size(), output,
                                   error);
             });
}

}  // namespace attnlab::plugin
