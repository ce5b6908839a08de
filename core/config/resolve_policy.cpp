#include "core/config/resolve_policy.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <regex>
#include <set>

#include "core/config/schema.hpp"

namespace attnlab::config {
namespace {

using base::Mistake;
using base::UserError;
using io::Json;

constexpr int64_t largest_index = 1 << 20;
constexpr const char* index_list_form =
    "numbers and ranges without spaces, such as \"0,4-7\", or \"*\" for every other";

std::string shown(const Json& json) {
  return io::line_text(json).substr(0, 80);
}

IndexList parse_index_list(const std::string& key, const Mistake& where) {
  auto refuse = [&](const std::string& suggestion) {
    Mistake mistake = where;
    mistake.found = key.substr(0, 80);
    mistake.allowed = index_list_form;
    mistake.suggestion = suggestion;
    throw UserError("a key of a policy lists layers or heads", mistake);
  };
  IndexList list{key, {}};
  if (key == "*") return list;
  static const std::regex pattern(index_list_pattern);
  // Of bounded length first: std::regex recurses.
  if (key.size() > index_list_length || !std::regex_match(key, pattern)) {
    if (key == "layers" || key == "heads") refuse("policies do not nest");
    std::string close = key;
    std::erase(close, ' ');
    refuse(close != key && close.size() <= index_list_length && std::regex_match(close, pattern)
               ? "write \"" + close + "\""
               : "");
  }
  const char* at = key.c_str();
  auto number = [&] {
    char* end = nullptr;
    const int64_t value = std::strtoll(at, &end, 10);
    at = end;
    if (value > largest_index) refuse(fmt::format("the largest number is {}", largest_index));
    return value;
  };
  for (;; ++at) {
    const int64_t first = number();
    int64_t last = first;
    if (*at == '-') {
      ++at;
      last = number();
    }
    if (last < first) refuse(fmt::format("a range ascends: {}-{}", last, first));
    list.spans.emplace_back(first, last);
    if (*at == '\0') break;
  }
  std::sort(list.spans.begin(), list.spans.end());
  for (size_t i = 1; i < list.spans.size(); ++i) {
    if (list.spans[i].first <= list.spans[i - 1].second)
      refuse(fmt::format("it names {} twice", list.spans[i].first));
  }
  return list;
}

/// The first index that both lists name, or -1.
int64_t common_index(const IndexList& a, const IndexList& b) {
  for (const auto& left : a.spans) {
    for (const auto& right : b.spans) {
      const int64_t first = std::max(left.first, right.first);
      if (first <= std::min(left.second, right.second)) return first;
    }
  }
  return -1;
}

/// What a policy may refer to.
struct Scope {
  const Document& document;
  const ResolveStages& resolve_stages;
  std::vector<PipelinePlan> lists;    ///< pipelines that are lists of stages
  std::vector<std::string> policies;  ///< names of those that are policies
};

class PolicyReader {
 public:
  PolicyReader(const Scope& scope, const std::string& name)
      : scope_(scope), pointer_("/pipelines/" + escape(name)), plan_{name, {}, PolicyPlan()} {}

  PipelinePlan read(const Json& policy) {
    read_object(scope_.document, pointer_, policy, {}, {"layers", "heads"}, [](const std::string& key) {
      return key == "masker" ? "a stage goes into a list: [{...}]" : "";
    });
    if (policy.empty()) {
      fail(pointer_, "a policy says nothing", policy, "\"layers\", \"heads\" or both, or a list of stages");
    }
    if (policy.contains("layers")) {
      each(pointer_ + "/layers", policy["layers"], "layer",
           [&](const IndexList& key, const std::string& at, const Json& value) {
             LayerRule rule{key, {}, {}};
             if (value.is_object()) {
               rule.heads = head_rules(at, value, "layers " + key.text + " heads ");
             } else {
               rule.variant = variant_at(at, value, "layers " + key.text, " | {heads: ...}");
             }
             plan_.policy->layers.push_back(std::move(rule));
           });
    }
    if (policy.contains("heads")) {
      plan_.policy->heads = head_rules(pointer_ + "/heads", policy["heads"], "heads ");
      if (policy.contains("layers") && policy["heads"].contains("*")) {
        fail(pointer_ + "/heads/*", "\"*\" in \"heads\" hides what \"layers\" says", policy["heads"]["*"],
             "\"*\" in \"layers\", or \"heads\" alone");
      }
    }
    return std::move(plan_);
  }

