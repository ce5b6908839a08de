#include "core/measure/kernel_bench/roof.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <ctime>
#include <fstream>
#include <string>

#include "core/base/parallel.hpp"

namespace attnlab::measure {
namespace {

constexpr int64_t MiB = int64_t{1} << 20;

double seconds_of(clockid_t clock) {
  timespec time{};
  ::clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

/// body(i) for i in [0, count), on this thread or on all.
template <class Body>
double timed(int64_t count, int threads, const Body& body) {
  const Instant start = Instant::now();
  if (threads == 1) {
    for (int64_t i = 0; i < count; ++i) body(i);
  } else {
    base::parallel_for(count, [&](int64_t i, int) { body(i); });
  }
  return elapsed(start, Instant::now(), threads);
}

}  // namespace

Instant Instant::now() {
  return {seconds_of(CLOCK_MONOTONIC), seconds_of(CLOCK_PROCESS_CPUTIME_ID)};
}

double elapsed(const Instant& start, const Instant& end, int threads) {
  return std::max(1e-9, threads == 1 ? end.cpu - start.cpu : end.wall - start.wall);
}

RoofProbe::RoofProbe(const kernels::KernelTable& kernels, int64_t buffer_bytes, int64_t sample_bytes)
    : kernels_(&kernels),
      count_(buffer_bytes / static_cast<int64_t>(sizeof(float))),
      sample_count_(sample_bytes / static_cast<int64_t>(sizeof(float))),
      buffer_(new float[static_cast<size_t>(count_)]) {
  const int64_t piece = MiB;
  base::parallel_for((count_ + piece - 1) / piece, [&](int64_t i, int) {
    std::fill(buffer_.get() + i * piece, buffer_.get() + std::min(count_, (i + 1) * piece), 1.0F);
  });
}

RoofProbe RoofProbe::for_machine(const kernels::KernelTable& kernels, bool quick) {
  if (quick) {
    RoofProbe probe(kernels, MiB, MiB / 4);
    probe.steps_ = 10;
    return probe;
  }
  const int64_t cache = last_level_cache_bytes();
  const int64_t buffer = std::clamp(std::min(4 * cache, available_memory_bytes() / 8), 256 * MiB, 2048 * MiB);
  // As much as the cache holds: what ran before finds nothing of its own in the caches.
  return {kernels, buffer, std::clamp(cache, 64 * MiB, buffer / 2)};
}

Roof RoofProbe::sample(int threads) {
  return {sample_flops(threads), sample_read(threads)};
}

double RoofProbe::sample_flops(int threads) {
  // Small pieces, so that a thread that starts late does not make the others wait long.
  const int64_t pieces = 64;
  std::atomic<double> flops{0};
  std::atomic<float> sink{0};
  const double seconds = timed(pieces * threads, threads, [&](int64_t) {
    float seed = 1;
    flops += kernels_->multiply_adds(steps_, seed);
    sink = seed;
  });
  return flops / seconds;
}

double RoofProbe::sample_read(int threads) {
  if (place_ + sample_count_ > count_) place_ = 0;
  const float* from = buffer_.get() + place_;
  place_ += sample_count_;
  const int64_t piece = std::min(MiB, sample_count_ / 8);
  std::atomic<float> sink{0};
  const double seconds = timed((sample_count_ + piece - 1) / piece, threads, [&](int64_t i) {
    sink = kernels_->read(from + i * piece, std::min(piece, sample_count_ - i * piece));
  });
  return static_cast<double>(sample_count_) * sizeof(float) / seconds;
}

int64_t last_level_cache_bytes() {
  int64_t largest = 0;
  for (int index = 0;; ++index) {
    // "32768K"
    std::ifstream size(fmt::format("/sys/devices/system/cpu/cpu0/cache/index{}/size", index));
    int64_t kibibytes = 0;
    if (!(size >> kibibytes)) return largest;
    largest = std::max(largest, kibibytes * 1024);
  }
}

int64_t available_memory_bytes() {
  std::ifstream info("/proc/meminfo");
  for (std::string name; info >> name;) {
    int64_t kibibytes = 0;
    if (name == "MemAvailable:" && info >> kibibytes) return kibibytes * 1024;
    info.ignore(1 << 10, '\n');
  }
  return 1024 * MiB;
}

}  // namespace attnlab::measure
