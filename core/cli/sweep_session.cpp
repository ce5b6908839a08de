#include "core/cli/sweep_session.hpp"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <set>

#include "core/base/hash.hpp"
#include "core/cli/interrupt.hpp"
#include "core/cli/isolate.hpp"
#include "core/cli/job.hpp"
#include "core/cli/progress.hpp"
#include "core/cli/sweep_results.hpp"
#include "core/kernels/table.hpp"
#include "core/plugin/crash.hpp"
#include "core/sweep/executor.hpp"
#include "core/sweep/plan.hpp"
#include "core/sweep/rank_workers.hpp"
#include "core/sweep/trial_run.hpp"

namespace attnlab::cli {
namespace {

namespace fs = std::filesystem;
using base::Exit;
using base::UserError;
using io::Json;
using sweep::Outcome;
using sweep::Record;
using sweep::Store;
using sweep::Trial;

std::vector<std::string> list_option(const po::variables_map& values, const char* name) {
  return values.count(name) == 0 ? std::vector<std::string>{} : values[name].as<std::vector<std::string>>();
}

std::vector<std::string> absolute(std::vector<std::string> paths) {
  for (auto& path : paths) path = fs::absolute(path).lexically_normal().string();
  return paths;
}

/// Options of execution, as the sweep's config says the same.
void override_execution(const po::variables_map& values, config::Document& document) {
  const std::string here = fs::current_path().string();
  if (values.count("workers") != 0)
    document.set("/executor/workers", values["workers"].as<int64_t>(), {"--workers", here});
  if (values.count("limit-seconds") != 0)
    document.set("/limits/seconds", values["limit-seconds"].as<double>(), {"--limit-seconds", here});
  if (values.count("limit-memory") != 0)
    document.set("/limits/memory", values["limit-memory"].as<std::string>(), {"--limit-memory", here});
}

Shard parse_shard(const std::string& text) {
  long long index = 0, count = 0;
  int used = 0;
  if (std::sscanf(text.c_str(), "%lld/%lld%n", &index, &count, &used) != 2 ||
      static_cast<size_t>(used) != text.size() || count < 1 || count > 1000000 || index < 1 ||
      index > count) {
    throw UserError("--shard needs a part of all", {.found = text, .allowed = "such as 1/8 to 8/8"});
  }
  return {index - 1, count};
}

/// What makes two sweeps the same: not their titles, nor how and where they run.
std::string hash_of(const sweep::SweepConfig& config) {
  Json asked = config.document.root(), base = config.base.root();
  for (const char* other : {"title", "base", "limits", "executor"}) io::erase_member(asked, other);
  io::erase_member(base, "title");
  return base::hash_hex(Json{{"sweep", asked}, {"base", base}, {"version", ATTNLAB_VERSION}}.dump());
}

OpenedSweep opened(const config::Document& document, const plugin::SearchPath& search) {
  plugin::report_crashes();
  OpenedSweep sweep;
  sweep.search = search;
  sweep.catalog = plugin::Catalog::scan(search, plugin::probe_program());
  sweep.config = sweep::resolve_sweep(document, sweep.catalog);
  sweep.hash = hash_of(sweep.config);
  return sweep;
}

void collect_methods(const Json& json, const plugin::Catalog& catalog, std::set<std::string>& methods) {
  if (json.is_string() && catalog.find(json.get<std::string>()) != nullptr)
    methods.insert(json.get<std::string>());
  if (!json.is_structured()) return;
  for (const Json& item : json) collect_methods(item, catalog, methods);
}

/// Methods that the trials may use: whatever the configs name, wherever they do.
std::vector<std::string> named_methods(const OpenedSweep& sweep) {
  std::set<std::string> methods;
  collect_methods(sweep.config.base.root(), sweep.catalog, methods);
  collect_methods(sweep.config.document.root(), sweep.catalog, methods);
  return {methods.begin(), methods.end()};
}

/// What a trial may take: the config's limits, or a core's share of the machine's memory.
sweep::Limits effective_limits(const sweep::SweepConfig& config) {
  sweep::Limits limits = config.limits;
  if (limits.memory_bytes != 0) return limits;
  const auto machine =
      static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  constexpr uint64_t unit = uint64_t{1} << 30;
  limits.memory_bytes = std::max(unit, machine / static_cast<uint64_t>(sweep::usable_cores()) / unit * unit);
  return limits;
}

std::vector<Trial> part_of(std::vector<Trial> trials, const Shard& shard) {
  std::sort(trials.begin(), trials.end(), [](const Trial& a, const Trial& b) { return a.id < b.id; });
  std::vector<Trial> part;
  for (size_t i = static_cast<size_t>(shard.index); i < trials.size(); i += static_cast<size_t>(shard.count))
    part.push_back(trials[i]);
  return part;
}

/// The loop of a sweep: batches of the search, what of them is not on record, the pool, the store.
class Loop {
 public:
  Loop(const OpenedSweep& sweep, std::unique_ptr<sweep::Workers> workers, sweep::Search& search, Store& store,
       const SweepRun& how)
      : sweep_(sweep),
        store_(store),
        search_(search),
        progress_("attnlab sweep", how.quiet),
        executor_(std::move(workers)) {
    if (how.redo_failed) {
      for (const auto& [id, record] : store.records()) {
        if (!record.outcome.done()) again_.insert(id);
      }
    }
  }

