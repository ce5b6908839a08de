// What a rank of an MPI job forks before MPI_Init, so that trials, and whatever they do to their processes,
// have nothing to do with MPI.
#pragma once

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

/// A process of one thread that keeps a zygote, and replaces one that dies; its zygote dies with it.
/// [one thread]
class Nursery {
 public:
  /// Forks, as Child does.
  Nursery();

  /// First a task_message; its answer is "", or why trials cannot be run here. Then trial_messages, each
  /// answered by an outcome_message.
  void pass(const std::string& message);
  /// Waits for the oldest answer. None: the nursery is dead.
  std::optional<std::string> receive();
  /// Becomes readable when `receive` would not wait.
  int descriptor() const { return child_.socket(); }
  pid_t process() const { return child_.process(); }

 private:
  Child child_;
};

}  // namespace attnlab::sweep
