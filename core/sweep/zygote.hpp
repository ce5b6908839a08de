// Trials in processes of their own: whatever a plugin does, it costs one trial.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "core/sweep/child.hpp"
#include "core/sweep/trial.hpp"

namespace attnlab::sweep {

/// What a trial may take; 0: as much as it likes.
struct Limits {
  double seconds = 0;         ///< of wall clock
  uint64_t memory_bytes = 0;  ///< of private memory (RLIMIT_DATA); mapped input files do not count
};

/// What a runner does with a trial. Runs in the runner; an exception is a failed trial.
using Work = std::function<std::map<std::string, double>(const Trial&)>;

struct ZygoteOptions {
  Limits limits;
  Work work;
  std::function<void()> prepare;  ///< runs once in the zygote: what its runners then share, such as plugins
};

/// A process that forks a runner for each trial, watches over it and tells what became of it. Its runner dies
/// with it.
///
/// It knows nothing of pools. [one thread]
class Zygote {
 public:
  /// Forks, as Child does.
  explicit Zygote(const ZygoteOptions& options);

  /// Hands a trial over; trials run one after another. Only `id` and `config` travel. Returns the bytes that
  /// travel; none: the zygote is dead. One that dies later may have taken it: `receive` tells of its death.
  std::optional<size_t> send(const Trial& trial);
  /// A trial as `trial_message` writes it. False: the zygote is dead.
  bool pass(const std::string& message);
  /// Waits for the outcome of the oldest trial that has none. None: the zygote is dead, and the trial that it
  /// ran with it.
  std::optional<Outcome> receive();
  /// Becomes readable when `receive` would not wait.
  int descriptor() const { return child_.socket(); }
  pid_t process() const { return child_.process(); }

 private:
  Child child_;
};

/// What becomes of a trial whose zygote, or who stands for it, died under it.
Outcome death_of_watcher(const std::string& id);

/// What travels to a zygote and back.
std::string trial_message(const Trial& trial);
std::string outcome_message(const Outcome& outcome);
Outcome read_outcome(const std::string& message);

/// "512 MiB", for people.
std::string bytes_text(uint64_t bytes);

}  // namespace attnlab::sweep