  /// True: to the end.
  bool run() {
    total_ = search_.most_trials();
    for (std::vector<Trial> batch = search_.next(); !batch.empty(); batch = search_.next()) {
      if (sweep_.shard) batch = part_of(std::move(batch), *sweep_.shard);
      if (sweep_.shard) total_ = static_cast<int64_t>(batch.size());
      if (!run_batch(batch)) return false;
      if (sweep_.shard) return true;
      for (const Trial& trial : batch) search_.tell(store_.find(trial.id)->outcome);
    }
    return true;
  }

  int64_t total() const { return total_; }

 private:
  bool run_batch(const std::vector<Trial>& batch) {
    std::vector<Trial> open;
    for (const Trial& trial : batch) {
      const Record* record = store_.find(trial.id);
      if (record == nullptr || again_.contains(trial.id)) {
        open.push_back(trial);
      } else {
        note(trial, record->outcome);
      }
    }
    if (open.empty()) return true;
    return executor_.run(open, {.on_finished =
                                    [&](const std::vector<sweep::Finished>& finished) {
                                      std::vector<Record> records;
                                      for (const auto& one : finished) {
                                        records.push_back({*one.trial, one.outcome});
                                        again_.erase(one.trial->id);
                                      }
                                      store_.append(records);
                                      for (const auto& record : records) note(record.trial, record.outcome);
                                    },
                                .stop = interrupted,
                                .on_tick = [&](int running) { show(running); }});
  }

  void note(const Trial& trial, const Outcome& outcome) {
    done_ += outcome.done() ? 1 : 0;
    failed_ += outcome.done() ? 0 : 1;
    const auto judgement = judge(sweep_.config.goal, sweep_.config.space, trial.point, outcome);
    if (judgement.kind != sweep::Judgement::Kind::feasible) return;
    const double value = judgement.values.at(0);
    const bool better = sweep_.config.goal.objectives[0].maximise ? value > best_.value_or(-INFINITY)
                                                                  : value < best_.value_or(INFINITY);
    if (better) best_ = value;
  }

  void show(int running) {
    std::string text = fmt::format("{} done, {} running, {} failed", done_, running, failed_);
    if (best_) text += fmt::format(", best {} {:.4g}", sweep_.config.goal.objectives[0].name, *best_);
    progress_.update(done_ + failed_, total_, text);
  }

