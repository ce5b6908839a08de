// A sweep as a Slurm job array: one script a shard, one that merges.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace attnlab::cli {

/// Writes shards.sbatch, merge.sh and submit.sh into `folder`. `command`: `attnlab sweep run CONFIG ...`
/// with absolute paths, without --out and --shard. Throws UserError (Exit::failed).
void emit_slurm(const std::string& folder, int64_t shards, const std::vector<std::string>& command);

}  // namespace attnlab::cli
