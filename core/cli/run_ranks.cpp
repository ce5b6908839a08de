#include "core/cli/run_ranks.hpp"

#include <fmt/core.h>

#include <chrono>
#include <cmath>
#include <iostream>

#include "core/base/parallel.hpp"
#include "core/cli/interrupt.hpp"
#include "core/cli/progress.hpp"
#include "core/cli/result_folder.hpp"
#include "core/cli/run_identity.hpp"
#include "core/io/atomic_file.hpp"
#include "core/measure/identity.hpp"
#include "core/measure/sharded.hpp"
#include "core/plugin/crash.hpp"
#include "core/report/report.hpp"

namespace attnlab::cli {
namespace {

using base::Exit;
using base::UserError;
using io::Json;

/// A run as every rank prepares it from the same words: config, plugins, input.
struct Prepared {
  explicit Prepared(const po::variables_map& values)
      : threads(thread_option(values)),
        document(load_document(values)),
        catalog(load_catalog(values, config::plugin_folders(document))),
        plan(config::resolve(document, catalog)),
        watch(std::chrono::milliseconds(
            static_cast<int64_t>(std::ceil(values["call-limit"].as<double>() * 1000)))),
        source(data::open_input(plan.input, document, true)) {
    simd_option(values);
    for (const auto& pipeline : plan.pipelines) pipelines.emplace_back(pipeline, catalog, document);
    options.execution.kernels = &kernels::active_table();
    options.execution.tile_bytes = values["tile-bytes"].as<int64_t>();
    options.max_dump_bytes = static_cast<uint64_t>(values["max-dump-bytes"].as<int64_t>());
    options.reference = values.count("reference") != 0;
  }

  base::ThreadLimit threads;
  config::Document document;
  plugin::Catalog catalog;
  config::RunPlan plan;
  plugin::CallWatch watch;
  std::unique_ptr<data::Source> source;
  measure::Pipelines pipelines;
  measure::ExperimentOptions options;
};

void refuse_options(const po::variables_map& values) {
  const auto refuse = [](const std::string& option, const std::string& suggestion) {
    throw UserError(option + " is not for runs over ranks", {.found = option, .suggestion = suggestion});
  };
  if (values.count("isolate") != 0) refuse("--isolate", "a plugin that ends a rank's process ends the job");
  if (values.count("dump") != 0 && values["dump"].as<std::string>() != "output") {
    refuse("--dump " + values["dump"].as<std::string>(), "--dump output: no rank holds a plane of all keys");
  }
}

Json result_of(const measure::ShardedRun& sharded) {
  Json result = measure::result_json(sharded.run);
  result["ranks"] = measure::ranks_json(sharded.ranks);
  return result;
}

/// A line for each rank, in MB and seconds.
std::string rank_lines(const std::vector<measure::RankRecord>& ranks) {
  std::string text =
      "\nrank        keys   shard MB   head MB   sent MB   select s   attend s   merge s   wait s\n";
  constexpr double mb = 1e6;
  for (const auto& r : ranks) {
    text += fmt::format("{:4} {:11} {:10.1f} {:9.1f} {:9.2f} {:10.3f} {:10.3f} {:9.3f} {:8.3f}\n", r.rank,
                        r.keys, static_cast<double>(r.shard_bytes) / mb,
                        static_cast<double>(r.head_bytes) / mb, static_cast<double>(r.sent_bytes) / mb,
                        r.select_seconds, r.attend_seconds, r.merge_seconds, r.wait_seconds);
  }
  return text;
}

void print(const measure::ShardedRun& sharded, const std::string& format) {
  if (format == "json") {
    std::cout << io::pretty_text(result_of(sharded));
  } else if (format == "csv") {
    std::cout << report::csv(sharded.run);
  } else {
    std::cout << stdout_table(sharded.run) << rank_lines(sharded.ranks);
  }
}

}  // namespace

int run_over_ranks(const po::variables_map& values, const Job& job) {
  refuse_options(values);
  const std::string format = values["format"].as<std::string>();
  Prepared run(values);
  measure::check_sharded(run.options);
  measure::check_plan(run.plan, *run.source, run.document, run.options);
  for (const auto& pipeline : run.pipelines) {
    pipeline.check_geometry(measure::wanted_layers(run.plan, *run.source), run.source->geometry());
  }
  const RunIdentity identity(run.plan, run.catalog, *run.source);
  const std::string folder = run_folder(values, run.document, identity.id);
  Json provenance = identity.provenance(run.plan, shell_text(command_line()), tell_warnings(run.pipelines));
  provenance["ranks"] = job.ranks.count();
  ResultFolder results(folder, identity.resolved, provenance, {});

  Progress progress("attnlab run", values.count("quiet") != 0);
  run.options.dump.output = values.count("dump") != 0;
  run.options.dump_folder = folder;
  run.options.on_layer = [&](const std::vector<measure::HeadRecord>& records) { results.append(records); };
  run.options.on_progress = [&](int64_t done, int64_t total) { progress.update(done, total); };
  run.options.cancelled = interrupted;
  catch_interrupt("\ninterrupted: the step that is running is finished first; Ctrl-C again ends at once\n");

  job.tell_others({{"task", "run"}, {"arguments", command_line()}, {"resolved", identity.resolved}});
  measure::Exchange exchange(job.ranks);
  measure::ShardedRun sharded;
  exchange.lead(
      [&] { sharded = measure::run_sharded(run.plan, run.pipelines, *run.source, run.options, exchange); });

  measure::RunRecord& record = sharded.run;
  identify(record, run.plan, run.document, provenance);
  Json time = measure::time_json(record.time);
  time["ranks"] = measure::rank_times_json(sharded.ranks);
  io::write_file_atomically(folder + "/result.json", io::pretty_text(result_of(sharded)));
  io::write_file_atomically(folder + "/time.json", io::pretty_text(time));
  io::write_file_atomically(folder + "/report.md", report::markdown(record));
  print(sharded, format);
  std::cerr << "results: " << folder << "\n";

  int64_t empty_rows = 0;
  for (const auto& pipeline : record.pipelines) empty_rows += pipeline.quality.empty_rows;
  if (empty_rows > 0 && run.plan.attention.on_empty_row == config::EmptyRow::error) {
    std::cerr << "error: " << empty_rows << " rows selected no key\n"
              << "  set /attention/on_empty_row to \"zeros\" or \"dense\" to accept them\n";
    return static_cast<int>(Exit::failed);
  }
  return 0;
}

void serve_run(base::Ranks& ranks, const Json& task) {
  measure::Exchange exchange(ranks);
  exchange.follow([&] {
    // The program's name, and the words of the command's own.
    const auto words = task.at("arguments").get<std::vector<std::string>>();
    const Command command = run_command();
    Prepared run(parse_arguments(command, {words.begin() + 2, words.end()}));
    const Json resolved = measure::complete_config(run.plan, run.catalog, *run.source);
    if (io::line_text(resolved) != io::line_text(task.at("resolved"))) {
      throw UserError(
          "this rank reads another config or input than rank 0",
          {.file = run.document.path(), .suggestion = "the files of a run must be the same on all machines"});
    }
    measure::serve_shards(run.plan, run.pipelines, *run.source, run.options, exchange);
  });
}

}  // namespace attnlab::cli
