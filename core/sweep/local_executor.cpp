#include "core/sweep/local_executor.hpp"

#include <fmt/core.h>
#include <poll.h>
#include <sched.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <string>

namespace attnlab::sweep {
namespace {

/// A worker is given ahead what it does in this time, so that it does not wait while results are saved: an
/// fsync takes milliseconds. More would leave other workers idle at the end.
constexpr double seconds_ahead = 0.02;
constexpr size_t most_ahead = 32;
/// Of trials that wait in a socket: less than its buffer, so that `send` does not block.
constexpr size_t bytes_ahead = size_t{64} << 10;

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

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

}  // namespace

int default_workers(const Limits& limits) {
  const int cores = usable_cores();
  const uint64_t available = available_memory();
  if (limits.memory_bytes == 0 || available == 0) return cores;
  return static_cast<int>(
      std::clamp<uint64_t>(available / limits.memory_bytes, 1, static_cast<uint64_t>(cores)));
}

LocalExecutor::LocalExecutor(int workers, ZygoteOptions options) : options_(std::move(options)) {
  for (int i = 0; i < std::max(workers, 1); ++i) {
    workers_.emplace_back();
    workers_.back().zygote = std::make_unique<Zygote>(options_);
  }
}

size_t LocalExecutor::depth() const {
  if (mean_seconds_ < 0) return 1;
  return std::clamp<size_t>(static_cast<size_t>(seconds_ahead / std::max(mean_seconds_, 1e-6)), 1,
                            most_ahead);
}

void LocalExecutor::give(const std::vector<Trial>& trials, size_t& next) {
  // Round by round, so that the last trials are spread over all workers.
  for (size_t level = 1; level <= depth(); ++level) {
    for (Worker& worker : workers_) {
      if (next == trials.size()) return;
      if (worker.given.size() >= level) continue;
      if (!worker.given.empty() && worker.given_bytes > bytes_ahead) continue;
      worker.given_bytes += worker.zygote->send(trials[next]);
      worker.given.push_back(&trials[next++]);
    }
  }
}

void LocalExecutor::take(Worker& worker, std::vector<Finished>& finished, std::vector<const Trial*>& lost) {
  auto outcome = worker.zygote->receive();
  const Trial* trial = worker.given.front();
  if (outcome && outcome->id == trial->id) {
    constexpr double weight = 0.1;
    mean_seconds_ =
        mean_seconds_ < 0 ? outcome->seconds : (1 - weight) * mean_seconds_ + weight * outcome->seconds;
    worker.given.erase(worker.given.begin());
    if (worker.given.empty()) worker.given_bytes = 0;
    finished.push_back({trial, std::move(*outcome)});
    return;
  }
  Outcome death;
  death.id = trial->id;
  death.signal = SIGKILL;
  death.reason = "the process that watches over trials died, perhaps for want of memory";
  finished.push_back({trial, std::move(death)});
  worker.given.erase(worker.given.begin());
  replace(worker, lost);
}

void LocalExecutor::replace(Worker& worker, std::vector<const Trial*>& lost) {
  lost.insert(lost.end(), worker.given.begin(), worker.given.end());
  worker.given.clear();
  worker.given_bytes = 0;
  worker.zygote.reset();
  worker.zygote = std::make_unique<Zygote>(options_);
}

bool LocalExecutor::run(const std::vector<Trial>& trials, const Events& events) {
  size_t next = 0;
  std::vector<const Trial*> lost;
  while (true) {
    const bool stop = events.stop && events.stop();
    if (!stop) {
      for (Worker& worker : workers_) {
        if (lost.empty()) break;
        if (!worker.given.empty()) continue;
        worker.zygote->send(*lost.back());
        worker.given.push_back(lost.back());
        lost.pop_back();
      }
      give(trials, next);
    }
    std::vector<pollfd> watched;
    std::vector<Worker*> busy;
    for (Worker& worker : workers_) {
      if (worker.given.empty()) continue;
      watched.push_back({worker.zygote->descriptor(), POLLIN, 0});
      busy.push_back(&worker);
    }
    if (busy.empty()) return next == trials.size() && lost.empty();
    if (events.on_tick) events.on_tick(static_cast<int>(busy.size()));
    ::poll(watched.data(), watched.size(), 200);
    std::vector<Finished> finished;
    for (size_t i = 0; i < busy.size(); ++i) {
      // All that this worker has told, without waiting for more.
      for (pollfd one{watched[i].fd, POLLIN, 0}; !busy[i]->given.empty() && ::poll(&one, 1, 0) > 0;) {
        const Zygote* before = busy[i]->zygote.get();
        take(*busy[i], finished, lost);
        if (stop && !busy[i]->given.empty()) replace(*busy[i], lost);
        if (busy[i]->zygote.get() != before) break;
      }
    }
    if (finished.empty()) continue;
    if (!stop) give(trials, next);
    events.on_finished(finished);
  }
}

}  // namespace attnlab::sweep