  const OpenedSweep& sweep_;
  Store& store_;
  sweep::Search& search_;
  Progress progress_;
  sweep::Executor executor_;
  std::set<std::string> again_;
  int64_t done_ = 0, failed_ = 0, total_ = 0;
  std::optional<double> best_;
};

/// "3 x signal SIGABRT in select (first: 12ab...)".
void print_failures(const Store& store) {
  std::map<std::string, std::pair<int64_t, std::string>> reasons;
  for (const auto& [id, record] : store.records()) {
    if (record.outcome.done()) continue;
    auto& [count, first] = reasons[record.outcome.reason];
    if (count++ == 0) first = id;
  }
  for (const auto& [reason, entry] : reasons)
    std::cerr << fmt::format("  {} x {} (such as {})\n", entry.first, reason, entry.second);
}

std::string resume_command(const Store& store) {
  return shell_text({"attnlab", "sweep", "resume", store.folder()});
}

}  // namespace

void check_shards(const sweep::SweepConfig& config) {
  const auto kind = config.sampler.kind;
  if (kind != sweep::SamplerPlan::Kind::tpe && kind != sweep::SamplerPlan::Kind::successive_halving) return;
  throw UserError("this sampler chooses by the results of all trials, which a shard lacks",
                  {.found = name_of(kind), .allowed = "grid | random | sobol | halton"});
}

void add_sweep_options(po::options_description& options) {
  options.add_options()("set", po::value<std::vector<std::string>>()->value_name("/PTR=VALUE")->composing(),
                        "override a value of the sweep's config, such as /sampler/trials=100 (repeatable)");
  add_plugin_options(options);
}

void add_execution_options(po::options_description& options) {
  options.add_options()("workers", po::value<int64_t>()->value_name("N"),
                        "trials at once; 0: as many as cores and memory allow")(
      "limit-seconds", po::value<double>()->value_name("S"), "a trial that runs longer has failed")(
      "limit-memory", po::value<std::string>()->value_name("SIZE"),
      "a trial that needs more has failed, such as \"2 GiB\"; default: a core's share of the machine")(
      "quiet", "no progress");
}

OpenedSweep open_sweep(const po::variables_map& values) {
  const std::string path = positional(values).at(0);
  config::Document document = config::Document::load(path);
  for (const auto& assignment : list_option(values, "set")) document.set(assignment);
  override_execution(values, document);
  for (const auto& folder : list_option(values, "plugin-path")) {
    if (!fs::is_directory(folder))
      throw UserError("--plugin-path: there is no such folder", {.file = folder});
  }
  OpenedSweep sweep = opened(document, plugin_search(values, sweep::sweep_plugin_folders(document)));
  if (values.count("shard") != 0) {
    sweep.shard = parse_shard(values["shard"].as<std::string>());
    check_shards(sweep.config);
  }
  sweep.stored = {{"title", sweep.config.title},
                  {"config", fs::absolute(path).lexically_normal().string()},
                  {"folder", fs::current_path().string()},
                  {"set", list_option(values, "set")},
                  {"plugin", absolute(list_option(values, "plugin"))},
                  {"plugin_path", absolute(list_option(values, "plugin-path"))},
                  {"limits", document.root().value("limits", Json::object())},
                  {"shard", sweep.shard ? Json(values["shard"].as<std::string>()) : Json()},
                  {"document", document.root()},
                  {"base", sweep.config.base.root()}};
  return sweep;
}

OpenedSweep reopen_sweep(const Store& store, const po::variables_map& values) {
  const Json& stored = store.sweep();
  std::string path, folder;
  std::vector<std::string> set, files, folders;
  Json limits;
  try {
    path = stored.at("config").get<std::string>();
    folder = stored.at("folder").get<std::string>();
    set = stored.at("set").get<std::vector<std::string>>();
    files = stored.at("plugin").get<std::vector<std::string>>();
    folders = stored.at("plugin_path").get<std::vector<std::string>>();
    limits = stored.at("limits");
  } catch (const Json::exception&) {
    throw UserError("this is no sweep of attnlab sweep run", {.file = store.folder() + "/sweep.json"});
  }
  config::Document document = config::Document::load(path);
  // Paths in values of --set are relative to where they were typed.
  const fs::path here = fs::current_path();
  std::error_code gone;
  fs::current_path(folder, gone);
  for (const auto& assignment : set) document.set(assignment);
  fs::current_path(here);
  if (!limits.empty()) document.set("/limits", limits, {store.folder() + "/sweep.json", folder});
  override_execution(values, document);
  OpenedSweep sweep = opened(
      document,
      plugin::search_path(files, folders, sweep::sweep_plugin_folders(document), plugin::probe_program()));
  if (sweep.hash != store.hash()) {
    throw UserError("the sweep's config is no longer what it was when this folder was begun",
                    {.file = path,
                     .found = "hash " + sweep.hash,
                     .allowed = "hash " + store.hash() + ", as in " + store.folder() + "/sweep.json",
                     .suggestion = "attnlab sweep run with another --out for the new config"});
  }
  if (stored.contains("shard") && stored["shard"].is_string())
    sweep.shard = parse_shard(stored["shard"].get<std::string>());
  sweep.stored = stored;
  return sweep;
}

std::vector<sweep::Result> results_of(const sweep::SweepConfig& config, const Store& store) {
  int last = 0;
  for (const auto& [id, record] : store.records()) last = std::max(last, record.trial.rung);
  std::vector<sweep::Result> results;
  for (const auto& [id, record] : store.records()) {
    if (record.trial.rung != last) continue;
    results.push_back({id, record.trial.point, record.trial.rung,
                       judge(config.goal, config.space, record.trial.point, record.outcome)});
  }
  return results;
}

int worker_count(const sweep::SweepConfig& config) {
  return config.workers > 0 ? static_cast<int>(config.workers) : sweep::default_workers(config.limits);
}

sweep::ZygoteOptions zygote_options(const OpenedSweep& sweep) {
  return {.limits = effective_limits(sweep.config),
          .work = [&catalog = sweep.catalog, required = sweep.config.goal.metrics()](
                      const Trial& trial) { return sweep::run_trial(trial.config, catalog, required); },
          .prepare = [&catalog = sweep.catalog,
                      methods = named_methods(sweep)] { sweep::prepare_trials(methods, catalog); }};
}

std::unique_ptr<sweep::Workers> start_workers(const OpenedSweep& sweep) {
  if (const Job* many = job()) {
    many->tell_others({{"task", "sweep"}});
    return sweep::rank_workers(many->ranks, many->nursery,
                               {.search = sweep.search,
                                .required = sweep.config.goal.metrics(),
                                .methods = named_methods(sweep),
                                .limits = effective_limits(sweep.config),
                                .simd = kernels::active_table().target,
                                .plugins = sweep::plugin_hashes(sweep.catalog)});
  }
  return sweep::local_workers(worker_count(sweep.config), zygote_options(sweep));
}

int run_sweep(const OpenedSweep& sweep, std::unique_ptr<sweep::Workers> workers, sweep::Search& search,
              Store& store, const SweepRun& how) {
  catch_interrupt("\ninterrupted: the trials that run are finished first; Ctrl-C again ends at once\n");
  bool complete = false;
  int64_t total = 0;
  {
    Loop loop(sweep, std::move(workers), search, store, how);
    complete = loop.run();
    total = loop.total();
  }
  const int64_t failed = store.failed(), recorded = static_cast<int64_t>(store.records().size());
  std::cerr << fmt::format("{} trials done, {} failed{}\nresults: {}\n", recorded - failed, failed,
                           complete ? "" : fmt::format(", {} to do", std::max<int64_t>(total - recorded, 0)),
                           store.folder());
  if (failed > 0) {
    print_failures(store);
    std::cerr << "  attnlab sweep status tells all; once more: " << resume_command(store) << " --failed\n";
  }
  if (complete && !sweep.shard) report_sweep(sweep, store);
  if (!complete) {
    std::cerr << "interrupted; to go on: " << resume_command(store) << "\n";
    return static_cast<int>(Exit::interrupted);
  }
  return static_cast<int>(failed > 0 ? Exit::trials_failed : Exit::ok);
}

}  // namespace attnlab::cli
