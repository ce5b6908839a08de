// What a run's records say of its input and its pipelines.
#pragma once

#include <string>
#include <vector>

#include "core/attention/session.hpp"
#include "core/measure/record.hpp"

namespace attnlab::measure {

InputRecord describe_input(const config::RunPlan& plan, const data::Source& source,
                           const attention::AttentionOptions& attention);
/// A stage as a user would write it, with what its preset fixes.
StageRecord describe_stage(const config::PipelinePlan& plan, size_t index, const plugin::Descriptor& method);
/// Name, stages and policy; `descriptors` are those of the stages.
PipelineRecord describe_pipeline(const config::PipelinePlan& plan,
                                 const std::vector<const plugin::Descriptor*>& descriptors);
/// What a reader must know of a pipeline's methods in this mode. `prompt_seen`: the input held queries of the
/// prompt, or there was no prompt.
void add_notes(const PipelineRecord& record, const std::vector<const plugin::Descriptor*>& descriptors,
               config::Mode mode, bool prompt_seen, std::vector<std::string>& notes);

}  // namespace attnlab::measure
