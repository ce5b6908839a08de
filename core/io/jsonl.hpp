// Append-only files of one JSON object per line: the store of runs and sweeps.
#pragma once

#include <mutex>
#include <string>

#include "core/io/atomic_file.hpp"
#include "core/io/json.hpp"

namespace attnlab::io {

/// Appends lines; each reaches the kernel in one write before `append` returns, so a crash of the process
/// loses no finished line. A line that an earlier crash cut off is ended first and stays by itself.
/// Non-finite numbers become null and invalid UTF-8 becomes U+FFFD, as JSON has neither.
/// Thread safety: `append` may be called from any thread.
class JsonlWriter {
 public:
  /// Creates the file when it is missing. Throws UserError (Exit::failed) when it cannot be written.
  explicit JsonlWriter(const std::string& path);
  void append(const Json& record);

 private:
  std::mutex mutex_;
  OutputFile output_;
};

}  // namespace attnlab::io
