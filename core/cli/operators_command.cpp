// attnlab operators.
#include <fmt/core.h>

#include <filesystem>
#include <iostream>

#include "core/base/parallel.hpp"
#include "core/cli/command.hpp"
#include "core/cli/interrupt.hpp"
#include "core/cli/progress.hpp"
#include "core/io/atomic_file.hpp"
#include "core/measure/operators.hpp"
#include "core/plugin/crash.hpp"
#include "core/report/operators.hpp"

namespace attnlab::cli {
namespace {

namespace fs = std::filesystem;
using base::UserError;
using io::Json;

void options(po::options_description& table) {
  table.add_options()("set", po::value<std::vector<std::string>>()->value_name("/PTR=VALUE")->composing(),
                      "override a config value; VALUE is JSON, else a string (repeatable)")(
      "out", po::value<std::string>()->value_name("DIR"), "result folder; default attnlab-runs/<config>")(
      "threads", po::value<int>()->value_name("N")->default_value(0, "all cores"),
      "threads; spectra do not depend on it")(
      "format", po::value<std::string>()->value_name("F")->default_value("table"),
      "stdout: table | json | csv | markdown")("quiet", "no progress");
  add_plugin_options(table);
  add_simd_option(table);
}

enum class Format { table, json, csv, markdown };

std::string folder_of(const po::variables_map& values) {
  if (values.count("out") == 0)
    return (fs::path("attnlab-runs") / fs::path(positional(values)[0]).stem()).string();
  const auto out = values["out"].as<std::string>();
  if (out.empty()) throw UserError("--out needs a folder");
  return out;
}

/// Mean of a probe before and one after.
class Probes {
 public:
  Probes() : probe_(measure::RoofProbe::for_machine(kernels::active_table(), false)), before_(sample()) {}
  measure::Roof end() {
    const measure::Roof after = sample();
    return {(before_.flops + after.flops) / 2, (before_.read_bytes + after.read_bytes) / 2};
  }

 private:
  measure::Roof sample() { return probe_.sample(base::thread_count()); }
  measure::RoofProbe probe_;
  measure::Roof before_;
};

/// All that the plan asks for; less after Ctrl-C.
measure::OperatorsRecord measured(const config::OperatorsPlan& plan, const plugin::Catalog& catalog,
                                  const config::Document& document, bool quiet) {
  Progress progress("attnlab operators", quiet);
  int64_t last = 0;
  const measure::KeepGoing keep_going = [&](int64_t done, int64_t total, const std::string& next) {
    if (done >= 0) {
      last = done;
      progress.update(last, total, next);
    }
    return !interrupted();
  };
  measure::OperatorsRecord record;
  record.plan = plan;
  record.threads = base::thread_count();
  record.simd_target = kernels::active_table().target;
  record.spectra = measure::measure_spectra(plan, catalog, document, keep_going);
  if (!plan.scaling || interrupted()) return record;
  Probes probes;
  record.scaling = measure::measure_scaling(plan, catalog, document, keep_going);
  record.roof = probes.end();
  return record;
}

void write(const measure::OperatorsRecord& record, const plugin::Catalog& catalog, const fs::path& folder) {
  io::create_directories(folder.string());
  // A folder holds one look: no clocks of an earlier one beside it.
  std::error_code ignored;
  fs::remove(folder / "time.json", ignored);
  const auto file = [&](const char* name, const std::string& text) {
    io::write_file_atomically((folder / name).string(), text);
  };
  file("operators.json", io::pretty_text(measure::spectra_json(record, catalog)));
  if (record.plan.scaling) file("time.json", io::pretty_text(measure::scaling_json(record)));
  file("report.md", report::operators_markdown(record));
  file("report.html", report::operators_html(record));
}

void print(const measure::OperatorsRecord& record, const plugin::Catalog& catalog, Format format) {
  if (format == Format::table) {
    std::cout << report::operators_text(record);
  } else if (format == Format::csv) {
    std::cout << report::operators_csv(record);
  } else if (format == Format::markdown) {
    std::cout << report::operators_markdown(record);
  } else {
    Json json = measure::spectra_json(record, catalog);
    if (record.plan.scaling) json["time"] = measure::scaling_json(record);
    std::cout << io::pretty_text(json);
  }
}

int run(const po::variables_map& values) {
  const auto format =
      static_cast<Format>(choice_option(values, "format", {"table", "json", "csv", "markdown"}));
  const std::string folder = folder_of(values);
  const base::ThreadLimit threads(thread_option(values));
  simd_option(values);
  config::Document document = config::Document::load(positional(values).at(0));
  if (values.count("set") != 0) {
    for (const auto& assignment : values["set"].as<std::vector<std::string>>()) document.set(assignment);
  }
  const plugin::Catalog catalog = load_catalog(values, config::plugin_folders(document));
  const config::OperatorsPlan plan = config::resolve_operators(document, catalog);
  // As run does: a plugin that does not return from a call for ten minutes hangs.
  const plugin::CallWatch watch(std::chrono::minutes(10));
  std::vector<std::string> warnings;
  measure::check_operators(plan, catalog, document, warnings);
  for (const std::string& warning : warnings) std::cerr << "warning: " << warning << "\n";
  catch_interrupt("stopping after this measurement\n");
  const measure::OperatorsRecord record = measured(plan, catalog, document, values.count("quiet") != 0);
  if (interrupted()) return static_cast<int>(base::Exit::interrupted);
  write(record, catalog, folder);
  print(record, catalog, format);
  std::cerr << "results: " << folder << "\n";
  return 0;
}

}  // namespace

Command operators_command() {
  return {.name = "operators",
          .arguments = "CONFIG",
          .summary = "Compare attention operators by themselves: spectra, time and state by length.",
          .details =
              "CONFIG names schemes that take q, k and v: {\"operators\": {\"linear\": {\"scheme\": "
              "\"linear\"}},\n"
              "\"spectrum\": {\"tokens\": 1024}, \"scaling\": {\"tokens\": [512, 4096]}}; either part may be "
              "left out.\n"
              "A spectrum is of the weights on normal queries and keys, in double precision: ranks, "
              "entropies, and\n"
              "with \"causal\" what decoding must keep. Scaling times forwards and single steps, operators "
              "in\n"
              "alternation. The folder gets operators.json, time.json with all clocks, report.md and "
              "report.html.",
          .options = options,
          .run = run,
          .min_arguments = 1,
          .max_arguments = 1};
}

}  // namespace attnlab::cli
