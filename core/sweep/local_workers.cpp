#include <poll.h>
#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>

#include "core/base/error.hpp"
#include "core/sweep/workers.hpp"

namespace attnlab::sweep {
namespace {

/// 0: unknown.
uint64_t available_memory() {
  std::ifstream file("/proc/meminfo");
  for (std::string name, unit; file >> name;) {
    uint64_t value = 0;
    if (!(file >> value)) return 0;
    if (name == "MemAvailable:") return value << 10;
    std::getline(file, unit);
  }
  return 0;
}

class LocalWorkers : public Workers {
 public:
  LocalWorkers(int count, ZygoteOptions options) : options_(std::move(options)) {
    for (int i = 0; i < count; ++i) zygotes_.push_back(std::make_unique<Zygote>(options_));
  }
  int count() const override { return static_cast<int>(zygotes_.size()); }
  std::optional<size_t> send(int worker, const Trial& trial) override { return zygote(worker)->send(trial); }
  std::optional<Outcome> receive(int worker) override { return zygote(worker)->receive(); }
  bool renew(int worker) override {
    try {
      zygote(worker) = std::make_unique<Zygote>(options_);
    } catch (const base::UserError&) {
      return false;
    }
    return true;
  }
  std::vector<int> wait(const std::vector<int>& workers, double seconds) override {
    std::vector<pollfd> watched;
    for (const int worker : workers) watched.push_back({zygote(worker)->descriptor(), POLLIN, 0});
    ::poll(watched.data(), watched.size(), static_cast<int>(std::ceil(seconds * 1000)));
    std::vector<int> ready;
    for (size_t i = 0; i < workers.size(); ++i) {
      if (watched[i].revents != 0) ready.push_back(workers[i]);
    }
    return ready;
  }

 private:
  std::unique_ptr<Zygote>& zygote(int worker) { return zygotes_[static_cast<size_t>(worker)]; }

  ZygoteOptions options_;
  std::vector<std::unique_ptr<Zygote>> zygotes_;
};

}  // namespace

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

int default_workers(const Limits& limits) {
  const int cores = usable_cores();
  const uint64_t available = available_memory();
  if (limits.memory_bytes == 0 || available == 0) return cores;
  return static_cast<int>(
      std::clamp<uint64_t>(available / limits.memory_bytes, 1, static_cast<uint64_t>(cores)));
}

std::unique_ptr<Workers> local_workers(int count, ZygoteOptions options) {
  return std::make_unique<LocalWorkers>(std::max(count, 1), std::move(options));
}

}  // namespace attnlab::sweep
