// attnlab sweep best | report: what a sweep came to.
#include <fmt/core.h>

#include <algorithm>
#include <iostream>
#include <map>

#include "core/cli/command.hpp"
#include "core/cli/sweep_results.hpp"
#include "core/cli/sweep_session.hpp"

namespace attnlab::cli {
namespace {

using base::Exit;
using base::UserError;
using io::Json;
using sweep::Record;
using sweep::Store;

int best(const po::variables_map& values) {
  const bool json = choice_option(values, "format", {"table", "json"}) == 1;
  const Store store = Store::open(positional(values)[0], Store::Access::read);
  const OpenedSweep sweep = reopen_sweep(store, values);
  const sweep::Goal& goal = sweep.config.goal;
  const std::vector<sweep::Result> results = results_of(sweep.config, store);
  std::vector<size_t> chosen = pareto_front(goal, results);
  if (chosen.empty()) {
    std::map<std::string, int64_t> reasons;
    for (const auto& result : results) ++reasons[result.judgement.why];
    std::string why;
    for (const auto& [reason, count] : reasons)
      why += fmt::format("{}{} x {}", why.empty() ? "" : ", ", count, reason);
    throw UserError("no trial is feasible", {.file = store.folder(), .found = why}, Exit::failed);
  }
  if (values.count("top") != 0) {
    const int64_t top = values["top"].as<int64_t>();
    if (top < 1) throw UserError("--top must be positive", {.found = std::to_string(top)});
    chosen = best_first(goal, results);
    std::erase_if(chosen,
                  [&](size_t i) { return results[i].judgement.kind != sweep::Judgement::Kind::feasible; });
    chosen.resize(std::min(chosen.size(), static_cast<size_t>(top)));
  }
  // Of one objective all equal ones are "the best"; one of them will do.
  size_t equal = 0;
  if (goal.objectives.size() == 1 && values.count("top") == 0) equal = chosen.size() - 1;
  chosen.resize(chosen.size() - equal);
  Json list = Json::array();
  for (const size_t i : chosen) {
    const Record& record = *store.find(results[i].id);
    Json objectives = Json::object();
    for (size_t k = 0; k < goal.objectives.size(); ++k)
      objectives[goal.objectives[k].name] = results[i].judgement.values[k];
    list.push_back({{"id", results[i].id},
                    {"objectives", objectives},
                    {"point", record.trial.point},
                    {"metrics", record.outcome.metrics},
                    {"command", run_command_of(store, record)}});
  }
  if (json) {
    std::cout << io::pretty_text(list);
    return 0;
  }
  for (const auto& one : list) {
    std::string figures;
    for (const auto& item : one["objectives"].items())
      figures += fmt::format("  {} {:.5g}", item.key(), item.value().get<double>());
    fmt::print("{}{}\n  {}\n  {}\n", one["id"].get<std::string>().substr(0, 12), figures,
               point_text(one["point"]), one["command"].get<std::string>());
  }
  if (equal > 0) fmt::print("{} others are as good: --top {} lists them\n", equal, equal + 1);
  return 0;
}

int report(const po::variables_map& values) {
  const Store store = Store::open(positional(values)[0], Store::Access::read);
  std::cout << write_sweep_report(reopen_sweep(store, values), store) << "\n";
  return 0;
}

}  // namespace

Command sweep_best_command() {
  return {.name = "sweep best",
          .arguments = "DIR",
          .summary = "Print the Pareto front, or the best trial of a single objective, and how to run each.",
          .details =
              "The configs of what is printed are written to DIR/configs. Of a sweep with rungs only the\n"
              "last counts.",
          .options =
              [](po::options_description& table) {
                table.add_options()("format",
                                    po::value<std::string>()->value_name("F")->default_value("table"),
                                    "stdout: table | json")("top", po::value<int64_t>()->value_name("N"),
                                                            "the N best feasible trials instead");
              },
          .run = best,
          .min_arguments = 1,
          .max_arguments = 1};
}

Command sweep_report_command() {
  return {
      .name = "sweep report",
      .arguments = "DIR",
      .summary = "Write report.html and report.md of what a sweep has on record, and print the path.",
      .details =
          "The Pareto front, or the best trials of a single objective, each with its config in DIR/configs\n"
          "and the command that runs it; parallel coordinates, the importance of axes, and what failed. A\n"
          "sweep that still runs may be reported on. Of a sweep with rungs the last one is compared.",
      .options = [](po::options_description&) {},
      .run = report,
      .min_arguments = 1,
      .max_arguments = 1};
}

}  // namespace attnlab::cli
