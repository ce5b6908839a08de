// The host table that an instance sees: threads, log, metrics, cancellation, weights.
#pragma once

#include <attnlab/abi.h>

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/io/archive.hpp"

namespace attnlab::plugin {

/// One per instance; outlives it. Thread-safe.
class HostContext {
 public:
  explicit HostContext(std::string owner);
  HostContext(const HostContext&) = delete;
  HostContext& operator=(const HostContext&) = delete;

  const attnlab_host* table() const { return &table_; }
  const std::string& owner() const { return owner_; }
  /// Values reported through `metric`, by name.
  std::map<std::string, std::vector<double>> metrics() const;

  /// True once after a body of `parallel_for` changed the floating-point mode of its thread (restored by
  /// then).
  bool take_fpu_change() { return fpu_changed_.exchange(false); }

  /// Asks every instance to stop at its next poll.
  static void cancel_all();
  static bool cancelled();

 private:
  attnlab_status open_artifact(const std::string& path, const std::string& name, attnlab_tensor& tensor);

  std::string owner_;
  attnlab_host table_{};
  mutable std::mutex mutex_;
  std::map<std::string, std::vector<double>> metrics_;
  /// A weight file and what was read of it; views of the plugin point into these, so nothing is dropped.
  struct WeightFile {
    io::Archive archive;
    std::map<std::string, tensor::Tensor> tensors;
  };
  std::map<std::string, WeightFile> weight_files_;
  std::atomic<bool> fpu_changed_{false};
};

}  // namespace attnlab::plugin
