// attnlab compare.
#include <fmt/core.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>

#include "core/base/parallel.hpp"
#include "core/cli/command.hpp"
#include "core/cli/interrupt.hpp"
#include "core/cli/progress.hpp"
#include "core/io/atomic_file.hpp"
#include "core/kernels/table.hpp"
#include "core/measure/machine.hpp"
#include "core/report/compare.hpp"

namespace attnlab::cli {
namespace {

namespace fs = std::filesystem;
using base::Exit;
using base::UserError;
using io::Json;
using train::TrialState;

const std::vector<std::string> kFormats = {"table", "markdown", "latex", "csv", "json"};

void options(po::options_description& table) {
  table.add_options()("set", po::value<std::vector<std::string>>()->value_name("/PTR=VALUE")->composing(),
                      "override a config value, such as /task/text=FILE or /seeds=5 (repeatable)")(
      "out", po::value<std::string>()->value_name("DIR"), "result folder; default attnlab-runs/<config>")(
      "fresh", "train all trials again")("report-only", "train and time nothing: report what is done")(
      "clocks", "take the times again")("format",
                                        po::value<std::string>()->value_name("F")->default_value("table"),
                                        "stdout: table | markdown | latex | csv | json")(
      "threads", po::value<int>()->value_name("N")->default_value(0, "all cores"),
      "threads; losses do not depend on it")("quiet", "no progress");
  add_plugin_options(table);
  add_simd_option(table);
}

std::string format_option(const po::variables_map& values) {
  const auto format = values["format"].as<std::string>();
  if (std::find(kFormats.begin(), kFormats.end(), format) == kFormats.end())
    throw UserError("--format: unknown value", {.found = format,
                                                .allowed = base::join(kFormats, " | "),
                                                .suggestion = base::did_you_mean(format, kFormats)});
  return format;
}

/// A word as a shell reads it.
std::string quoted(const std::string& word) {
  const auto plain = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || std::strchr("_-./=:,+@%", c);
  };
  if (!word.empty() && std::all_of(word.begin(), word.end(), plain)) return word;
  std::string out = "'";
  for (const char c : word) out += c == '\'' ? "'\\''" : std::string(1, c);
  return out + "'";
}

/// The command that goes on with this comparison, or made it.
std::string command_text() {
  std::string text = "attnlab";
  for (size_t i = 1; i < command_line().size(); ++i) {
    const std::string& word = command_line()[i];
    if (word != "--fresh" && word != "--report-only" && word != "--clocks") text += " " + quoted(word);
  }
  return text;
}

int terminal_width() {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 40) return size.ws_col;
  const char* columns = std::getenv("COLUMNS");
  const int width = columns != nullptr ? std::atoi(columns) : 0;
  return width >= 40 ? width : 100;
}

/// One comparison in its folder.
class Comparing {
 public:
  Comparing(const po::variables_map& values, const config::Document& document, const plugin::Catalog& catalog,
            config::ComparePlan plan)
      : document_(document), catalog_(catalog), plan_(std::move(plan)), quiet_(values.count("quiet") != 0) {
    out_ = values.count("out") != 0
               ? values["out"].as<std::string>()
               : (fs::path("attnlab-runs") / fs::path(positional(values)[0]).stem()).string();
    std::vector<std::string> warnings;
    sizes_ = train::match_sizes(plan_, catalog_, document_, warnings);
    for (const std::string& warning : warnings) std::cerr << "warning: " << warning << "\n";
    trials_ = train::trials_of(plan_, out_);
  }

  const std::string& out() const { return out_; }

  /// Learns what the folder holds. Throws UserError where that is of another comparison.
  void open(bool fresh) {
    if (fresh) {
      for (const train::Trial& trial : trials_) train::remove_trial(trial);
      fs::remove(file("task.json"));
    }
    for (const train::Trial& trial : trials_) {
      resolved_.push_back(config::to_json(plan_.trial(trial.subject, trial.seed), catalog_));
      states_.push_back(train::state_of(trial, resolved_.back()));
    }
    const Json task = {{"fingerprint", train::fingerprint_of(*study(plan_.baseline).source)}};
    const auto absent = std::count(states_.begin(), states_.end(), TrialState::absent);
    const bool begun = absent != static_cast<int64_t>(states_.size());
    if (begun && fs::exists(file("task.json")) && read(file("task.json")) != task) {
      base::Mistake mistake = document_.where("/task");
      mistake.found = "other tokens than those that the trials in " + out_ + " read";
      mistake.suggestion = "--out names another folder, --fresh trains all trials again";
      throw UserError("the task has changed", mistake);
    }
    task_ = task;
  }