 private:
  [[noreturn]] void fail(const std::string& pointer, const std::string& summary, const Json& found,
                         const std::string& allowed, const std::string& suggestion = "") const {
    Mistake mistake = scope_.document.where(pointer);
    mistake.found = shown(found);
    mistake.allowed = allowed;
    mistake.suggestion = suggestion;
    throw UserError(summary, mistake);
  }

  /// Calls body(key, pointer, value) for the members of an object whose keys are index lists.
  template <class Body>
  void each(const std::string& pointer, const Json& object, const std::string& what, const Body& body) const {
    const std::string allowed = "{\"0-1\": \"<pipeline>\", \"*\": \"<pipeline>\"}";
    if (!object.is_object() || object.empty())
      fail(pointer, "a policy's " + what + "s have the wrong form", object, allowed);
    std::vector<IndexList> keys;
    for (const auto& item : object.items()) {
      const std::string at = pointer + "/" + escape(item.key());
      const IndexList key = parse_index_list(item.key(), scope_.document.where(at));
      for (const auto& other : keys) {
        const int64_t common = common_index(key, other);
        if (common < 0) continue;
        fail(at, fmt::format("two keys name {} {}", what, common), Json(other.text + " and " + key.text),
             "each " + what + " once");
      }
      body(key, at, item.value());
      keys.push_back(key);
    }
  }

  std::vector<HeadRule> head_rules(const std::string& pointer, const Json& object, const std::string& place) {
    std::vector<HeadRule> rules;
    each(pointer, object, "head", [&](const IndexList& key, const std::string& at, const Json& value) {
      rules.push_back({key, variant_at(at, value, place + key.text, "")});
    });
    return rules;
  }

  /// The variant that a value means: the name of a pipeline, or a list of stages, named after its `place`.
  size_t variant_at(const std::string& pointer, const Json& value, const std::string& place,
                    const std::string& more) {
    if (value.is_array()) return add({place, false, 0, 0}, scope_.resolve_stages(pointer, value));
    if (!value.is_string()) {
      fail(pointer, "a policy gives a pipeline", value, "\"<name of a pipeline>\" | [stage, ...]" + more,
           value.is_object() ? "policies do not nest; a stage goes into a list: [{...}]" : "");
    }
    const auto name = value.get<std::string>();
    auto& variants = plan_.policy->variants;
    for (size_t v = 0; v < variants.size(); ++v) {
      if (variants[v].is_named && variants[v].name == name) return v;
    }
    for (const auto& pipeline : scope_.lists) {
      if (pipeline.name == name) return add({name, true, 0, 0}, pipeline.stages);
    }
    std::vector<std::string> names = {"dense"};
    for (const auto& pipeline : scope_.lists) {
      if (pipeline.name != "dense") names.push_back(pipeline.name);
    }
    if (std::find(scope_.policies.begin(), scope_.policies.end(), name) != scope_.policies.end()) {
      fail(pointer, name == plan_.name ? "a policy names itself" : "policies do not nest", value,
           base::join(names), "name a pipeline that is a list of stages");
    }
    if (name == "dense") return add({name, true, 0, 0}, {});
    fail(pointer, "no pipeline has this name", value, base::join(names), base::did_you_mean(name, names));
  }

  size_t add(VariantPlan variant, std::vector<StagePlan> stages) {
    variant.begin = plan_.stages.size();
    for (auto& stage : stages) plan_.stages.push_back(std::move(stage));
    variant.end = plan_.stages.size();
    plan_.policy->variants.push_back(std::move(variant));
    return plan_.policy->variants.size() - 1;
  }

