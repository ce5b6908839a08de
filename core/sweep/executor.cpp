#include "core/sweep/executor.hpp"

#include <algorithm>
#include <chrono>

#include "core/base/error.hpp"

namespace attnlab::sweep {
namespace {

/// A worker is given ahead what it does in this time, so that it does not wait while results are saved: an
/// fsync takes milliseconds. More would leave other workers idle at the end.
constexpr double seconds_ahead = 0.02;
constexpr size_t most_ahead = 32;
/// Of trials that wait in a socket: less than its buffer, so that `send` does not block.
constexpr size_t bytes_ahead = size_t{64} << 10;
/// Outcomes wait this long for others, to be told together: what is told is saved, with an fsync each time.
constexpr double seconds_together = 0.01;
/// Between two looks at `stop`.
constexpr double tick_seconds = 0.2;

}  // namespace

Executor::Executor(std::unique_ptr<Workers> workers)
    : workers_(std::move(workers)), queues_(static_cast<size_t>(workers_->count())) {}

size_t Executor::depth() const {
  if (mean_seconds_ < 0) return 1;
  return std::clamp<size_t>(static_cast<size_t>(seconds_ahead / std::max(mean_seconds_, 1e-6)), 1,
                            most_ahead);
}

void Executor::hand(int worker, const Trial& trial) {
  Queue& queue = queues_[static_cast<size_t>(worker)];
  auto sent = workers_->send(worker, trial);
  // A worker that died while it had nothing to do costs no trial.
  if (!sent && queue.given.empty()) {
    if (workers_->renew(worker)) sent = workers_->send(worker, trial);
    queue.alive = sent.has_value();
    if (!sent) return lost_.push_back(&trial);
  }
  queue.bytes += sent.value_or(0);
  queue.given.push_back(&trial);
}

void Executor::give(const std::vector<Trial>& trials, size_t& next) {
  // Round by round, so that the last trials are spread over all workers.
  for (size_t level = 1; level <= depth(); ++level) {
    for (int worker = 0; worker < workers(); ++worker) {
      const Queue& queue = queues_[static_cast<size_t>(worker)];
      if (!queue.alive || queue.given.size() >= level) continue;
      if (!queue.given.empty() && queue.bytes > bytes_ahead) continue;
      if (!lost_.empty()) {
        const Trial& trial = *lost_.back();
        lost_.pop_back();
        hand(worker, trial);
      } else if (next < trials.size()) {
        hand(worker, trials[next++]);
      } else {
        return;
      }
    }
  }
}

bool Executor::renew(int worker) {
  if (!workers_->renew(worker)) return false;
  Queue& queue = queues_[static_cast<size_t>(worker)];
  lost_.insert(lost_.end(), queue.given.begin(), queue.given.end());
  queue = {};
  return true;
}

bool Executor::take(int worker, std::vector<Finished>& finished) {
  Queue& queue = queues_[static_cast<size_t>(worker)];
  auto outcome = workers_->receive(worker);
  const Trial* trial = queue.given.front();
  queue.given.erase(queue.given.begin());
  if (queue.given.empty()) queue.bytes = 0;
  if (outcome && outcome->id == trial->id) {
    constexpr double weight = 0.1;
    mean_seconds_ =
        mean_seconds_ < 0 ? outcome->seconds : (1 - weight) * mean_seconds_ + weight * outcome->seconds;
    finished.push_back({trial, std::move(*outcome)});
    return true;
  }
  finished.push_back({trial, death_of_watcher(trial->id)});
  if (renew(worker)) return false;
  queue.alive = false;
  lost_.insert(lost_.end(), queue.given.begin(), queue.given.end());
  queue.given.clear();
  return false;
}

std::vector<int> Executor::busy() const {
  std::vector<int> busy;
  for (int worker = 0; worker < workers_->count(); ++worker) {
    if (!queues_[static_cast<size_t>(worker)].given.empty()) busy.push_back(worker);
  }
  return busy;
}

bool Executor::run(const std::vector<Trial>& trials, const Events& events) {
  using Clock = std::chrono::steady_clock;
  size_t next = 0;
  lost_.clear();
  std::vector<Finished> finished;
  Clock::time_point first;
  while (true) {
    const bool stop = events.stop && events.stop();
    if (!stop) give(trials, next);
    const std::vector<int> waiting = busy();
    const bool all = next == trials.size() && lost_.empty();
    if (waiting.empty()) {
      if (all || stop) return all;
      throw base::UserError("no process is left that could run trials", {}, base::Exit::failed);
    }
    if (events.on_tick) events.on_tick(static_cast<int>(waiting.size()));
    const bool any = !finished.empty();
    for (const int worker : workers_->wait(waiting, any ? seconds_together : tick_seconds)) {
      // All that this worker has told, without waiting for more.
      const auto& given = queues_[static_cast<size_t>(worker)].given;
      do {
        if (!take(worker, finished)) break;
        if (stop && !given.empty() && renew(worker)) break;
      } while (!given.empty() && !workers_->wait({worker}, 0).empty());
    }
    if (finished.empty()) continue;
    if (!any) first = Clock::now();
    if (!stop) give(trials, next);
    const bool soon = Clock::now() - first < std::chrono::duration<double>(seconds_together);
    if (soon && !busy().empty()) continue;
    events.on_finished(finished);
    finished.clear();
  }
}

}  // namespace attnlab::sweep
