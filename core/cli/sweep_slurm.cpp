#include "core/cli/sweep_slurm.hpp"

#include <fmt/core.h>
#include <sys/stat.h>

#include <filesystem>

#include "core/cli/isolate.hpp"
#include "core/io/atomic_file.hpp"

namespace attnlab::cli {
namespace {

// A shard that was cut short, by its time or by the cluster, goes on where it was when the array is submitted
// again. Exit code 5, some trials failed, is a result and not a failure of the job.
constexpr const char* shard_script = R"(#!/bin/bash
#SBATCH --job-name=attnlab-sweep
#SBATCH --array=1-{shards}
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=4
#SBATCH --time=04:00:00
#SBATCH --output={logs}
# Each element runs one of {shards} shards. Without Slurm: SLURM_ARRAY_TASK_ID=N bash shards.sbatch
out={folder}/shard-"$SLURM_ARRAY_TASK_ID"
workers="${{SLURM_CPUS_PER_TASK:-0}}"
if [ -e "$out/sweep.json" ]; then
  {program} sweep resume "$out" --workers "$workers" --quiet
else
  {command} --shard "$SLURM_ARRAY_TASK_ID/{shards}" --out "$out" --workers "$workers" --quiet
fi
code=$?
[ "$code" -eq 5 ] && exit 0
exit "$code"
)";

constexpr const char* merge_script = R"(#!/bin/bash
# All shards' trials in one store, and the best of them.
parts=()
for shard in $(seq 1 {shards}); do parts+=({folder}/shard-"$shard"); done
# Shards that were cut short and went on are merged again; the old merge goes when the new one is there.
merged={folder}/merged
rm -rf "$merged".before
[ -e "$merged" ] && mv "$merged" "$merged".before
if {program} sweep merge "${{parts[@]}}" --out "$merged"; then
  rm -rf "$merged".before
  {program} sweep best "$merged"
else
  code=$?
  rm -rf "$merged"
  [ -e "$merged".before ] && mv "$merged".before "$merged"
  exit "$code"
fi
)";

constexpr const char* submit_script = R"(#!/bin/bash
# The shards, and the merge after the last of them.
set -e
array=$(sbatch --parsable {folder}/shards.sbatch)
sbatch --dependency=afterany:"$array" --job-name=attnlab-merge --output={folder}/merge.log {folder}/merge.sh
)";

void write_script(const std::string& path, const std::string& text) {
  io::write_file_atomically(path, text);
  ::chmod(path.c_str(), 0755);
}

}  // namespace

void emit_slurm(const std::string& folder, int64_t shards, const std::vector<std::string>& command) {
  io::create_directories(folder);
  const std::string absolute = std::filesystem::absolute(folder).lexically_normal().string();
  const std::string quoted = shell_text({absolute});
  const std::string program = shell_text({command.at(0)});
  write_script(folder + "/shards.sbatch",
               fmt::format(fmt::runtime(shard_script), fmt::arg("shards", shards), fmt::arg("folder", quoted),
                           fmt::arg("logs", absolute + "/shard-%a.log"), fmt::arg("program", program),
                           fmt::arg("command", shell_text(command))));
  write_script(folder + "/merge.sh", fmt::format(fmt::runtime(merge_script), fmt::arg("shards", shards),
                                                 fmt::arg("folder", quoted), fmt::arg("program", program)));
  write_script(folder + "/submit.sh", fmt::format(fmt::runtime(submit_script), fmt::arg("folder", quoted)));
}

}  // namespace attnlab::cli