  const Scope& scope_;
  std::string pointer_;
  PipelinePlan plan_;
};

}  // namespace

void resolve_pipelines(const Document& document, const Json& pipelines, const ResolveStages& resolve_stages,
                       RunPlan& plan) {
  Scope scope{document, resolve_stages, {}, {}};
  for (const auto& [name, value] : pipelines.items()) {
    const std::string pointer = "/pipelines/" + escape(name);
    if (value.is_array()) {
      scope.lists.push_back({name, resolve_stages(pointer, value), {}});
    } else if (value.is_object() && !value.contains("masker")) {
      scope.policies.push_back(name);
    } else {
      Mistake mistake = document.where(pointer);
      mistake.found = value.dump().substr(0, 80);
      mistake.allowed = "a list of stages, [] is dense attention; or a policy, {\"layers\": {...}}";
      if (value.is_object()) mistake.suggestion = "put the stage into a list: [{...}]";
      throw UserError("a pipeline has the wrong type", mistake);
    }
  }
  std::vector<PipelinePlan> all;
  std::vector<std::string> names;
  for (const auto& [name, value] : pipelines.items()) {
    const auto same = [&, &wanted = name](const auto& pipeline) { return pipeline.name == wanted; };
    const auto list = std::find_if(scope.lists.begin(), scope.lists.end(), same);
    all.push_back(list != scope.lists.end() ? *list : PolicyReader(scope, name).read(value));
    names.push_back(name);
  }
  if (plan.compare.empty()) {
    plan.pipelines = std::move(all);
    return;
  }
  std::set<std::string> taken;
  for (size_t i = 0; i < plan.compare.size(); ++i) {
    const std::string& name = plan.compare[i];
    const auto found = std::find(names.begin(), names.end(), name);
    const bool known = found != names.end() || name == "dense";
    if (known && taken.insert(name).second) {
      plan.pipelines.push_back(found == names.end() ? PipelinePlan{name, {}, {}}
                                                    : all[static_cast<size_t>(found - names.begin())]);
      continue;
    }
    Mistake mistake = document.where("/compare/" + std::to_string(i));
    mistake.found = "\"" + name + "\"";
    mistake.allowed = base::join(names);
    if (!known) mistake.suggestion = base::did_you_mean(name, names);
    throw UserError(known ? "\"compare\" names a pipeline twice" : "no pipeline has this name", mistake);
  }
  for (auto& pipeline : all) {
    if (!taken.contains(pipeline.name)) plan.helpers.push_back(std::move(pipeline));
  }
}

void check_policy(const PipelinePlan& pipeline, const Document& document, const std::vector<int>& layers,
                  const std::vector<int>& run, int64_t query_heads, int64_t group) {
  if (!pipeline.policy) return;
  const PolicyPlan& policy = *pipeline.policy;
  const std::string place = "/pipelines/" + escape(pipeline.name);
  auto refuse = [&](const std::string& pointer, const std::string& summary, const std::string& found,
                    const std::string& allowed, const std::string& suggestion) {
    Mistake mistake = document.where(pointer);
    mistake.found = found;
    mistake.allowed = allowed;
    mistake.suggestion = suggestion;
    throw UserError(summary, mistake);
  };
  auto check_heads = [&](const std::string& pointer, const std::vector<HeadRule>& rules) {
    for (const auto& rule : rules) {
      if (rule.heads.is_rest() || rule.heads.spans.back().second < query_heads) continue;
      refuse(pointer + "/" + escape(rule.heads.text), "the input has no such query head",
             std::to_string(rule.heads.spans.back().second), fmt::format("0 to {}", query_heads - 1), "");
    }
  };
  check_heads(place + "/heads", policy.heads);
  for (const auto& rule : policy.layers) {
    const std::string pointer = place + "/layers/" + escape(rule.layers.text);
    check_heads(pointer, rule.heads);
    for (const auto& [first, last] : rule.layers.spans) {
      for (int64_t layer = first; layer <= last; ++layer) {
        if (std::find(layers.begin(), layers.end(), static_cast<int>(layer)) != layers.end()) continue;
        std::vector<std::string> names;
        for (int l : layers) names.push_back(std::to_string(l));
        refuse(pointer, "the input has no such layer", std::to_string(layer), base::join(names), "");
      }
    }
  }
  auto has_feedback = [&](const VariantPlan& variant) {
    return std::any_of(pipeline.stages.begin() + static_cast<int64_t>(variant.begin),
                       pipeline.stages.begin() + static_cast<int64_t>(variant.end),
                       [](const auto& stage) { return stage.wants_feedback; });
  };
  for (int layer : run) {
    std::optional<size_t> of_group;
    for (int64_t head = 0; head < query_heads; ++head) {
      const std::optional<size_t> variant = policy.variant_of(layer, head);
      if (!variant) {
        refuse(place, "the policy leaves out a query head", fmt::format("layer {}, head {}", layer, head),
               "a pipeline for every head of every layer that is run",
               policy.layers.empty() ? "add \"*\" to \"heads\"" : "add \"*\" to \"layers\"");
      }
      if (head % group == 0) of_group = variant;
      if (variant == of_group) continue;
      for (size_t v : {*variant, *of_group}) {
        if (!has_feedback(policy.variants[v])) continue;
        refuse(place, "a method that learns from the attention of a KV head needs all of its query heads",
               fmt::format("layer {}: heads {} and {} of KV head {}", layer, head - head % group, head,
                           head / group),
               fmt::format("one pipeline for all {} query heads of a KV head where {} runs", group,
                           policy.variants[v].name),
               "");
      }
    }
  }
}

}  // namespace attnlab::config
