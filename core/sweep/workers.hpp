// Who runs trials: zygotes of this machine, or ranks of a job.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "core/sweep/zygote.hpp"

namespace attnlab::sweep {

/// A fixed number of workers; each takes trials and runs them one after another. [one thread]
class Workers {
 public:
  virtual ~Workers() = default;
  virtual int count() const = 0;
  /// Hands a trial over. Returns the bytes that travel; none: the worker is known to be dead.
  virtual std::optional<size_t> send(int worker, const Trial& trial) = 0;
  /// Those of `workers` whose `receive` would not wait, within so many seconds.
  virtual std::vector<int> wait(const std::vector<int>& workers, double seconds) = 0;
  /// The outcome of the oldest trial that has none. None: the worker is dead, and that trial with it.
  virtual std::optional<Outcome> receive(int worker) = 0;
  /// Ends the worker with all that it was given and puts a new one in its place. False: it cannot; one that
  /// lives goes on with what it was given.
  virtual bool renew(int worker) = 0;
};

/// Cores that this process may use.
int usable_cores();

/// Zygotes that this machine bears: one a core that this process may use, fewer where `memory_bytes` a trial
/// would not fit the memory that is available.
int default_workers(const Limits& limits);

/// Zygotes of this process, which must have one thread as long as they live.
std::unique_ptr<Workers> local_workers(int count, ZygoteOptions options);

}  // namespace attnlab::sweep
