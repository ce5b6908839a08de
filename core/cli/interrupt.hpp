// Ctrl-C of the commands that end between two steps.
#pragma once

namespace attnlab::cli {

/// From now on the first Ctrl-C asks for the end, which plugins see too, and prints `message` (static text)
/// to stderr; the second ends the process at once with Exit::interrupted, whatever runs. SIGUSR1 is a Ctrl-C
/// too: mpirun passes it on, and Slurm sends it before a job's time is up (sbatch --signal=B:USR1@60).
void catch_interrupt(const char* message = "");
/// Ctrl-C was pressed.
bool interrupted();

}  // namespace attnlab::cli
