// mpirun as tests use it: on this machine alone, as whatever user, in containers.
#pragma once

#include <string>
#include <vector>

namespace attnlab::cli_test {

/// False: CMake found no MPI, and these tests skip.
inline bool has_mpi() {
  return !std::string(ATTNLAB_MPIEXEC).empty();
}

/// The command line of attnlab-mpi on so many ranks.
inline std::vector<std::string> on_ranks(int ranks, const std::vector<std::string>& words) {
  // Copies between processes by ptrace's rights are forbidden in many containers; the allowance for root is
  // an environment variable alone.
  std::vector<std::string> all = {"/usr/bin/env",
                                  "OMPI_ALLOW_RUN_AS_ROOT=1",
                                  "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1",
                                  "OMPI_MCA_pml=ob1",
                                  "OMPI_MCA_btl=self,vader",
                                  "OMPI_MCA_btl_vader_single_copy_mechanism=none",
                                  ATTNLAB_MPIEXEC,
                                  "--oversubscribe",
                                  "--bind-to",
                                  "none",
                                  "-n",
                                  std::to_string(ranks),
                                  ATTNLAB_MPI_PROGRAM};
  all.insert(all.end(), words.begin(), words.end());
  return all;
}

}  // namespace attnlab::cli_test
