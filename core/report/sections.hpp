// Sections of report.html, each "" when the run has nothing for it.
#pragma once

#include <string>

#include "core/measure/record.hpp"

namespace attnlab::report {

/// The comparison, cells with their exact figures as data-value. `numbered`: rows begin with their place.
std::string comparison_section(const measure::RunRecord& run, bool numbered);
/// Every metric against every cost, the first of both shown. Sets `numbered` when points are labelled by
/// place.
std::string plot_section(const measure::RunRecord& run, bool& numbered);
/// Mean output error of each head of each layer, one colour scale for all pipelines.
std::string head_section(const measure::RunRecord& run);
/// Mask of each pipeline and the stages that made it.
std::string mask_section(const measure::RunRecord& run);
/// Bytes of indices and bytes read, by pipeline and stage, beside the KV cache's own.
std::string cost_section(const measure::RunRecord& run);
/// Seconds by stage, shared work first.
std::string time_section(const measure::RunRecord& run);
/// The exact command and what the result depends on: build, machine, input and plugin files, warnings.
std::string provenance_section(const measure::RunRecord& run);

/// What the page's script draws, as JSON that is safe inside a script element: names, figures of points and
/// heads, the pictures' counts. Figures that are no numbers are null, infinities the strings "Infinity" and
/// "-Infinity".
std::string page_data(const measure::RunRecord& run);

}  // namespace attnlab::report
