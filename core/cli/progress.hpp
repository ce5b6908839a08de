// Progress of long work on stderr: one line that rewrites itself on a terminal, a plain line now and then
// elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace attnlab::cli {

/// Silent for work under a second. Not thread-safe.
class Progress {
 public:
  Progress(std::string what, bool quiet);
  ~Progress();
  /// `note`: a few words behind the bar.
  void update(int64_t done, int64_t total, const std::string& note = "");

 private:
  std::string what_;
  bool quiet_, terminal_, drawn_ = false;
  std::chrono::steady_clock::time_point start_, last_;
};

}  // namespace attnlab::cli
