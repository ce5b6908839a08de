// A pool of zygotes on this machine.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "core/sweep/zygote.hpp"

namespace attnlab::sweep {

/// Zygotes that this machine bears: one a core that this process may use, fewer where `memory_bytes` a trial
/// would not fit the memory that is available.
int default_workers(const Limits& limits);

/// A trial and what became of it.
struct Finished {
  const Trial* trial;
  Outcome outcome;
};

/// Hands trials to whichever zygote is free. A zygote that dies costs the trial that it ran and is replaced.
/// [one thread, the process's only one]
class LocalExecutor {
 public:
  LocalExecutor(int workers, ZygoteOptions options);

  struct Events {
    /// Outcomes in the order of their arrival, several where they came together; while it runs, zygotes go on
    /// with trials that they have been given. May throw, which ends `run`.
    std::function<void(const std::vector<Finished>&)> on_finished;
    /// Polled; true: no further trial starts, and `run` returns after those that run.
    std::function<bool()> stop;
    /// Called now and then; `running`: trials at work.
    std::function<void(int running)> on_tick;
  };
  /// Runs the trials, in their order as far as several at once have one. True: all were run; false: stopped.
  bool run(const std::vector<Trial>& trials, const Events& events);

  int workers() const { return static_cast<int>(workers_.size()); }

 private:
  struct Worker {
    std::unique_ptr<Zygote> zygote;
    std::vector<const Trial*> given;  ///< the first of them runs
    size_t given_bytes = 0;
  };
  /// How many trials a zygote is given at once.
  size_t depth() const;
  void give(const std::vector<Trial>& trials, size_t& next);
  void take(Worker& worker, std::vector<Finished>& finished, std::vector<const Trial*>& lost);
  /// Ends the worker's zygote and whatever it runs; `lost`: the trials that it was given.
  void replace(Worker& worker, std::vector<const Trial*>& lost);

  ZygoteOptions options_;
  std::vector<Worker> workers_;
  double mean_seconds_ = -1;  ///< of a trial, the latest weighing most; -1: unknown
};

}  // namespace attnlab::sweep
