#include "core/cli/sweep_results.hpp"

#include <fmt/format.h>

#include <iostream>
#include <set>

#include "core/cli/isolate.hpp"
#include "core/io/atomic_file.hpp"

namespace attnlab::cli {
namespace {

using io::Json;
using sweep::Record;
using sweep::Store;

/// From the store's folder.
std::string config_path(const Record& record) {
  return "configs/" + record.trial.id.substr(0, 12) + ".json";
}

std::string run_command(const Store& store, const Record& record) {
  return shell_text({"attnlab", "run", store.folder() + "/" + config_path(record)});
}

/// Values as texts and numbers, for one axis.
class AxisValues {
 public:
  explicit AxisValues(const sweep::Axis& axis) : axis_(axis) {
    std::set<std::string> texts;
    for (const auto& choice : axis.choices) texts.insert(text(choice));
    exact_ = texts.size() < axis.choices.size();
  }

  report::SweepAxis axis() const {
    report::SweepAxis axis;
    axis.pointers = axis_.pointers;
    if (axis_.is_range()) {
      axis.kind = axis_.logarithmic ? report::SweepAxis::Kind::logarithmic : report::SweepAxis::Kind::linear;
      return axis;
    }
    for (size_t i = 0; i < axis_.choices.size(); ++i)
      axis.choices.push_back(text(axis_.choices[axis_.ascending.empty() ? i : axis_.ascending[i]]));
    return axis;
  }

  /// Nothing where the axis takes no part.
  std::optional<report::SweepValue> value(const sweep::Space& space, const sweep::Point& point) const {
    if (!space.is_active(axis_, point)) return std::nullopt;
    std::vector<Json> values;
    for (const std::string& pointer : axis_.pointers) {
      if (!point.contains(pointer)) return std::nullopt;
      values.push_back(point[pointer]);
    }
    report::SweepValue value{text(values), {}};
    const auto number = values.size() == 1 ? sweep::number_of(values[0]) : std::nullopt;
    value.number = number.value_or(std::numeric_limits<double>::quiet_NaN());
    return value;
  }

 private:
  std::string text(const std::vector<Json>& values) const {
    std::string text;
    for (const Json& value : values) text += (text.empty() ? "" : ", ") + text_of(value);
    return text;
  }
  std::string text_of(const Json& value) const {
    if (exact_) return sweep::key_of(value);
    if (value.is_string()) return value.get<std::string>();
    // A stage goes by its name.
    for (const char* key : {"name", "masker"}) {
      if (value.is_object() && value.contains(key) && value[key].is_string())
        return value[key].get<std::string>();
    }
    // Drawn values have twelve digits, more than a table needs.
    if (value.is_number_float() && axis_.is_range()) return fmt::format("{:.4g}", value.get<double>());
    return sweep::key_of(value);
  }

  const sweep::Axis& axis_;
  bool exact_ = false;  ///< 1 and "1" are both choices
};

}  // namespace

std::string point_text(const Json& point) {
  std::vector<std::string> words;
  for (const auto& item : point.items()) words.push_back(item.key() + "=" + sweep::key_of(item.value()));
  return words.empty() ? "the base config" : base::join(words, " ");
}

std::string run_command_of(const Store& store, const Record& record) {
  io::create_directories(store.folder() + "/configs");
  io::write_file_atomically(store.folder() + "/" + config_path(record), io::pretty_text(record.trial.config));
  return run_command(store, record);
}

report::SweepReport sweep_report_of(const OpenedSweep& sweep, const Store& store) {
  const sweep::SweepConfig& config = sweep.config;
  report::SweepReport report;
  report.title = config.title;
  if (const Json& shard = store.sweep().value("shard", Json()); shard.is_string())
    report.title += ", shard " + shard.get<std::string>();
  report.sampler = name_of(config.sampler.kind);
  report.command = shell_text({"attnlab", "sweep", "report", store.folder()});
  report.asked = store.sweep().value("trials", static_cast<int64_t>(store.records().size()));
  for (const auto& objective : config.goal.objectives)
    report.objectives.push_back({objective.name, objective.maximise});
  for (const auto* constraints : {&config.space.constraints, &config.goal.constraints}) {
    for (const auto& constraint : *constraints) report.constraints.push_back(constraint.text());
  }
  std::vector<AxisValues> axes;
  for (const auto& axis : config.space.axes) axes.emplace_back(axis);
  for (const AxisValues& axis : axes) report.axes.push_back(axis.axis());
  for (const auto& [id, record] : store.records()) {
    report::SweepTrial trial;
    trial.id = id;
    trial.rung = record.trial.rung;
    for (const AxisValues& axis : axes) trial.point.push_back(axis.value(config.space, record.trial.point));
    trial.judgement = judge(config.goal, config.space, record.trial.point, record.outcome);
    if (const auto density = record.outcome.metrics.find("density"); density != record.outcome.metrics.end())
      trial.density = density->second;
    trial.stderr_tail = record.outcome.stderr_tail;
    trial.config = config_path(record);
    trial.command = run_command(store, record);
    report.trials.push_back(std::move(trial));
  }
  return report;
}

std::string write_sweep_report(const OpenedSweep& sweep, const Store& store) {
  const report::SweepReport report = sweep_report_of(sweep, store);
  for (const size_t i : listed_trials(report)) run_command_of(store, *store.find(report.trials[i].id));
  const std::string path = store.folder() + "/report.html";
  io::write_file_atomically(store.folder() + "/report.md", sweep_markdown(report));
  io::write_file_atomically(path, sweep_html(report));
  return path;
}

void report_sweep(const OpenedSweep& sweep, const sweep::Store& store) {
  try {
    std::cerr << "report: " << write_sweep_report(sweep, store) << "\n";
  } catch (const base::UserError& error) {
    std::cerr << "warning: no report was written: " << error.what() << "\n";
  }
}

}  // namespace attnlab::cli
