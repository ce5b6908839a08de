// Sections of report.html, each "" when the run has nothing for it.
#pragma once

#include <string>

#include "core/measure/record.hpp"

namespace attnlab::report {

/// Mask of each pipeline and the stages that made it.
std::string mask_section(const measure::RunRecord& run);
/// Mean output error of each head of each layer, one colour scale for all pipelines.
std::string head_section(const measure::RunRecord& run);
/// Seconds by stage, shared work first.
std::string time_section(const measure::RunRecord& run);

}  // namespace attnlab::report
