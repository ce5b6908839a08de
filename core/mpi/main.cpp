// attnlab-mpi: attnlab, whose `sweep run`, `sweep resume` and `run` spread over the ranks of mpirun.
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "core/base/error.hpp"
#include "core/base/process.hpp"
#include "core/cli/command.hpp"
#include "core/cli/job.hpp"
#include "core/mpi/mpi_ranks.hpp"
#include "core/plugin/crash.hpp"

/// Plugins find these two before libc's: see attnlab::plugin::end_process.
extern "C" void _exit(int code) {
  attnlab::plugin::end_process(code);
}

extern "C" void _Exit(int code) noexcept {
  attnlab::plugin::end_process(code);
}

namespace {

/// Every other command runs in one process, without MPI: this program too probes plugins in children.
bool uses_ranks(int argc, char** argv) {
  std::vector<std::string> words(argv + std::min(argc, 1), argv + argc);
  size_t used = 0;
  const attnlab::cli::Command* command = attnlab::cli::find_command(words, used);
  return command != nullptr &&
         (command->name == "run" || command->name == "sweep run" || command->name == "sweep resume");
}

int run_as_rank(int argc, char** argv) {
  // mpirun passes it on to all ranks; rank 0 decides what comes of it.
  std::signal(SIGUSR1, SIG_IGN);
  attnlab::sweep::Nursery nursery;
  // Open MPI's hwloc would ask an X server for its GPUs, and the network for the X server.
  ::setenv("HWLOC_COMPONENTS", "-gl", 0);
  attnlab::mpi::MpiRanks ranks(&argc, &argv);
  const attnlab::cli::Job job{ranks, nursery};
  if (ranks.rank() == 0) return attnlab::cli::lead_job(job, argc, argv);
  attnlab::cli::follow_job(job);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  attnlab::base::settle_process();
  if (!uses_ranks(argc, argv)) return attnlab::cli::main(argc, argv);
  try {
    return run_as_rank(argc, argv);
  } catch (const attnlab::base::UserError& error) {
    std::cerr << "error: " << error.what() << "\n";
    return static_cast<int>(error.exit());
  }
}
