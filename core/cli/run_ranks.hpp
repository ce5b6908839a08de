// `attnlab-mpi run`: one problem whose keys are divided among the ranks of a job.
#pragma once

#include "core/cli/command.hpp"
#include "core/cli/job.hpp"
#include "core/io/json.hpp"

namespace attnlab::cli {

/// The command on rank 0; the other ranks are told to call `serve_run`. Options that no rank could obey are
/// refused by name. Returns the exit code.
int run_over_ranks(const po::variables_map& values, const Job& job);

/// Another rank's part of the run that the message {"task": "run", ...} of rank 0 announces. Errors go to
/// rank 0.
void serve_run(base::Ranks& ranks, const io::Json& task);

}  // namespace attnlab::cli
