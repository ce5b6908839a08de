#include "core/cli/run_identity.hpp"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "core/base/hash.hpp"
#include "core/base/parallel.hpp"
#include "core/kernels/table.hpp"
#include "core/measure/identity.hpp"
#include "core/measure/machine.hpp"
#include "core/report/report.hpp"

namespace attnlab::cli {
namespace {

using io::Json;

/// The hash that `described` files hold of a file.
std::string described_hash(const std::vector<const Json*>& described, const std::string& path) {
  for (const Json* files : described) {
    for (const auto& file : *files) {
      if (file["path"] == path) return file["hash"].get<std::string>();
    }
  }
  return base::hash_file(path);
}

int terminal_width() {
  if (const char* columns = std::getenv("COLUMNS"); columns != nullptr) {
    const int width = std::atoi(columns);
    if (width >= 40) return width;
  }
  return 100;
}

}  // namespace

RunIdentity::RunIdentity(const config::RunPlan& plan, const plugin::Catalog& catalog,
                         const data::Source& source)
    : resolved(measure::complete_config(plan, catalog, source)) {
  const measure::InputFiles files = measure::input_files(plan, catalog, source);
  data_files = measure::describe_files(files.data);
  plugin_files = measure::describe_files(files.plugins);
  id = measure::run_id(plan, catalog, resolved, files, [&](const std::string& path) {
    return described_hash({&data_files, &plugin_files}, path);
  });
}

Json RunIdentity::provenance(const config::RunPlan& plan, const std::string& command,
                             const std::vector<std::string>& warnings) const {
  Json provenance;
  provenance["run_id"] = id;
  provenance["command"] = command;
  provenance["started"] = measure::utc_now();
  provenance["inputs"] = data_files;
  provenance["plugins"] = plugin_files;
  provenance["build"] = measure::describe_build();
  provenance["machine"] = measure::describe_machine();
  provenance["simd_target"] = kernels::active_table().target;
  provenance["threads"] = base::thread_count();
  provenance["seed"] = plan.seed;
  provenance["warnings"] = warnings;
  return provenance;
}

std::string run_name(const config::Document& document) {
  return std::filesystem::path(document.path()).stem().string();
}

std::string run_folder(const po::variables_map& values, const config::Document& document,
                       const std::string& id) {
  if (values.count("out") != 0) return values["out"].as<std::string>();
  return "attnlab-runs/" + run_name(document) + "-" + id.substr(0, 8);
}

std::vector<std::string> tell_warnings(const measure::Pipelines& pipelines) {
  std::vector<std::string> warnings;
  for (const auto& pipeline : pipelines) pipeline.collect_warnings(warnings);
  for (const auto& warning : warnings) std::cerr << "warning: " << warning << "\n";
  return warnings;
}

void identify(measure::RunRecord& record, const config::RunPlan& plan, const config::Document& document,
              const Json& provenance) {
  record.run_id = provenance["run_id"].get<std::string>();
  record.title = plan.title.empty() ? run_name(document) : plan.title;
  record.command = provenance["command"].get<std::string>();
  record.version = ATTNLAB_VERSION;
  record.provenance = provenance;
  record.time.peak_resident_bytes = measure::peak_resident_bytes();
}

std::string stdout_table(const measure::RunRecord& run) {
  const bool color = ::isatty(STDOUT_FILENO) == 1 && std::getenv("NO_COLOR") == nullptr;
  return report::terminal_table(run, color, terminal_width());
}

}  // namespace attnlab::cli
