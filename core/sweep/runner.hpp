// One trial in a process of its own, seen from the zygote that forks it.
#pragma once

#include <string>

#include "core/sweep/zygote.hpp"

namespace attnlab::sweep {

/// Forks a runner for the trial, waits for its end within the limits, and tells what became of it. Ends this
/// process too, and the runner before, when the other end of `socket` is gone.
Outcome run_in_process(const std::string& id, const std::string& config, const ZygoteOptions& options,
                       int socket);

}  // namespace attnlab::sweep
