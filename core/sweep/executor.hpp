// Trials handed to workers: whichever is free takes the next one.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "core/sweep/workers.hpp"

namespace attnlab::sweep {

/// A trial and what became of it.
struct Finished {
  const Trial* trial;
  Outcome outcome;
};

/// Pull scheduling. A worker that dies costs the trial that it ran; what else it was given goes to others.
/// [one thread]
class Executor {
 public:
  explicit Executor(std::unique_ptr<Workers> workers);

  struct Events {
    /// Outcomes in the order of their arrival, several where they came together; while it runs, workers go on
    /// with trials that they have been given. May throw, which ends `run`.
    std::function<void(const std::vector<Finished>&)> on_finished;
    /// Polled; true: no further trial starts, and `run` returns after those that run.
    std::function<bool()> stop;
    /// Called now and then; `running`: trials at work.
    std::function<void(int running)> on_tick;
  };
  /// Runs the trials, in their order as far as several at once have one. True: all were run; false: stopped.
  /// Throws UserError (Exit::failed) when no worker is left.
  bool run(const std::vector<Trial>& trials, const Events& events);

  int workers() const { return workers_->count(); }

 private:
  struct Queue {
    std::vector<const Trial*> given;  ///< the first of them runs
    size_t bytes = 0;                 ///< of messages, at most what waits
    bool alive = true;
  };
  /// How many trials a worker is given at once.
  size_t depth() const;
  void give(const std::vector<Trial>& trials, size_t& next);
  void hand(int worker, const Trial& trial);
  /// Takes one outcome. False: the worker is a new one.
  bool take(int worker, std::vector<Finished>& finished);
  std::vector<int> busy() const;
  /// Ends whatever the worker runs; its trials are to be given anew. False: it cannot be ended.
  bool renew(int worker);

  std::unique_ptr<Workers> workers_;
  std::vector<Queue> queues_;
  std::vector<const Trial*> lost_;  ///< were given to workers that are no more
  double mean_seconds_ = -1;        ///< of a trial, the latest weighing most; -1: unknown
};

}  // namespace attnlab::sweep
