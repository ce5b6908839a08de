// Runs the probes of kernels/probe with as many threads as a kernel has.
#pragma once

#include <cstdint>
#include <memory>

#include "core/kernels/table.hpp"

namespace attnlab::measure {

/// A point in time on two clocks, in seconds.
struct Instant {
  double wall = 0;
  double cpu = 0;  ///< CPU time of all threads of the process

  static Instant now();
};

/// Seconds from `start` to `end` as they count for work on `threads` threads: CPU time for one, which other
/// processes hardly disturb, else wall time.
double elapsed(const Instant& start, const Instant& end, int threads);

/// What the machine gave at most at one moment.
struct Roof {
  double flops = 0;       ///< multiply-adds between registers, floating-point operations per second
  double read_bytes = 0;  ///< read from memory, bytes per second
};

/// Takes samples of the roof. [main thread]
class RoofProbe {
 public:
  /// Reads go round a buffer of `buffer_bytes`, which should be several times the last-level cache, and each
  /// sample reads `sample_bytes` of it.
  RoofProbe(const kernels::KernelTable& kernels, int64_t buffer_bytes, int64_t sample_bytes);
  /// As above, sized for this machine; `quick`: samples of microseconds from a small buffer, worth nothing.
  static RoofProbe for_machine(const kernels::KernelTable& kernels, bool quick);

  /// One sample with `threads` threads, 1 or base::thread_count(): some milliseconds. Leaves the caches full
  /// of its own buffer.
  Roof sample(int threads);

 private:
  double sample_flops(int threads);
  double sample_read(int threads);

  const kernels::KernelTable* kernels_;
  int64_t count_, sample_count_;  ///< floats
  std::shared_ptr<float[]> buffer_;
  int64_t place_ = 0;
  int64_t steps_ = 1000;  ///< of multiply_adds in each piece
};

/// Bytes of the last-level cache; 0 when the system does not say.
int64_t last_level_cache_bytes();
/// Bytes of memory that can be had without swapping.
int64_t available_memory_bytes();

}  // namespace attnlab::measure
