// Tables of a sweep's reports.
#pragma once

#include <string>
#include <vector>

#include "core/report/plain_table.hpp"
#include "core/report/sweep_importance.hpp"
#include "core/report/sweep_summary.hpp"

namespace attnlab::report {

/// "Trials on the Pareto front", "The 20 best trials": with how many of them are listed.
std::string listed_title(const SweepReport& report, const SweepSummary& summary);
/// Names of the columns: objectives, then axes.
std::vector<std::string> listed_columns(const SweepReport& report, const SweepSummary& summary);
/// A trial's cells in these columns; "–" where an axis takes no part.
std::vector<std::string> listed_cells(const SweepReport& report, const SweepTrial& trial);

/// A row an axis, with its share and its noise in each objective.
PlainTable importance_table(const SweepReport& report, const SweepSummary& summary,
                            const std::vector<std::vector<Importance>>& importances);

/// Things that a reader must know of before comparing: rungs, thinning, many failures.
std::vector<std::string> sweep_notes(const SweepReport& report, const SweepSummary& summary, size_t drawn);

}  // namespace attnlab::report
