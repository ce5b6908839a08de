// attnlab verify-sampling.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "core/base/parallel.hpp"
#include "core/cli/command.hpp"
#include "core/cli/interrupt.hpp"
#include "core/cli/progress.hpp"
#include "core/io/atomic_file.hpp"
#include "core/measure/experiment.hpp"
#include "core/measure/verify_sampling.hpp"
#include "core/plugin/crash.hpp"
#include "core/report/verification.hpp"

namespace attnlab::cli {
namespace {

using base::Exit;
using base::UserError;
using io::Json;

void options(po::options_description& table) {
  add_config_options(table);
  add_plugin_options(table);
  table.add_options()("seeds", po::value<int64_t>()->value_name("N")->default_value(200),
                      "seeds to repeat the selection with, from the config's seed on")(
      "pipeline", po::value<std::vector<std::string>>()->value_name("NAME")->composing(),
      "only this pipeline (repeatable)")(
      "epsilons", po::value<std::string>()->value_name("LIST"),
      "run each stage that has an epsilon with these as well, such as 0.02,0.05,0.1,0.2")(
      "out", po::value<std::string>()->value_name("DIR"), "write verification.json and verification.html")(
      "threads", po::value<int>()->value_name("N")->default_value(0, "all cores"),
      "threads; results do not depend on it")(
      "tile-bytes", po::value<int64_t>()->value_name("N")->default_value(int64_t{4} << 20, "4 MiB"),
      "scratch for the logits of a tile; results do not depend on it")(
      "format", po::value<std::string>()->value_name("F")->default_value("table"),
      "stdout: table | json | csv")("quiet", "no progress");
}

std::vector<double> parse_epsilons(const std::string& text) {
  std::vector<double> epsilons;
  size_t start = 0;
  while (start <= text.size()) {
    const size_t end = std::min(text.find(',', start), text.size());
    const std::string item = text.substr(start, end - start);
    char* rest = nullptr;
    const double epsilon = std::strtod(item.c_str(), &rest);
    if (item.empty() || *rest != '\0' || !(epsilon > 0 && epsilon < 1)) {
      throw UserError("--epsilons needs numbers between 0 and 1",
                      {.found = item, .allowed = "such as 0.02,0.05,0.1,0.2"});
    }
    epsilons.push_back(epsilon);
    start = end + 1;
  }
  return epsilons;
}

/// Keeps the pipelines that are asked for and sample. Policies are left out: each of the pipelines that they
/// choose from samples by itself, and makes its own promise.
void choose_pipelines(config::RunPlan& plan, const plugin::Catalog& catalog, const config::Document& document,
                      const std::vector<std::string>& wanted) {
  std::vector<std::string> names, sampling, policies;
  for (const auto& pipeline : plan.pipelines) {
    names.push_back(pipeline.name);
    if (pipeline.policy) {
      policies.push_back(pipeline.name);
    } else if (measure::sampling_stage(pipeline, catalog) >= 0) {
      sampling.push_back(pipeline.name);
    }
  }
  for (const auto& name : wanted) {
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      throw UserError(
          "--pipeline: the config has no such pipeline",
          {.found = name, .allowed = base::join(names), .suggestion = base::did_you_mean(name, names)});
    }
    if (std::find(policies.begin(), policies.end(), name) != policies.end()) {
      throw UserError("--pipeline: a policy is not verified as a whole",
                      {.found = name,
                       .allowed = base::join(sampling),
                       .suggestion = "verify the pipelines that it chooses from"});
    }
    if (std::find(sampling.begin(), sampling.end(), name) == sampling.end()) {
      throw UserError("--pipeline: no stage of it samples", {.found = name, .allowed = base::join(sampling)});
    }
  }
  if (sampling.empty()) {
    base::Mistake mistake = document.where("/pipelines");
    if (!policies.empty()) {
      mistake.found = base::join(policies);
      mistake.suggestion = "verify the pipelines that a policy chooses from: it is not verified as a whole";
      throw UserError("no stage of any pipeline samples, policies apart", mistake);
    }
    mistake.suggestion = "add a stage that samples, such as random_sampling";
    throw UserError("no stage of any pipeline samples", mistake);
  }
  const auto& kept = wanted.empty() ? sampling : wanted;
  std::erase_if(plan.pipelines, [&](const auto& pipeline) {
    return std::find(kept.begin(), kept.end(), pipeline.name) == kept.end();
  });
}

int run(const po::variables_map& values) {
  const std::string format = values["format"].as<std::string>();
  if (format != "table" && format != "json" && format != "csv") {
    throw UserError("--format: unknown format",
                    {.found = format,
                     .allowed = "table | json | csv",
                     .suggestion = base::did_you_mean(format, {"table", "json", "csv"})});
  }
  measure::VerifyOptions verify;
  verify.seeds = values["seeds"].as<int64_t>();
  if (verify.seeds < 10 || verify.seeds > 1000000) {
    throw UserError("--seeds is out of range",
                    {.found = std::to_string(verify.seeds), .allowed = "10 to 1000000"});
  }
  if (values["tile-bytes"].as<int64_t>() < 1) throw UserError("--tile-bytes must be positive");
  if (values.count("epsilons") != 0) verify.epsilons = parse_epsilons(values["epsilons"].as<std::string>());
  const std::string folder = values.count("out") != 0 ? values["out"].as<std::string>() : "";
  if (values.count("out") != 0 && folder.empty()) throw UserError("--out needs a folder");

  const base::ThreadLimit threads(thread_option(values));
  const config::Document document = load_document(values);
  const plugin::Catalog catalog = load_catalog(values, config::plugin_folders(document));
  config::RunPlan plan = config::resolve(document, catalog);
  choose_pipelines(plan, catalog, document,
                   values.count("pipeline") != 0 ? values["pipeline"].as<std::vector<std::string>>()
                                                 : std::vector<std::string>{});
  // As run does: a plugin that does not return from a call for ten minutes hangs.
  const plugin::CallWatch watch(std::chrono::minutes(10));
  const auto source = data::open_input(plan.input, document);
  measure::check_plan(plan, *source, document, {});
  if (!folder.empty()) io::create_directories(folder);

  Progress progress("attnlab verify-sampling", values.count("quiet") != 0);
  verify.execution.kernels = &kernels::active_table();
  verify.execution.tile_bytes = values["tile-bytes"].as<int64_t>();
  verify.on_progress = [&](int64_t done, int64_t total) { progress.update(done, total); };
  verify.cancelled = interrupted;
  catch_interrupt();
  measure::VerificationRecord record = measure::verify_sampling(plan, catalog, document, *source, verify);
  record.title = plan.title.empty() ? std::filesystem::path(document.path()).stem().string() : plan.title;
  record.version = ATTNLAB_VERSION;
  record.command = base::join(command_line(), " ");

  const std::string json = io::pretty_text(measure::verification_json(record));
  std::cout << (format == "json"  ? json
                : format == "csv" ? report::verification_csv(record)
                                  : report::verification_table(record));
  if (!folder.empty()) {
    io::write_file_atomically(folder + "/verification.json", json);
    io::write_file_atomically(folder + "/verification.html", report::verification_html(record));
    std::cerr << "results: " << folder << "\n";
  }
  std::vector<std::string> failed;
  for (const auto& pipeline : record.pipelines) {
    if (!pipeline.holds()) failed.push_back(pipeline.pipeline);
  }
  if (failed.empty()) return 0;
  std::cerr << "error: " << failed.size() << " of " << record.pipelines.size()
            << " pipelines do not hold: " << base::escape_unprintable(base::join(failed)) << "\n";
  return static_cast<int>(Exit::threshold_missed);
}

}  // namespace

Command verify_sampling_command() {
  return {.name = "verify-sampling",
          .arguments = "CONFIG",
          .summary = "Repeat the pipelines that sample over seeds and compare them with theory.",
          .details =
              "The problem is fixed, the run's seed varies. Of each pipeline: the mean of D^/D, the "
              "estimated over\n"
              "the exact softmax denominator, and of the numerator's projection N^.N/|N|^2, with standard "
              "errors\n"
              "over seeds; the variance of D^/D against what the inclusion probabilities give; density, keys "
              "added\n"
              "by the sampling and later stages, and the least that a normal limit would need with the true\n"
              "variance; and, when the stage has parameters epsilon and delta, how often the error of its "
              "target\n"
              "stayed within epsilon. Exit code 6: D^/D is more than 4 standard errors from 1, or the 99 % "
              "interval\n"
              "of that share lies below 1 - delta.",
          .options = options,
          .run = run,
          .min_arguments = 1,
          .max_arguments = 1};
}

}  // namespace attnlab::cli
