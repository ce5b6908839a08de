// What a run is and where it came from, whether one process computes it or the ranks of a job.
#pragma once

#include <string>
#include <vector>

#include "core/cli/command.hpp"
#include "core/measure/experiment.hpp"

namespace attnlab::cli {

struct RunIdentity {
  /// Hashes the files that the run reads.
  RunIdentity(const config::RunPlan& plan, const plugin::Catalog& catalog, const data::Source& source);

  /// What provenance.json says. `command`: as a shell would take it.
  io::Json provenance(const config::RunPlan& plan, const std::string& command,
                      const std::vector<std::string>& warnings) const;

  io::Json resolved;                  ///< the config with every default
  io::Json data_files, plugin_files;  ///< as measure::describe_files gives them
  std::string id;
};

/// The config's file name without its ending.
std::string run_name(const config::Document& document);
/// --out, or a folder of the run's name and id.
std::string run_folder(const po::variables_map& values, const config::Document& document,
                       const std::string& id);

/// What the pipelines warn of, which goes to stderr too.
std::vector<std::string> tell_warnings(const measure::Pipelines& pipelines);

/// Completes a record with what is known outside of the experiment.
void identify(measure::RunRecord& record, const config::RunPlan& plan, const config::Document& document,
              const io::Json& provenance);

/// The table of a run, as wide and as colourful as stdout takes it.
std::string stdout_table(const measure::RunRecord& run);

}  // namespace attnlab::cli
