// attnlab run.
#include <fmt/core.h>

#include <chrono>
#include <cmath>
#include <iostream>

#include "core/base/parallel.hpp"
#include "core/cli/command.hpp"
#include "core/cli/interrupt.hpp"
#include "core/cli/isolate.hpp"
#include "core/cli/job.hpp"
#include "core/cli/progress.hpp"
#include "core/cli/result_folder.hpp"
#include "core/cli/run_identity.hpp"
#include "core/cli/run_ranks.hpp"
#include "core/io/atomic_file.hpp"
#include "core/measure/experiment.hpp"
#include "core/plugin/crash.hpp"
#include "core/report/report.hpp"

namespace attnlab::cli {
namespace {

using base::Exit;
using base::UserError;
using io::Json;

void options(po::options_description& table) {
  add_config_options(table);
  add_plugin_options(table);
  table.add_options()("out", po::value<std::string>()->value_name("DIR"),
                      "result folder; default attnlab-runs/<config>-<run id>")(
      "dump", po::value<std::string>()->value_name("LIST"), "write planes as npy: mask,output,weights")(
      "max-dump-bytes", po::value<int64_t>()->value_name("N")->default_value(int64_t{1} << 30, "1 GiB"),
      "refuse larger dumps")("threads", po::value<int>()->value_name("N")->default_value(0, "all cores"),
                             "threads; results do not depend on it")(
      "tile-bytes", po::value<int64_t>()->value_name("N")->default_value(int64_t{4} << 20, "4 MiB"),
      "scratch for the logits of a tile; results do not depend on it")(
      "reference", "compare every row with a double-precision reference")(
      "isolate", "run in a child process: a plugin that ends it costs its pipeline, not the run")(
      "call-limit", po::value<double>()->value_name("SECONDS")->default_value(600, "600"),
      "a plugin that does not return from a call for so long hangs (0: wait for ever)")(
      "format", po::value<std::string>()->value_name("F")->default_value("table"),
      "stdout: table | json | csv")("quiet", "no progress");
  add_simd_option(table);
}

measure::DumpChoice parse_dump(const po::variables_map& values) {
  measure::DumpChoice choice;
  if (values.count("dump") == 0) return choice;
  const std::string text = values["dump"].as<std::string>();
  size_t start = 0;
  while (start <= text.size()) {
    const size_t end = std::min(text.find(',', start), text.size());
    const std::string item = text.substr(start, end - start);
    if (item == "mask") {
      choice.mask = true;
    } else if (item == "output") {
      choice.output = true;
    } else if (item == "weights") {
      choice.weights = true;
    } else {
      throw UserError("--dump: unknown plane",
                      {.found = item,
                       .allowed = "mask, output, weights",
                       .suggestion = base::did_you_mean(item, {"mask", "output", "weights"})});
    }
    start = end + 1;
  }
  return choice;
}

void print_result(const measure::RunRecord& run, const std::string& format) {
  if (format == "json") {
    std::cout << io::pretty_text(measure::result_json(run));
  } else if (format == "csv") {
    std::cout << report::csv(run);
  } else {
    std::cout << stdout_table(run);
  }
}

/// The time after which a plugin's call counts as hanging.
std::chrono::milliseconds call_limit(const po::variables_map& values) {
  const double seconds = values["call-limit"].as<double>();
  if (!(seconds >= 0 && seconds <= 1e6)) {
    throw UserError("--call-limit is out of range",
                    {.found = fmt::format("{}", seconds), .allowed = "0 (wait for ever) to 1e6 seconds"});
  }
  return std::chrono::milliseconds(static_cast<int64_t>(std::ceil(seconds * 1000)));
}

/// The plan without the pipelines that failed in an earlier child.
config::RunPlan without(config::RunPlan plan, const ChildFailures& failures) {
  std::erase_if(plan.pipelines, [&](const auto& pipeline) { return failures.of.contains(pipeline.name); });
  return plan;
}

/// Puts the pipelines that failed back in their places, as records of their failure.
void insert_failures(measure::RunRecord& run, const config::RunPlan& plan, const plugin::Catalog& catalog,
                     const ChildFailures& failures) {
  for (size_t i = 0; i < plan.pipelines.size(); ++i) {
    const auto failed = failures.of.find(plan.pipelines[i].name);
    if (failed == failures.of.end()) continue;
    run.pipelines.insert(run.pipelines.begin() + static_cast<int64_t>(i),
                         measure::failed_pipeline(plan.pipelines[i], catalog, failed->second.reason));
    run.notes.push_back(plan.pipelines[i].name + " " + failed->second.reason);
  }
}

int run(const po::variables_map& values) {
  const std::string format = values["format"].as<std::string>();
  if (format != "table" && format != "json" && format != "csv") {
    throw UserError("--format: unknown format",
                    {.found = format,
                     .allowed = "table | json | csv",
                     .suggestion = base::did_you_mean(format, {"table", "json", "csv"})});
  }
  if (values.count("out") != 0 && values["out"].as<std::string>().empty())
    throw UserError("--out needs a folder");
  if (const auto limit = values["max-dump-bytes"].as<int64_t>(); limit < 0) {
    throw UserError("--max-dump-bytes must not be negative", {.found = std::to_string(limit)});
  }
  if (values["tile-bytes"].as<int64_t>() < 1) throw UserError("--tile-bytes must be positive");
  const std::chrono::milliseconds limit = call_limit(values);
  if (const Job* const together = job(); together != nullptr) return run_over_ranks(values, *together);
  if (values.count("isolate") != 0) return run_isolated(values);
  ChildFailures failures;
  if (values.count("failures") != 0) failures = ChildFailures::read(values["failures"].as<std::string>());
  const base::ThreadLimit threads(thread_option(values));
  simd_option(values);
  const config::Document document = load_document(values);
  const plugin::Catalog catalog = load_catalog(values, config::plugin_folders(document));
  const config::RunPlan plan = config::resolve(document, catalog);
  const config::RunPlan active = without(plan, failures);
  const plugin::CallWatch watch(limit);
  std::vector<attention::Pipeline> pipelines;
  for (const auto& pipeline : active.pipelines) pipelines.emplace_back(pipeline, catalog, document);
  const auto source = data::open_input(plan.input, document);

  measure::ExperimentOptions experiment;
  experiment.execution.kernels = &kernels::active_table();
  experiment.execution.tile_bytes = values["tile-bytes"].as<int64_t>();
  experiment.dump = parse_dump(values);
  experiment.max_dump_bytes = static_cast<uint64_t>(values["max-dump-bytes"].as<int64_t>());
  experiment.reference = values.count("reference") != 0;
  measure::check_plan(plan, *source, document, experiment);
  for (const auto& pipeline : pipelines) {
    pipeline.check_geometry(measure::wanted_layers(active, *source), source->geometry());
  }

  const RunIdentity identity(plan, catalog, *source);
  const std::string folder = values.count("scratch") != 0 ? values["scratch"].as<std::string>()
                                                          : run_folder(values, document, identity.id);
  const std::vector<std::string> warnings = tell_warnings(pipelines);
  const std::string command =
      values.count("typed") != 0 ? values["typed"].as<std::string>() : shell_text(command_line());
  const Json provenance = identity.provenance(plan, command, warnings);
  ResultFolder results(folder, identity.resolved, provenance, failures);

  Progress progress("attnlab run", values.count("quiet") != 0);
  experiment.dump_folder = folder;
  experiment.on_layer = [&](const std::vector<measure::HeadRecord>& records) { results.append(records); };
  experiment.on_progress = [&](int64_t done, int64_t total) { progress.update(done, total); };
  experiment.cancelled = interrupted;
  catch_interrupt("\ninterrupted: the step that is running is finished first; Ctrl-C again ends at once\n");

  measure::RunRecord record = measure::run_experiment(active, pipelines, *source, experiment);
  insert_failures(record, plan, catalog, failures);
  identify(record, plan, document, provenance);
  results.finish(record);
  print_result(record, format);
  std::cerr << "results: " << folder << "\n";

  if (!failures.of.empty()) {
    std::cerr << "error: " << failures.of.size() << " of " << plan.pipelines.size()
              << " pipelines failed, see the notes\n";
    return static_cast<int>(Exit::plugin_broken);
  }
  int64_t empty_rows = 0;
  for (const auto& pipeline : record.pipelines) empty_rows += pipeline.quality.empty_rows;
  if (empty_rows > 0 && plan.attention.on_empty_row == config::EmptyRow::error) {
    std::cerr << "error: " << empty_rows << " rows selected no key\n";
    for (const auto& note : record.notes) {
      if (note.find("selected no key") != std::string::npos) std::cerr << "  " << note << "\n";
    }
    std::cerr << "  set /attention/on_empty_row to \"zeros\" or \"dense\" to accept them\n";
    return static_cast<int>(Exit::failed);
  }
  return 0;
}

}  // namespace

Command run_command() {
  return {
      .name = "run",
      .arguments = "CONFIG",
      .summary = "Run all pipelines of a config on the same input and compare them with dense attention.",
      .details =
          "The result folder gets resolved.json, result.json, rows.jsonl, pictures.json, time.json,\n"
          "provenance.json, report.md and report.html. With --dump also <pipeline>/mask.npy and weights.npy\n"
          "[B, Hq, queries, Sk] and output.npy [B, Hq, queries, Dv], with a prefix layerNN_ when the run "
          "has\n"
          "several layers.",
      .options = options,
      .run = run,
      .min_arguments = 1,
      .max_arguments = 1};
}

Command run_child_command() {
  Command command = run_command();
  command.name = "run-child";
  command.summary = "The child of run --isolate.";
  command.hidden = true;
  command.options = [](po::options_description& table) {
    options(table);
    add_child_options(table);
  };
  command.run = [](const po::variables_map& values) {
    return run_as_child(values["failures"].as<std::string>(), [&] { return run(values); });
  };
  return command;
}

}  // namespace attnlab::cli
