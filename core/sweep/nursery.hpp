// What a rank of an MPI job forks before MPI_Init, so that trials, and whatever they do to their processes,
// have nothing to do with MPI.
#pragma once

#include <sys/types.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/plugin/catalog.hpp"
#include "core/sweep/zygote.hpp"

namespace attnlab::sweep {

/// What a nursery must know to run trials as the process would that planned them.
struct NurseryTask {
  plugin::SearchPath search;
  std::vector<std::string> required;  ///< metrics of run_trial
  std::vector<std::string> methods;   ///< to load before the first trial
  Limits limits;
  std::string simd;                            ///< name of the kernels' target, without which bits differ
  std::map<std::string, std::string> plugins;  ///< plugin_hashes of who planned
};
/// One line.
std::string task_message(const NurseryTask& task);

/// Hash of the file of each method, to tell whether another machine has the same plugins.
std::map<std::string, std::string> plugin_hashes(const plugin::Catalog& catalog);

/// A process of one thread that keeps a zygote, and replaces one that dies. It dies with the process that
/// made it. [one thread]
class Nursery {
 public:
  /// Forks: the calling process must have one thread. Throws UserError (Exit::failed) when it cannot.
  Nursery();
  ~Nursery();
  Nursery(const Nursery&) = delete;
  Nursery& operator=(const Nursery&) = delete;

  /// First a task_message; its answer is "", or why trials cannot be run here. Then trial_messages, each
  /// answered by an outcome_message.
  void pass(const std::string& message);
  /// Waits for the oldest answer. None: the nursery is dead.
  std::optional<std::string> receive();
  /// Becomes readable when `receive` would not wait.
  int descriptor() const { return socket_; }
  pid_t process() const { return process_; }

 private:
  int socket_ = -1;
  pid_t process_ = -1;
};

}  // namespace attnlab::sweep
