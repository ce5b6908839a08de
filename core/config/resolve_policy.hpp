// "pipelines" of a config -> PipelinePlan: lists of stages, and policies that refer to them.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/config/run_plan.hpp"

namespace attnlab::config {

/// Resolves the list of stages at a pointer.
using ResolveStages =
    std::function<std::vector<StagePlan>(const std::string& pointer, const io::Json& stages)>;

/// Reads the object "pipelines" into `plan`, whose `compare` says which of them run. Throws UserError for the
/// first mistake.
void resolve_pipelines(const Document& document, const io::Json& pipelines,
                       const ResolveStages& resolve_stages, RunPlan& plan);

/// What resolve() cannot know: throws UserError when the policy of `pipeline`, if it has one, names a layer
/// or head that the input lacks, leaves out a head of a layer in `run`, or gives a method with feedback some
/// heads of a KV head only: it learns from all of them. `group`: query heads of a KV head.
void check_policy(const PipelinePlan& pipeline, const Document& document, const std::vector<int>& layers,
                  const std::vector<int>& run, int64_t query_heads, int64_t group);

}  // namespace attnlab::config
