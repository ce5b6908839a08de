#include "core/config/layer_plan.hpp"

#include <fmt/core.h>

#include "core/config/refuse.hpp"
#include "core/config/rows.hpp"
#include "core/config/run_plan.hpp"
#include "core/config/schema.hpp"

namespace attnlab::config {
namespace {

using base::Mistake;
using base::UserError;
using io::Json;
using namespace rows;

/// The document's object without members that are null and have no default of their own.
Json without_nulls(const Json& root) {
  Json object = root;
  for (const Parameter& parameter : layer_parameters()) {
    const auto found = object.find(parameter.key);
    if (found != object.end() && found->is_null() && !parameter.default_value.is_set())
      io::erase_member(object, parameter.key);
  }
  return object;
}

template <class T>
void read(const Values& values, const char* key, std::optional<T>& member) {
  if (values.at(key).is_set()) member = values.at(key).as<T>();
}

/// The config's number, which must be the input's where that fixes one.
std::optional<int64_t> agreed(const Document& document, const char* key, std::optional<int64_t> stated,
                              int64_t input) {
  if (input == 0) return stated;
  if (stated && *stated != input)
    refuse(document, std::string("/") + key, "does not fit the input", std::to_string(*stated),
           fmt::format("{}, as q, k and v have it", input), "leave it out to take the input's");
  return input;
}

int64_t default_head_dim(const Document& document, int64_t embed_dim, int64_t query_heads) {
  if (embed_dim % query_heads != 0)
    refuse(document, "/query_heads", "heads do not share the channels evenly", std::to_string(query_heads),
           fmt::format("a divisor of embed_dim, {}", embed_dim), "or give \"head_dim\"");
  return embed_dim / query_heads;
}

}  // namespace

const std::vector<Parameter>& layer_parameters() {
  static const std::vector<Parameter> table = [] {
    Parameter title = of_type(ParameterType::string, "title", "Shown in results.");
    title.default_value = {std::string()};
    Parameter scale = real("scale", "Factor of q.k in an operator; default: 1/sqrt(head_dim).");
    scale.minimum = 0;
    scale.minimum_open = true;
    scale.maximum = 1e6;
    return std::vector<Parameter>{
        title,
        integer("query_heads", 1, 65536, "Query heads; default: those of q, else 1."),
        integer("kv_heads", 1, 65536, "KV heads; default: those of k, else query_heads."),
        integer("head_dim", 1, 65536, "Channels of queries and keys; default: embed_dim / query_heads."),
        integer("value_dim", 1, 65536, "Channels of values; default: head_dim."),
        integer("embed_dim", 1, 1 << 20, "Channels of the layer's output; default: those of x."),
        flag("causal", "A position sees no later one.", true),
        scale,
        integer("seed", 0, 9e18, "Of first parameters and everything random in the scheme.", whole(0)),
    };
  }();
  return table;
}

const std::vector<Parameter>& lift_parameters() {
  static const std::vector<Parameter> table = [] {
    Parameter theta = real("rope_theta", "Base of the rotary frequencies.", {10000.0});
    theta.minimum = 1;
    theta.minimum_open = true;
    theta.maximum = 1e12;
    return std::vector<Parameter>{flag("bias", "Biases in the host's projections.", false),
                                  flag("rope", "Rotary positions of queries and keys.", false), theta};
  }();
  return table;
}

LayerPlan resolve_layer(const Document& document, const plugin::Catalog& catalog) {
  const Json root = without_nulls(document.root());
  const Values values =
      read_object(document, "", root, layer_parameters(), {"attention", "lift", "plugin_path"});
  if (!root.contains("attention"))
    refuse(document, "", "the config has no \"attention\"", "", "{\"scheme\": \"mha\", ...}");
  LayerPlan plan;
  plan.title = values.at("title").as<std::string>();
  plan.plugin_path = plugin_folders(document);
  plan.attention = resolve_scheme(document, "/attention", catalog);
  read(values, "query_heads", plan.query_heads);
  read(values, "kv_heads", plan.kv_heads);
  read(values, "head_dim", plan.head_dim);
  read(values, "value_dim", plan.value_dim);
  read(values, "embed_dim", plan.embed_dim);
  read(values, "scale", plan.scale);
  plan.causal = values.at("causal").as<bool>();
  plan.seed = static_cast<uint64_t>(values.at("seed").as<int64_t>());
  if (root.contains("lift")) {
    const Values lift = read_object(document, "/lift", root["lift"], lift_parameters());
    plan.lift =
        LiftPlan{lift.at("bias").as<bool>(), lift.at("rope").as<bool>(), lift.at("rope_theta").as<double>()};
  }
  return plan;
}

plugin::SchemeGeometry layer_geometry(const LayerPlan& plan, const Document& document,
                                      const InputExtents& input) {
  plugin::SchemeGeometry g;
  g.causal = plan.causal;
  g.scale = plan.scale.value_or(0);
  g.query_heads = agreed(document, "query_heads", plan.query_heads, input.query_heads).value_or(1);
  g.kv_heads = agreed(document, "kv_heads", plan.kv_heads, input.kv_heads).value_or(g.query_heads);
  if (g.query_heads % g.kv_heads != 0)
    refuse(document, "/kv_heads", "KV heads do not share the query heads evenly", std::to_string(g.kv_heads),
           fmt::format("a divisor of query_heads, {}", g.query_heads));
  const auto head_dim = agreed(document, "head_dim", plan.head_dim, input.head_dim);
  const auto value_dim = agreed(document, "value_dim", plan.value_dim, input.value_dim);
  g.embed_dim = plan.embed_dim.value_or(input.channels);
  // Without x the layer has no channels of its own: those of all heads' values stand for them.
  if (g.embed_dim == 0) g.embed_dim = g.query_heads * value_dim.value_or(head_dim.value_or(1));
  g.head_dim = head_dim ? *head_dim : default_head_dim(document, g.embed_dim, g.query_heads);
  g.value_dim = value_dim.value_or(g.head_dim);
  if (plan.lift && plan.lift->rope && g.head_dim % 2 != 0)
    refuse(document, "/lift/rope", "rotary positions turn pairs of channels",
           fmt::format("head_dim {}", g.head_dim), "an even head_dim");
  return g;
}

void check_operator_keys(const LayerPlan& plan, const Document& document, bool is_operator) {
  if (is_operator) return;
  const std::string allowed = plan.attention.scheme + " is a layer of its own: its keys are in \"attention\"";
  if (plan.lift) refuse(document, "/lift", "is for operators, which take q, k and v", "", allowed);
  if (plan.scale) refuse(document, "/scale", "is for operators, which take q, k and v", "", allowed);
}

Json to_json(const LayerPlan& plan, const plugin::SchemeGeometry& geometry, const plugin::Catalog& catalog) {
  Json json = {{"attention", to_json(plan.attention, catalog.find(plan.attention.scheme)->descriptor)},
               {"query_heads", geometry.query_heads},
               {"kv_heads", geometry.kv_heads},
               {"head_dim", geometry.head_dim},
               {"value_dim", geometry.value_dim},
               {"embed_dim", geometry.embed_dim},
               {"causal", plan.causal},
               {"seed", plan.seed}};
  if (!plan.title.empty()) json["title"] = plan.title;
  if (!plan.plugin_path.empty()) json["plugin_path"] = plan.plugin_path;
  if (plan.scale) json["scale"] = *plan.scale;
  if (plan.lift) {
    json["lift"] = {
        {"bias", plan.lift->bias}, {"rope", plan.lift->rope}, {"rope_theta", plan.lift->rope_theta}};
  }
  return json;
}

}  // namespace attnlab::config
