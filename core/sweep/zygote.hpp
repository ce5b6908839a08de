// Trials in processes of their own: whatever a plugin does, it costs one trial.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>

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

/// A process that forks a runner for each trial, watches over it and tells what became of it. It dies with
/// the process that made it, and its runner with it; Ctrl-C of the terminal reaches neither.
///
/// It knows nothing of pools. [one thread]
class Zygote {
 public:
  /// Forks: the calling process must have one thread. Throws UserError (Exit::failed) when it cannot.
  explicit Zygote(const ZygoteOptions& options);
  /// Ends the zygote and its runner at once.
  ~Zygote();
  Zygote(const Zygote&) = delete;
  Zygote& operator=(const Zygote&) = delete;

  /// Hands a trial over; trials run one after another. Only `id` and `config` travel. A dead zygote takes
  /// trials too: `receive` tells of its death. Returns the bytes that travel.
  size_t send(const Trial& trial);
  /// A trial as `trial_message` writes it.
  void pass(const std::string& message);
  /// Waits for the outcome of the oldest trial that has none. None: the zygote is dead, and the trial that it
  /// ran with it.
  std::optional<Outcome> receive();
  /// Becomes readable when `receive` would not wait.
  int descriptor() const { return socket_; }
  pid_t process() const { return process_; }

 private:
  int socket_ = -1;
  pid_t process_ = -1;
};

/// What becomes of a trial whose zygote, or who stands for it, died under it.
Outcome death_of_watcher(const std::string& id);

/// What travels to a zygote and back.
std::string trial_message(const Trial& trial);
std::string outcome_message(const Outcome& outcome);
Outcome read_outcome(const std::string& message);

/// The parent's death will be this process's; at once where it came before. Ctrl-C of the terminal
/// and SIGUSR1 are the parent's affair, and so is every open file but the standard streams and `socket`.
void belong_to(pid_t parent, int socket);

/// "512 MiB", for people.
std::string bytes_text(uint64_t bytes);

}  // namespace attnlab::sweep
