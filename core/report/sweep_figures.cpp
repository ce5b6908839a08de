#include "core/report/sweep_figures.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/report/format.hpp"
#include "core/report/sweep_marks.hpp"
#include "core/report/text.hpp"

namespace attnlab::report {
namespace {

constexpr size_t most_drawn = 1200, most_failed = 200;

}  // namespace

// From orange, the worst, to blue, the best, through grey.
const char* const sweep_style =
    ".dot{fill:var(--accent);stroke:var(--page);stroke-width:1}"
    ".dot.hollow{fill:none;stroke:var(--muted);stroke-width:1.25}"
    ".dot.best{fill:var(--error)}"
    ".trial.chosen.dot{stroke:var(--text);stroke-width:3}"
    ".median{fill:var(--text);stroke:var(--page);stroke-width:1}"
    ".median-line{fill:none;stroke:var(--text);stroke-width:1.5;opacity:.75}"
    ".line{fill:none;stroke:var(--ramp);stroke-width:1.25;stroke-linejoin:round;opacity:.55}"
    ".many .line{stroke-width:1;opacity:.3}.line.best{stroke-width:2.25;opacity:1}.many "
    ".line.best{stroke-width:1.75;opacity:.85}"
    ".line.hollow{--ramp:var(--muted);stroke-dasharray:4 3;opacity:.5}"
    ".line.lost{--ramp:var(--warn);stroke-dasharray:1 3;opacity:.7}"
    ".faded{opacity:.05!important}.trial.line.chosen{stroke:var(--text);stroke-width:3;opacity:1!important}"
    "svg.parallel{max-width:none}.parallel text,.bars text{font-size:12px;fill:var(--text)}"
    ".parallel .tick,.parallel .small-name,.bars .tick{fill:var(--muted)}"
    ".parallel text{paint-order:stroke;stroke:var(--page);stroke-width:3px}"
    ".parallel .tick,.parallel .small-name{font-size:11px}.parallel .name{font-weight:600}"
    ".brush{fill:var(--accent);opacity:.22}.grip{fill:transparent;cursor:crosshair}"
    ".ramp{--ramp:color-mix(in oklab,var(--error) var(--share),var(--density))}"
    ".share{fill:var(--density)}.share.weak{fill:var(--muted);opacity:.55}.level{stroke:var(--text);stroke-"
    "width:2}"
    ".q0{--share:0%}.q1{--share:14%}.q2{--share:29%}.q3{--share:43%}.q4{--share:57%}.q5{--share:71%}"
    ".q6{--share:86%}.q7{--share:100%}";

DrawnSweep drawn_sweep(const SweepReport& report, const SweepSummary& summary) {
  DrawnSweep drawn{report, summary, {}, {}, {}, {}};
  drawn.trials = thinned(summary.valued(), listed_feasible(report, summary), most_drawn);
  std::vector<size_t> lost;
  std::copy_if(summary.failed.begin(), summary.failed.end(), std::back_inserter(lost),
               [&](size_t i) { return report.trials[i].rung == summary.rung; });
  drawn.failed = thinned(lost, {}, most_failed);
  drawn.on_front.assign(report.trials.size(), false);
  for (const size_t i : summary.front) drawn.on_front[i] = true;
  // By rank, so that a few extreme values leave colours to the others; equal values have equal colours.
  drawn.level.assign(report.trials.size(), sweep_levels - 1);
  std::vector<size_t> order = summary.feasible;
  const auto value = [&](size_t i) { return report.trials[i].judgement.values[0]; };
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return report.objectives[0].maximise ? value(a) > value(b) : value(a) < value(b);
  });
  for (size_t place = 0; place < order.size(); ++place) {
    const bool tied = place > 0 && value(order[place]) == value(order[place - 1]);
    drawn.level[order[place]] =
        tied ? drawn.level[order[place - 1]]
             : static_cast<int>(place * static_cast<size_t>(sweep_levels) / order.size());
  }
  return drawn;
}

std::string trial_tip(const DrawnSweep& drawn, size_t index) {
  const SweepTrial& trial = drawn.report.trials[index];
  std::string text = clean(short_id(trial));
  switch (trial.judgement.kind) {
    case sweep::Judgement::Kind::feasible:
      if (drawn.on_front[index])
        text += drawn.report.objectives.size() > 1 ? ", on the Pareto front" : ", the best";
      break;
    case sweep::Judgement::Kind::infeasible:
      text += ", infeasible: " + clean(trial.judgement.why);
      break;
    case sweep::Judgement::Kind::failed:
      text += ", failed: " + clean(trial.judgement.why);
      break;
  }
  bool has_density = false;
  for (size_t k = 0; k < trial.judgement.values.size(); ++k) {
    const std::string& name = drawn.report.objectives.at(k).name;
    text += "\n" + clean(name) + ": " + number(trial.judgement.values[k], 4);
    has_density = has_density || name == "density";
  }
  if (std::isfinite(trial.density) && !has_density) text += "\ndensity: " + percent(trial.density);
  for (size_t a = 0; a < drawn.report.axes.size(); ++a) {
    if (trial.point.at(a)) text += "\n" + clean(drawn.summary.labels[a]) + ": " + clean(trial.point[a]->text);
  }
  return html_text(text);
}

}  // namespace attnlab::report
