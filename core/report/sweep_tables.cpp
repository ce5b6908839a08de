#include "core/report/sweep_tables.hpp"

#include <fmt/format.h>

#include <cmath>

#include "core/report/format.hpp"

namespace attnlab::report {

std::string listed_title(const SweepReport& report, const SweepSummary& summary) {
  const size_t listed = listed_feasible(report, summary).size();
  if (report.objectives.size() > 1) {
    const size_t all = summary.front.size();
    return listed < all ? fmt::format("Trials on the Pareto front, {} of {}", listed, all)
                        : "Trials on the Pareto front";
  }
  return listed < summary.feasible.size() ? fmt::format("The {} best trials", listed)
                                          : "Trials, the best first";
}

std::vector<std::string> listed_columns(const SweepReport& report, const SweepSummary& summary) {
  std::vector<std::string> columns;
  for (const SweepObjective& objective : report.objectives) columns.push_back(objective.name);
  columns.insert(columns.end(), summary.labels.begin(), summary.labels.end());
  return columns;
}

std::vector<std::string> listed_cells(const SweepReport& report, const SweepTrial& trial) {
  std::vector<std::string> cells;
  for (const double value : trial.judgement.values) cells.push_back(number(value, 4));
  for (size_t a = 0; a < report.axes.size(); ++a)
    cells.push_back(trial.point.at(a) ? trial.point[a]->text : "–");
  return cells;
}

PlainTable importance_table(const SweepReport& report, const SweepSummary& summary,
                            const std::vector<std::vector<Importance>>& importances) {
  PlainTable table{
      .title = "Importance of axes", .about = {}, .rows = {{"axis", "values", "trials"}}, .left = 1};
  for (const SweepObjective& objective : report.objectives) {
    table.rows[0].push_back(objective.name + ", share");
    table.rows[0].push_back("noise");
  }
  for (const size_t a : axes_by_share(importances.at(0))) {
    const Importance& any = importances[0][a];
    std::vector<std::string> row = {summary.labels[a],
                                    fmt::format("{}{}", any.values, any.binned ? " bins" : ""),
                                    std::to_string(any.trials)};
    for (const auto& of_axes : importances) {
      row.push_back(std::isnan(of_axes[a].share) ? "-" : percent(of_axes[a].share, 2));
      row.push_back(std::isnan(of_axes[a].noise) ? "-" : percent(of_axes[a].noise, 2));
    }
    table.rows.push_back(row);
  }
  return table;
}

std::vector<std::string> sweep_notes(const SweepReport& report, const SweepSummary& summary, size_t drawn) {
  std::vector<std::string> notes;
  const size_t recorded = report.trials.size();
  if (report.asked > static_cast<int64_t>(recorded))
    notes.push_back(
        fmt::format("On record are {} of at most {} trials: the others are to do, or equal to these.",
                    recorded, report.asked));
  if (!summary.failed.empty())
    notes.push_back(
        fmt::format("{} of {} trials failed. They have no objectives and take no part in any figure of "
                    "them; where failures are not spread evenly, neither are the others.",
                    summary.failed.size(), recorded));
  if (const size_t valued = summary.feasible.size() + summary.infeasible.size(); drawn < valued)
    notes.push_back(
        fmt::format("Figures show {} of {} trials, evenly chosen, with all that tables list among them; "
                    "small ones up to 600. Fronts, medians and shares are of all trials.",
                    drawn, valued));
  return notes;
}

}  // namespace attnlab::report
