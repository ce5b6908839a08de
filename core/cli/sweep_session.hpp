// What the commands of `attnlab sweep` share: a sweep opened from its config or from its folder, and the loop
// that takes it to its end.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/cli/command.hpp"
#include "core/sweep/config.hpp"
#include "core/sweep/plan.hpp"
#include "core/sweep/store.hpp"
#include "core/sweep/workers.hpp"

namespace attnlab::cli {

/// Part `index` (from 0) of `count`, by the order of trials' ids.
struct Shard {
  int64_t index = 0, count = 1;
};

/// A sweep, ready to run.
struct OpenedSweep {
  plugin::SearchPath search;
  plugin::Catalog catalog;
  sweep::SweepConfig config;
  std::optional<Shard> shard;
  io::Json stored;   ///< what sweep.json says of it: enough to open it again
  std::string hash;  ///< of what is swept, limits and titles apart
};

/// Refuses a sampler whose trials cannot be divided beforehand.
void check_shards(const sweep::SweepConfig& config);

/// --set and those of plugins.
void add_sweep_options(po::options_description& options);
/// --workers, --limit-seconds, --limit-memory.
void add_execution_options(po::options_description& options);

/// From a sweep's config and the options. Throws UserError.
OpenedSweep open_sweep(const po::variables_map& values);
/// From a store; options of execution win over what it was run with. Throws UserError, also when the config
/// is no longer what it was.
OpenedSweep reopen_sweep(const sweep::Store& store, const po::variables_map& values);

/// The sweep's trials as objectives see them; of several rungs the last.
std::vector<sweep::Result> results_of(const sweep::SweepConfig& config, const sweep::Store& store);

struct SweepRun {
  bool redo_failed = false;
  bool quiet = false;
};
/// How this machine runs the sweep's trials. `sweep` must outlive it.
sweep::ZygoteOptions zygote_options(const OpenedSweep& sweep);
/// Those who will run the trials: ranks of a job, or processes of this machine. Before anything of size is
/// planned or read: each trial is forked from them, and costs what they carry. `sweep` must outlive them.
std::unique_ptr<sweep::Workers> start_workers(const OpenedSweep& sweep);
/// Runs what the store lacks, to the end or to Ctrl-C, and says on stderr what came of it. The exit code.
int run_sweep(const OpenedSweep& sweep, std::unique_ptr<sweep::Workers> workers, sweep::Search& search,
              sweep::Store& store, const SweepRun& how);

int worker_count(const sweep::SweepConfig& config);

}  // namespace attnlab::cli