  bool has_finished() const {
    return std::any_of(states_.begin(), states_.end(), [](TrialState state) {
      return state == TrialState::finished || state == TrialState::diverged;
    });
  }

  /// Trains what is left. False after Ctrl-C.
  bool train() {
    io::create_directories(out_);
    write("task.json", task_);
    write("resolved.json", config::to_json(plan_, catalog_));
    int64_t all = 0, done = 0;
    for (size_t i = 0; i < trials_.size(); ++i) all += is_open(i) ? steps_of(i) : 0;
    Progress progress("attnlab compare", quiet_);
    for (size_t i = 0; i < trials_.size(); ++i) {
      if (!is_open(i)) continue;
      if (!run(i, progress, done, all)) return false;
      done += steps_of(i);
    }
    return true;
  }

  /// Takes the times of all subjects, or those that were taken before. False after Ctrl-C.
  bool take_clocks(bool again, bool allowed) {
    const Json of = config::to_json(plan_, catalog_)["subjects"];
    if (!again && fs::exists(file("clocks.json"))) {
      const Json saved = read(file("clocks.json"));
      if (saved.is_object() && saved.contains("of") && saved["of"] == of && saved.contains("clocks")) {
        clocks_ = saved["clocks"];
        return true;
      }
    }
    if (!allowed) return true;
    Progress progress("attnlab compare, clocks", quiet_);
    const auto clocks = train::measure_clocks(
        plan_, catalog_, document_, [&](int64_t done, int64_t all) { progress.update(done, all); },
        interrupted);
    if (clocks.empty()) return false;
    measure::Comparison timed = record();
    for (size_t i = 0; i < clocks.size(); ++i) timed.subjects[i].clock = clocks[i];
    timed.machine = measure::describe_machine();
    timed.machine["threads"] = base::thread_count();
    timed.machine["simd"] = kernels::active_table().target;
    clocks_ = measure::clocks_json(timed);
    write("clocks.json", {{"of", of}, {"clocks", clocks_}});
    return true;
  }

  measure::Comparison record() const {
    measure::Comparison comparison;
    comparison.title = plan_.title;
    comparison.match = config::name_of(plan_.match);
    comparison.seeds = plan_.seeds;
    comparison.baseline = plan_.baseline;
    comparison.command = command_text();
    comparison.decode_batch = plan_.decode_batch;
    for (size_t i = 0; i < plan_.subjects.size(); ++i) {
      const config::SubjectPlan& subject = plan_.subjects[i];
      measure::ComparedSubject compared;
      compared.name = subject.name;
      compared.attention = measure::attention_text(subject.plan, catalog_);
      compared.steps = subject.plan.train.steps;
      compared.size = sizes_[i];
      const train::Study made = study(i);
      compared.state = train::measure_state(made);
      comparison.window = made.source->block();
      comparison.decode_tokens = plan_.decode_tokens > 0 ? plan_.decode_tokens : comparison.window;
      comparison.subjects.push_back(std::move(compared));
    }
    for (size_t i = 0; i < trials_.size(); ++i)
      comparison.subjects[trials_[i].subject].trials.push_back(train::read_trial(trials_[i], states_[i]));
    measure::take_clocks(clocks_, comparison);
    measure::analyse(comparison);
    return comparison;
  }

  void write_reports(const measure::Comparison& comparison) const {
    write("compare.json", measure::to_json(comparison));
    io::write_file_atomically(file("report.md"), report::compare_markdown(comparison));
    io::write_file_atomically(file("report.tex"), report::compare_latex(comparison));
    io::write_file_atomically(file("report.csv"), report::compare_csv(comparison));
    io::write_file_atomically(file("report.html"), report::compare_html(comparison));
  }

 private:
  std::string file(const char* name) const { return (fs::path(out_) / name).string(); }
  void write(const char* name, const Json& json) const {
    io::write_file_atomically(file(name), io::pretty_text(json));
  }
  static Json read(const std::string& path) {
    return io::parse_untrusted(io::read_text(path, size_t{1} << 26), path);
  }
  train::Study study(size_t subject) const {
    return train::study_of(plan_, subject, plan_.seeds.front(), catalog_, document_);
  }
  bool is_open(size_t i) const {
    return states_[i] == TrialState::absent || states_[i] == TrialState::unfinished;
  }
  int64_t steps_of(size_t i) const { return plan_.subjects[trials_[i].subject].plan.train.steps; }

