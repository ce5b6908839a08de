#include "core/report/sweep_summary.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "core/base/error.hpp"
#include "core/report/format.hpp"

namespace attnlab::report {
namespace {

using Kind = sweep::Judgement::Kind;

constexpr size_t most_front_rows = 100, most_best_rows = 20;

/// The last `segments` parts of a pointer, "0/heavy_size".
std::string tail_of(const std::string& pointer, size_t segments) {
  size_t at = pointer.size();
  for (size_t i = 0; i < segments && at != 0; ++i) {
    at = pointer.rfind('/', at - 1);
    if (at == std::string::npos) return pointer;
  }
  return at + 1 >= pointer.size() || at == 0 ? pointer.substr(pointer.starts_with('/') ? 1 : 0)
                                             : pointer.substr(at + 1);
}

std::vector<std::string> labels_of(const std::vector<SweepAxis>& axes) {
  std::map<std::string, std::string> labels;
  for (const SweepAxis& axis : axes) {
    for (const std::string& pointer : axis.pointers) labels[pointer];
  }
  for (auto& entry : labels) {
    const std::string& pointer = entry.first;
    const auto clashes = [&](const std::string& tail, size_t segments) {
      return std::any_of(labels.begin(), labels.end(), [&](const auto& other) {
        return other.first != pointer && tail_of(other.first, segments) == tail;
      });
    };
    const size_t parts = static_cast<size_t>(std::count(pointer.begin(), pointer.end(), '/'));
    // "main/3" says more of a stage than "3".
    const std::string last = tail_of(pointer, 1);
    size_t segments = last.find_first_not_of("0123456789") == std::string::npos && parts > 1 ? 2 : 1;
    while (segments < parts && clashes(tail_of(pointer, segments), segments)) ++segments;
    entry.second = tail_of(pointer, segments);
  }
  std::vector<std::string> names;
  for (const SweepAxis& axis : axes) {
    std::vector<std::string> parts;
    for (const std::string& pointer : axis.pointers) parts.push_back(labels[pointer]);
    names.push_back(base::join(parts, " + "));
  }
  return names;
}

/// Directions alone: an order of results needs no expressions.
sweep::Goal goal_of(const SweepReport& report) {
  sweep::Goal goal;
  for (const SweepObjective& objective : report.objectives)
    goal.objectives.push_back({objective.name, {}, objective.maximise});
  return goal;
}

template <class Count>
void sort_by_count(std::vector<Count>& all, size_t Count::*count) {
  std::stable_sort(all.begin(), all.end(),
                   [count](const Count& a, const Count& b) { return a.*count > b.*count; });
}

std::string plural(size_t count, const char* one, const char* several) {
  return fmt::format("{} {}", count, count == 1 ? one : several);
}

std::string objective_words(const SweepReport& report) {
  std::string text;
  for (const SweepObjective& objective : report.objectives)
    text += fmt::format("{}{} ({})", text.empty() ? "" : ", ", objective.name,
                        objective.maximise ? "more is better" : "less is better");
  return text;
}

std::string outcome_sentence(const SweepReport& report, const SweepSummary& summary) {
  if (summary.feasible.empty()) {
    if (report.trials.empty()) return "No trial has ended yet.";
    return summary.infeasible.empty() ? "No trial has objectives: there is nothing to compare."
                                      : "No trial is feasible: there is no best one.";
  }
  if (report.objectives.size() > 1)
    return fmt::format("{} on the Pareto front of {}.",
                       plural(summary.front.size(), "trial is", "trials are"),
                       plural(report.objectives.size(), "objective", "objectives"));
  const SweepTrial& best = report.trials[summary.best.at(0)];
  std::string text = fmt::format("The best {} is {}, of trial {}", report.objectives[0].name,
                                 number(best.judgement.values.at(0), 4), short_id(best));
  if (const std::string words = point_words(report, summary, best); !words.empty()) text += ": " + words;
  if (summary.front.size() > 1)
    text += fmt::format("; {} as good", plural(summary.front.size() - 1, "other is", "others are"));
  return text + ".";
}

}  // namespace

std::vector<size_t> SweepSummary::valued() const {
  std::vector<size_t> all(feasible);
  all.insert(all.end(), infeasible.begin(), infeasible.end());
  std::sort(all.begin(), all.end());
  return all;
}

SweepSummary summary_of(const SweepReport& report) {
  SweepSummary summary;
  summary.labels = labels_of(report.axes);
  for (const SweepTrial& trial : report.trials) summary.rung = std::max(summary.rung, trial.rung);
  std::vector<sweep::Result> results;
  std::vector<size_t> places;
  for (size_t i = 0; i < report.trials.size(); ++i) {
    const SweepTrial& trial = report.trials[i];
    if (trial.judgement.kind == Kind::failed) {
      summary.failed.push_back(i);
    } else if (trial.rung != summary.rung) {
      ++summary.earlier;
    } else {
      (trial.judgement.kind == Kind::feasible ? summary.feasible : summary.infeasible).push_back(i);
      if (trial.judgement.kind != Kind::feasible) continue;
      results.push_back({trial.id, {}, trial.rung, trial.judgement});
      places.push_back(i);
    }
  }
  if (results.empty()) return summary;
  const sweep::Goal goal = goal_of(report);
  for (const size_t i : pareto_front(goal, results)) summary.front.push_back(places[i]);
  if (report.objectives.size() > 1) return summary;
  // The order of one objective is that of its values: the general one would take O(n^2).
  summary.best = summary.feasible;
  std::stable_sort(summary.best.begin(), summary.best.end(), [&](size_t a, size_t b) {
    const double x = report.trials[a].judgement.values[0], y = report.trials[b].judgement.values[0];
    return report.objectives[0].maximise ? x > y : x < y;
  });
  return summary;
}

std::vector<size_t> listed_feasible(const SweepReport& report, const SweepSummary& summary) {
  std::vector<size_t> listed = report.objectives.size() > 1 ? summary.front : summary.best;
  listed.resize(std::min(listed.size(), report.objectives.size() > 1 ? most_front_rows : most_best_rows));
  return listed;
}

std::vector<SweepFailure> failures_of(const SweepReport& report, const SweepSummary& summary) {
  std::map<std::string, SweepFailure> reasons;
  for (const size_t i : summary.failed) {
    SweepFailure& failure = reasons[report.trials[i].judgement.why];
    const bool says_more =
        report.trials[failure.example].stderr_tail.empty() && !report.trials[i].stderr_tail.empty();
    if (failure.count++ == 0 || says_more) failure.example = i;
  }
  std::vector<SweepFailure> failures;
  for (auto& [reason, failure] : reasons) failures.push_back({reason, failure.count, failure.example});
  sort_by_count(failures, &SweepFailure::count);
  return failures;
}

std::vector<std::pair<std::string, size_t>> broken_constraints(const SweepReport& report,
                                                               const SweepSummary& summary) {
  std::map<std::string, size_t> reasons;
  for (const size_t i : summary.infeasible) ++reasons[report.trials[i].judgement.why];
  std::vector<std::pair<std::string, size_t>> broken(reasons.begin(), reasons.end());
  sort_by_count(broken, &std::pair<std::string, size_t>::second);
  return broken;
}

std::string point_words(const SweepReport& report, const SweepSummary& summary, const SweepTrial& trial) {
  std::string text;
  for (size_t a = 0; a < report.axes.size(); ++a) {
    if (trial.point.at(a))
      text += fmt::format("{}{} {}", text.empty() ? "" : ", ", summary.labels[a], trial.point[a]->text);
  }
  return text;
}

std::vector<std::string> sweep_sentences(const SweepReport& report, const SweepSummary& summary) {
  const size_t recorded = report.trials.size(), done = recorded - summary.failed.size();
  std::string counts = plural(recorded, "trial", "trials");
  if (report.asked > static_cast<int64_t>(recorded)) counts += fmt::format(" of {}", report.asked);
  counts += fmt::format(" over {}{}: {} done", plural(report.axes.size(), "axis", "axes"),
                        report.sampler.empty() ? "" : ", chosen by " + report.sampler, done);
  if (!summary.infeasible.empty())
    counts += fmt::format(", of them {} infeasible", summary.infeasible.size());
  counts += fmt::format(", {} failed.", summary.failed.size());
  if (summary.earlier > 0)
    counts += fmt::format(" {} of an earlier rung, on smaller work: only the last rung is compared.",
                          plural(summary.earlier, "is", "are"));
  std::vector<std::string> sentences = {counts, "Objectives: " + objective_words(report) + "."};
  if (!report.constraints.empty())
    sentences.back() += " Subject to " + base::join(report.constraints, ", ") + ".";
  sentences.push_back(outcome_sentence(report, summary));
  return sentences;
}

std::vector<size_t> thinned(const std::vector<size_t>& trials, const std::vector<size_t>& keep, size_t most) {
  if (trials.size() <= most) return trials;
  std::vector<size_t> rest,
      chosen(keep.begin(), keep.begin() + static_cast<std::ptrdiff_t>(std::min(keep.size(), most)));
  std::sort(chosen.begin(), chosen.end());
  std::set_difference(trials.begin(), trials.end(), chosen.begin(), chosen.end(), std::back_inserter(rest));
  const size_t room = most - chosen.size();
  for (size_t i = 0; i < room && !rest.empty(); ++i) chosen.push_back(rest[i * rest.size() / room]);
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

std::string short_id(const SweepTrial& trial) {
  return trial.id.substr(0, 12);
}

std::vector<size_t> listed_trials(const SweepReport& report) {
  const SweepSummary summary = summary_of(report);
  std::vector<size_t> listed = listed_feasible(report, summary);
  for (const SweepFailure& failure : failures_of(report, summary)) listed.push_back(failure.example);
  return listed;
}

}  // namespace attnlab::report
