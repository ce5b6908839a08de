// Seconds of wall clock.
#pragma once

#include <chrono>

namespace attnlab::base {

/// Runs from its construction.
class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// Adds the seconds from its construction to its destruction to `total`, which must outlive it.
class StopwatchInto {
 public:
  explicit StopwatchInto(double& total) : total_(total) {}
  ~StopwatchInto() { total_ += watch_.seconds(); }
  StopwatchInto(const StopwatchInto&) = delete;
  StopwatchInto& operator=(const StopwatchInto&) = delete;

 private:
  double& total_;
  Stopwatch watch_;
};

}  // namespace attnlab::base