  bool run(size_t i, Progress& progress, int64_t done, int64_t all) {
    const train::Trial& trial = trials_[i];
    const std::string name = fmt::format("{}, seed {}", plan_.subjects[trial.subject].name, trial.seed);
    train::RunEvents events;
    events.updated = [&](int64_t steps, int64_t, double loss, double speed) {
      progress.update(done + steps, all, fmt::format("{}: loss {:.3f}, {:.0f} tokens/s", name, loss, speed));
    };
    events.interrupted = interrupted;
    train::Study made = train::study_of(plan_, trial.subject, trial.seed, catalog_, document_);
    states_[i] = train::run_trial(trial, made, resolved_[i], events);
    if (states_[i] == TrialState::unfinished) return false;
    if (!quiet_) {
      const train::TrialResult result = train::read_trial(trial, states_[i]);
      std::cerr << (states_[i] == TrialState::diverged
                        ? fmt::format("{}: diverged at step {}\n", name, result.diverged_at)
                        : fmt::format("{}: held-out loss {:.4f}\n", name, result.loss));
    }
    // Between two trials nothing is lost: the next one may begin later.
    return !interrupted() || i + 1 == trials_.size();
  }

  const config::Document& document_;
  const plugin::Catalog& catalog_;
  config::ComparePlan plan_;
  bool quiet_;
  std::string out_;
  std::vector<train::SubjectSize> sizes_;
  std::vector<train::Trial> trials_;
  std::vector<Json> resolved_;
  std::vector<TrialState> states_;
  Json task_, clocks_;
};

void print(const measure::Comparison& comparison, const std::string& format) {
  if (format == "markdown") {
    std::cout << report::compare_markdown(comparison);
  } else if (format == "latex") {
    std::cout << report::compare_latex(comparison);
  } else if (format == "csv") {
    std::cout << report::compare_csv(comparison);
  } else if (format == "json") {
    std::cout << io::pretty_text(measure::to_json(comparison));
  } else {
    const bool color = ::isatty(STDOUT_FILENO) == 1 && std::getenv("NO_COLOR") == nullptr;
    std::cout << report::compare_terminal(comparison, color, terminal_width());
  }
}

int run(const po::variables_map& values) {
  simd_option(values);
  const base::ThreadLimit threads(thread_option(values));
  const std::string format = format_option(values);
  const bool only = values.count("report-only") != 0;
  if (only && values.count("fresh") != 0)
    throw UserError("--report-only and --fresh exclude one another", {.allowed = "one of them"});
  const config::Document document = load_document(values);
  const plugin::Catalog catalog = load_catalog(values, config::comparison_plugin_folders(document));
  Comparing comparing(values, document, catalog, config::resolve_comparison(document, catalog));
  comparing.open(values.count("fresh") != 0);
  if (only && !comparing.has_finished())
    throw UserError("--report-only: no trial is finished", {.file = comparing.out()});
  catch_interrupt("\ninterrupted: saving a checkpoint after this step\n");
  const bool whole = (only || comparing.train()) && comparing.take_clocks(values.count("clocks") != 0, !only);
  if (whole || comparing.has_finished()) {
    const measure::Comparison comparison = comparing.record();
    comparing.write_reports(comparison);
    if (whole) print(comparison, format);
    std::cerr << "results: " << comparing.out() << "\n";
    if (whole) return comparison.failed_trials() > 0 ? static_cast<int>(Exit::trials_failed) : 0;
  }
  std::cerr << command_text() << " goes on\n";
  return static_cast<int>(Exit::interrupted);
}

}  // namespace

Command compare_command() {
  return {.name = "compare",
          .arguments = "CONFIG",
          .summary = "Train several models on one recipe and say by how much they differ.",
          .details =
              "CONFIG names subjects that share a task, a recipe and seeds. Trains each with each seed, "
              "parameters or\n"
              "compute matched where the config says so, and compares held-out losses with those of the "
              "baseline, paired\n"
              "by seed. Writes compare.json, report.html, report.md, report.tex, report.csv and a folder for "
              "each trial.\n"
              "Finished trials are kept: the same command goes on after Ctrl-C. Exit code 5: a trial "
              "diverged.",
          .options = options,
          .run = run,
          .min_arguments = 1,
          .max_arguments = 1};
}

}  // namespace attnlab::cli
