#include "core/measure/scope.hpp"

#include <algorithm>
#include <cmath>

namespace attnlab::measure {
namespace {

constexpr int64_t default_queries = 64;

/// Queries that are attended together between two looks at the clock and at Ctrl-C.
constexpr int64_t chunk = 1024;

/// The prompt: what lies before query `begin`. Query i of Sq sits at position i + Sk - Sq.
void append_prompt(attention::Session& session, attention::Engine& engine,
                   const std::vector<int64_t>& kv_heads, int64_t begin) {
  const data::Geometry& geometry = session.geometry();
  session.append(begin + geometry.keys - geometry.queries);
  session.end_prompt();
  engine.attend_prompt(session, begin, kv_heads);
  session.end_step();
}

}  // namespace

attention::AttentionOptions attention_options(const config::RunPlan& plan, const data::Source& source) {
  attention::AttentionOptions options;
  const double head_dim = static_cast<double>(source.geometry().head_dim);
  options.causal = plan.attention.causal.value_or(source.causal().value_or(true));
  options.scale =
      static_cast<float>(plan.attention.scale.value_or(source.scale().value_or(1 / std::sqrt(head_dim))));
  options.on_empty_row = plan.attention.on_empty_row;
  options.seed = plan.seed;
  return options;
}

int64_t measured_queries(const config::RunPlan& plan, const data::Geometry& geometry) {
  if (plan.queries) return *plan.queries;
  return plan.mode == config::Mode::prefill ? geometry.queries : std::min(default_queries, geometry.queries);
}

std::vector<int> wanted_layers(const config::RunPlan& plan, const data::Source& source) {
  if (plan.layers.empty()) return source.layers();
  return {plan.layers.begin(), plan.layers.end()};
}

std::vector<int64_t> measured_heads(const config::RunPlan& plan, const data::Geometry& geometry) {
  std::vector<int64_t> heads = plan.heads;
  for (int64_t head = 0; head < geometry.query_heads && plan.heads.empty(); ++head) heads.push_back(head);
  return heads;
}

std::vector<int64_t> measured_kv_heads(const config::RunPlan& plan, const data::Geometry& geometry) {
  std::vector<int64_t> kv_heads;
  for (int64_t head : measured_heads(plan, geometry)) kv_heads.push_back(head / geometry.group());
  kv_heads.erase(std::unique(kv_heads.begin(), kv_heads.end()), kv_heads.end());
  return kv_heads;
}

void append_all(config::Mode mode, attention::Session& session, attention::Engine& engine,
                const std::vector<int64_t>& kv_heads, int64_t begin) {
  const int64_t keys = session.geometry().keys;
  if (mode == config::Mode::prefill) {
    session.append(keys);
    session.end_prompt();
    return;
  }
  append_prompt(session, engine, kv_heads, begin);
  session.append(keys);
}

void attend_by_mode(config::Mode mode, attention::Session& session, attention::Engine& engine,
                    const std::vector<int64_t>& kv_heads, int64_t begin, int64_t count,
                    const attention::Visitor& visit, const std::function<void(int64_t)>& advance) {
  const data::Geometry& geometry = session.geometry();
  // Query i of Sq sits at position i + Sk - Sq.
  const int64_t offset = geometry.keys - geometry.queries;
  if (mode == config::Mode::decode) {
    append_prompt(session, engine, kv_heads, begin);
    for (int64_t query = begin; query < begin + count; ++query) {
      session.append(query + offset + 1);
      engine.attend(session, query, 1, kv_heads, visit);
      session.end_step();
      advance(1);
    }
    return;
  }
  append_all(mode, session, engine, kv_heads, begin);
  for (int64_t query = begin; query < begin + count; query += chunk) {
    const int64_t rows = std::min(chunk, begin + count - query);
    engine.attend(session, query, rows, kv_heads, visit);
    advance(rows);
  }
}

}  // namespace attnlab::measure
