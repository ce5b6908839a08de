// What of an input a run covers, and how its keys and queries go by.
#pragma once

#include <functional>
#include <vector>

#include "core/attention/session.hpp"
#include "core/config/run_plan.hpp"
#include "core/data/problem.hpp"

namespace attnlab::measure {

/// The attention numbers of a run: the config's, else what the source states, else the defaults.
attention::AttentionOptions attention_options(const config::RunPlan& plan, const data::Source& source);

/// The layers and the number of last queries that a run covers.
std::vector<int> wanted_layers(const config::RunPlan& plan, const data::Source& source);
int64_t measured_queries(const config::RunPlan& plan, const data::Geometry& geometry);
/// Query heads that are measured, and their KV heads; ascending.
std::vector<int64_t> measured_heads(const config::RunPlan& plan, const data::Geometry& geometry);
std::vector<int64_t> measured_kv_heads(const config::RunPlan& plan, const data::Geometry& geometry);

/// Gives a fresh session all keys. In prefill all of them are the prompt; otherwise the prompt ends before
/// query `begin`, and its queries are attended for what methods with feedback learn from them.
void append_all(config::Mode mode, attention::Session& session, attention::Engine& engine,
                const std::vector<int64_t>& kv_heads, int64_t begin);

/// Attends queries [begin, begin + count) of a fresh session as the mode says: all keys first, or appended as
/// the queries go. `advance` is called with the number of queries done, between calls of the engine.
void attend_by_mode(config::Mode mode, attention::Session& session, attention::Engine& engine,
                    const std::vector<int64_t>& kv_heads, int64_t begin, int64_t count,
                    const attention::Visitor& visit, const std::function<void(int64_t)>& advance);

}  // namespace attnlab::measure
