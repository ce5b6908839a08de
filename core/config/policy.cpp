#include "core/config/policy.hpp"

#include <algorithm>

namespace attnlab::config {
namespace {

const IndexList& key_of(const HeadRule& rule) {
  return rule.heads;
}
const IndexList& key_of(const LayerRule& rule) {
  return rule.layers;
}

/// The rule that names the index, else that of "*", else nullptr.
template <class Rule>
const Rule* find_rule(const std::vector<Rule>& rules, int64_t index) {
  const Rule* rest = nullptr;
  for (const Rule& rule : rules) {
    if (key_of(rule).contains(index)) return &rule;
    if (key_of(rule).is_rest()) rest = &rule;
  }
  return rest;
}

}  // namespace

bool IndexList::contains(int64_t index) const {
  return std::any_of(spans.begin(), spans.end(),
                     [&](const auto& span) { return span.first <= index && index <= span.second; });
}

std::optional<size_t> PolicyPlan::variant_of(int64_t layer, int64_t head) const {
  const LayerRule* rule = find_rule(layers, layer);
  if (rule != nullptr) {
    if (const HeadRule* own = find_rule(rule->heads, head); own != nullptr) return own->variant;
  }
  if (const HeadRule* everywhere = find_rule(heads, head); everywhere != nullptr) return everywhere->variant;
  return rule == nullptr ? std::nullopt : rule->variant;
}

}  // namespace attnlab::config
