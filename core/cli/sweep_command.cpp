// attnlab sweep plan | run | resume | status | merge | export.
#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <map>

#include "core/cli/command.hpp"
#include "core/cli/isolate.hpp"
#include "core/cli/sweep_results.hpp"
#include "core/cli/sweep_session.hpp"
#include "core/cli/sweep_slurm.hpp"
#include "core/plugin/probe.hpp"
#include "core/sweep/plan.hpp"

namespace attnlab::cli {
namespace {

namespace fs = std::filesystem;
using base::UserError;
using io::Json;
using sweep::Store;
using sweep::Trial;

void format_option(po::options_description& options, const char* preset, const char* choices) {
  options.add_options()("format", po::value<std::string>()->value_name("F")->default_value(preset), choices);
}

bool as_json(const po::variables_map& values) {
  return choice_option(values, "format", {"table", "json"}) == 1;
}

std::string duration_text(double seconds) {
  if (seconds < 100) return fmt::format("{:.2g} s", seconds);
  if (seconds < 6000) return fmt::format("{:.0f} min", seconds / 60);
  return fmt::format("{:.1f} h", seconds / 3600);
}

/// Runs one trial, as the sweep would.
sweep::Outcome time_trial(const OpenedSweep& sweep, const Trial& trial) {
  sweep::Zygote zygote(zygote_options(sweep));
  zygote.send(trial);
  return zygote.receive().value_or(sweep::death_of_watcher(trial.id));
}

int plan(const po::variables_map& values) {
  const bool json = as_json(values);
  const OpenedSweep sweep = open_sweep(values);
  sweep::Search search(sweep.config, sweep.catalog);
  const sweep::Preview preview = sweep::preview(search);
  const int workers = worker_count(sweep.config);
  std::string estimate = "no estimate: --time runs the cheapest trial";
  double seconds = -1;
  if (values.count("time") != 0 && !preview.trials.empty()) {
    const Trial& cheapest = preview.trials[preview.cheapest];
    const sweep::Outcome timed = time_trial(sweep, cheapest);
    const double work =
        preview.work * static_cast<double>(preview.most_trials) / static_cast<double>(preview.trials.size());
    seconds = sweep::estimate_seconds(work, search.work(cheapest.id), timed.seconds, workers);
    estimate = timed.done() ? fmt::format("about {} with {} workers; the cheapest trial took {:.3g} s",
                                          duration_text(seconds), workers, timed.seconds)
                            : "the cheapest trial failed: " + timed.reason;
    if (!timed.done()) seconds = -1;
  }
  if (json) {
    Json trials = Json::array();
    for (const Trial& trial : preview.trials)
      trials.push_back({{"id", trial.id}, {"rung", trial.rung}, {"point", trial.point}});
    Json document = {{"title", sweep.config.title},
                     {"hash", sweep.hash},
                     {"sampler", name_of(sweep.config.sampler.kind)},
                     {"most_trials", preview.most_trials},
                     {"workers", workers},
                     {"seconds", seconds < 0 ? Json() : Json(seconds)},
                     {"trials", trials}};
    std::cout << io::pretty_text(document);
    return 0;
  }
  const bool all = preview.most_trials <= static_cast<int64_t>(preview.trials.size());
  fmt::print("{}: {} trials{}, sampler {}\n{}\n\n", sweep.config.title, preview.most_trials,
             all ? "" : fmt::format(" at most, {} before the first decision", preview.trials.size()),
             name_of(sweep.config.sampler.kind), estimate);
  for (const Trial& trial : preview.trials)
    fmt::print("{}  {}\n", trial.id.substr(0, 12), point_text(trial.point));
  return 0;
}

/// `attnlab sweep run CONFIG ...` again, with absolute paths, for scripts.
std::vector<std::string> shard_command(const po::variables_map& values, const OpenedSweep& sweep) {
  std::vector<std::string> words = {plugin::probe_program(), "sweep", "run",
                                    sweep.stored["config"].get<std::string>()};
  for (const auto& [option, key] : std::map<std::string, std::string>{
           {"--set", "set"}, {"--plugin", "plugin"}, {"--plugin-path", "plugin_path"}}) {
    for (const auto& value : sweep.stored[key]) words.insert(words.end(), {option, value.get<std::string>()});
  }
  if (values.count("limit-seconds") != 0)
    words.insert(words.end(), {"--limit-seconds", fmt::format("{}", values["limit-seconds"].as<double>())});
  if (values.count("limit-memory") != 0)
    words.insert(words.end(), {"--limit-memory", values["limit-memory"].as<std::string>()});
  return words;
}

int run(const po::variables_map& values) {
  if (values.count("out") != 0 && values["out"].as<std::string>().empty())
    throw UserError("--out needs a folder");
  OpenedSweep sweep = open_sweep(values);
  if (values.count("emit-slurm") != 0) {
    const int64_t shards = values["shards"].as<int64_t>();
    if (shards < 1 || shards > 100000)
      throw UserError("--shards is out of range",
                      {.found = std::to_string(shards), .allowed = "1 to 100000"});
    const std::string folder = values["emit-slurm"].as<std::string>();
    check_shards(sweep.config);
    // A mistake is told here and not by every element of the array.
    const sweep::Search search(sweep.config, sweep.catalog);
    emit_slurm(folder, shards, shard_command(values, sweep));
    std::cout << fmt::format("bash {}\n", shell_text({folder + "/submit.sh"}));
    return 0;
  }
  const std::string stem = fs::path(positional(values)[0]).stem().string();
  const std::string folder = values.count("out") != 0
                                 ? values["out"].as<std::string>()
                                 : "attnlab-runs/" + stem + "-" + sweep.hash.substr(0, 8);
  auto workers = start_workers(sweep);
  // Before the folder is made, so that a mistake leaves none.
  sweep::Search search(sweep.config, sweep.catalog);
  sweep.stored["trials"] = search.most_trials();
  Store store = Store::create(folder, sweep.stored, sweep.hash);
  return run_sweep(sweep, std::move(workers), search, store,
                   {.redo_failed = false, .quiet = values.count("quiet") != 0});
}

int resume(const po::variables_map& values) {
  const std::string folder = positional(values)[0];
  const OpenedSweep sweep = reopen_sweep(Store::open(folder, Store::Access::head), values);
  auto workers = start_workers(sweep);
  Store store = Store::open(folder, Store::Access::write);
  sweep::Search search(sweep.config, sweep.catalog);
  return run_sweep(sweep, std::move(workers), search, store,
                   {.redo_failed = values.count("failed") != 0, .quiet = values.count("quiet") != 0});
}

int status(const po::variables_map& values) {
  const bool json = as_json(values);
  const Store store = Store::open(positional(values)[0], Store::Access::read);
  const int64_t recorded = static_cast<int64_t>(store.records().size()), failed = store.failed();
  const Json& shard = store.sweep().value("shard", Json());
  const int64_t most = store.sweep().value("trials", recorded);
  Json failures = Json::array();
  for (const auto& [id, record] : store.records()) {
    if (record.outcome.done()) continue;
    failures.push_back({{"id", id},
                        {"reason", record.outcome.reason},
                        {"signal", record.outcome.signal},
                        {"point", record.trial.point},
                        {"stderr", record.outcome.stderr_tail}});
  }
  if (json) {
    const Json document = {{"title", store.sweep().value("title", "")},
                           {"hash", store.hash()},
                           {"shard", shard},
                           {"most_trials", most},
                           {"done", recorded - failed},
                           {"failed", failed},
                           {"cut_lines", store.cut_lines()},
                           {"failures", failures}};
    std::cout << io::pretty_text(document);
    return 0;
  }
  fmt::print("{}: {} done, {} failed, of {}{} trials\n", store.sweep().value("title", ""), recorded - failed,
             failed, shard.is_string() ? "a shard (" + shard.get<std::string>() + ") of " : "", most);
  if (store.cut_lines() > 0)
    fmt::print("{} lines of trials.jsonl were cut off by a killed writer; their trials are still to do\n",
               store.cut_lines());
  for (const auto& failure : failures) {
    fmt::print("\n{}  {}\n  {}\n", failure["id"].get<std::string>().substr(0, 12),
               failure["reason"].get<std::string>(), point_text(failure["point"]));
    std::string text = failure["stderr"].get<std::string>();
    while (!text.empty() && text.back() == '\n') text.pop_back();
    for (size_t at = 0; (at = text.find('\n', at)) != std::string::npos; at += 3) text.replace(at, 1, "\n  ");
    if (!text.empty()) fmt::print("  {}\n", text);
  }
  return 0;
}

int merge(const po::variables_map& values) {
  const std::vector<std::string> parts = positional(values);
  if (values.count("out") == 0) throw UserError("sweep merge needs --out DIR");
  const std::string folder = values["out"].as<std::string>();
  Json asked = Store::open(parts[0], Store::Access::head).sweep();
  asked["shard"] = nullptr;
  const Store merged = Store::merge(folder, parts, asked);
  const int64_t all = static_cast<int64_t>(merged.records().size());
  std::cerr << fmt::format("{} trials done, {} failed\nresults: {}\n", all - merged.failed(), merged.failed(),
                           folder);
  if (const int64_t most = asked.value("trials", all); all < most) {
    std::cerr << fmt::format(
        "warning: {} of {} trials are on record: shards that were cut short go on with attnlab sweep "
        "resume\n",
        all, most);
  }
  try {
    report_sweep(reopen_sweep(merged, values), merged);
  } catch (const UserError& error) {
    std::cerr << "warning: no report was written: " << error.what() << "\n";
  }
  return 0;
}

int export_trials(const po::variables_map& values) {
  const size_t format = choice_option(values, "format", {"csv", "jsonl"});
  const Store store = Store::open(positional(values)[0], Store::Access::read);
  std::cout << (format == 0 ? sweep::csv(store) : sweep::sorted_lines(store));
  return 0;
}

}  // namespace

Command sweep_plan_command() {
  return {.name = "sweep plan",
          .arguments = "CONFIG",
          .summary = "Check every point of a sweep and list its trials; runs none.",
          .details =
              "Of samplers that learn from results the first batch is listed, and points all over the\n"
              "space are checked.",
          .options =
              [](po::options_description& table) {
                add_sweep_options(table);
                add_execution_options(table);
                format_option(table, "table", "stdout: table | json");
                table.add_options()("time", "run the cheapest trial, and estimate the time of all by it");
              },
          .run = plan,
          .min_arguments = 1,
          .max_arguments = 1};
}

Command sweep_run_command() {
  return {
      .name = "sweep run",
      .arguments = "CONFIG",
      .summary = "Run a sweep: thousands of configs of attnlab run, each in a process of its own.",
      .details =
          "The folder gets sweep.json and trials.jsonl, a line for each trial that ended. A trial that\n"
          "crashes, hangs or takes too much memory has failed, and costs no other. Ctrl-C once finishes\n"
          "the trials that run, twice ends at once; attnlab sweep resume goes on in either case. The exit\n"
          "code is 5 when trials failed.",
      .options =
          [](po::options_description& table) {
            add_sweep_options(table);
            add_execution_options(table);
            table.add_options()("out", po::value<std::string>()->value_name("DIR"),
                                "result folder; default attnlab-runs/<config>-<hash>")(
                "shard", po::value<std::string>()->value_name("I/N"),
                "run one of N parts only; attnlab sweep merge puts them together")(
                "emit-slurm", po::value<std::string>()->value_name("DIR"),
                "run nothing: write scripts of a Slurm job array of --shards elements, and of the merge")(
                "shards", po::value<int64_t>()->value_name("N")->default_value(16, "16"),
                "elements of the job array");
          },
      .run = run,
      .min_arguments = 1,
      .max_arguments = 1};
}

Command sweep_resume_command() {
  return {.name = "sweep resume",
          .arguments = "DIR",
          .summary = "Run what a sweep's folder lacks: recorded trials are not run again.",
          .details = {},
          .options =
              [](po::options_description& table) {
                table.add_options()("failed", "run the failed trials once more, too");
                add_execution_options(table);
              },
          .run = resume,
          .min_arguments = 1,
          .max_arguments = 1};
}

Command sweep_status_command() {
  return {.name = "sweep status",
          .arguments = "DIR",
          .summary = "Say how far a sweep is, and which trials failed for what reason.",
          .details = {},
          .options =
              [](po::options_description& table) { format_option(table, "table", "stdout: table | json"); },
          .run = status,
          .min_arguments = 1,
          .max_arguments = 1};
}

Command sweep_merge_command() {
  return {.name = "sweep merge",
          .arguments = "DIR...",
          .summary = "Put the shards of a sweep together.",
          .details =
              "Trials that several shards hold must be equal, clocks apart. A failed one gives way to one\n"
              "that is done.",
          .options =
              [](po::options_description& table) {
                table.add_options()("out", po::value<std::string>()->value_name("DIR"), "the merged folder");
              },
          .run = merge,
          .min_arguments = 1,
          .max_arguments = 100000};
}

Command sweep_export_command() {
  return {
      .name = "sweep export",
      .arguments = "DIR",
      .summary = "Print all recorded trials as a table, by id.",
      .details = "jsonl has no clocks: it is equal, byte for byte, for equal sweeps.",
      .options = [](po::options_description& table) { format_option(table, "csv", "stdout: csv | jsonl"); },
      .run = export_trials,
      .min_arguments = 1,
      .max_arguments = 1};
}

}  // namespace attnlab::cli
