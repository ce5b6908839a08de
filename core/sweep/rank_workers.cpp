#include "core/sweep/rank_workers.hpp"

#include <fmt/core.h>
#include <poll.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <deque>

#include "core/base/error.hpp"

namespace attnlab::sweep {
namespace {

using base::Ranks;
using Clock = std::chrono::steady_clock;

/// Messages begin with what they are.
constexpr char for_nursery = 'n', the_end = 'e', answer = 'a', dead = 'd';

/// Between two looks at the mail of ranks while nothing comes: the processor belongs to the trials.
class Patience {
 public:
  /// Waits for this nursery, but not long.
  bool readable(const Nursery& nursery) {
    pollfd watched{nursery.descriptor(), POLLIN, 0};
    const timespec pause{0, nanoseconds_};
    return ::ppoll(&watched, 1, &pause, nullptr) > 0;
  }
  /// As long, for nothing: a dead nursery would always be readable.
  void wait() const {
    const timespec pause{0, nanoseconds_};
    ::nanosleep(&pause, nullptr);
  }
  void nothing_came() { nanoseconds_ = std::min(nanoseconds_ * 2, long{1'000'000}); }
  void something_came() { nanoseconds_ = shortest; }

 private:
  static constexpr long shortest = 20'000;
  long nanoseconds_ = shortest;
};

class RankWorkers : public Workers {
 public:
  RankWorkers(Ranks& ranks, Nursery& nursery, const NurseryTask& task)
      : ranks_(ranks), nursery_(nursery), told_(static_cast<size_t>(ranks.count())) {
    const std::string message = task_message(task);
    nursery_.pass(message);
    for (int rank = 1; rank < ranks_.count(); ++rank) ranks_.send(rank, for_nursery + message);
    for (int rank = 0; rank < ranks_.count(); ++rank) {
      const auto refusal = rank == 0 ? nursery_.receive() : told_by(rank);
      if (refusal && refusal->empty()) continue;
      end();
      throw base::UserError(
          fmt::format("rank {} cannot run trials: {}", rank, refusal.value_or("its process died")), {},
          base::Exit::failed);
    }
  }
  ~RankWorkers() override { end(); }

  int count() const override { return ranks_.count(); }

  std::optional<size_t> send(int worker, const Trial& trial) override {
    const std::string message = trial_message(trial);
    if (worker == 0) {
      nursery_.pass(message);
    } else {
      ranks_.send(worker, for_nursery + message);
    }
    return message.size();
  }

  std::vector<int> wait(const std::vector<int>& workers, double seconds) override {
    const auto end = Clock::now() + std::chrono::duration<double>(seconds);
    Patience patience;
    while (true) {
      take_mail();
      std::vector<int> ready;
      const bool mine = nursery_waits(workers) && readable();
      for (const int worker : workers) {
        if (worker == 0 ? mine : !told_[static_cast<size_t>(worker)].empty()) ready.push_back(worker);
      }
      if (!ready.empty() || Clock::now() >= end) return ready;
      if (nursery_waits(workers)) {
        patience.readable(nursery_);
      } else {
        patience.wait();
      }
      patience.nothing_came();
    }
  }

  std::optional<Outcome> receive(int worker) override {
    const auto message = worker == 0 ? nursery_.receive() : told_by(worker);
    if (!message) return std::nullopt;
    return read_outcome(*message);
  }

  /// What was forked before MPI_Init cannot be forked again.
  bool renew(int) override { return false; }

 private:
  static bool nursery_waits(const std::vector<int>& workers) {
    return std::find(workers.begin(), workers.end(), 0) != workers.end();
  }
  bool readable() const {
    pollfd watched{nursery_.descriptor(), POLLIN, 0};
    return ::poll(&watched, 1, 0) > 0;
  }
  void put(const Ranks::Message& message) {
    told_[static_cast<size_t>(message.from)].push_back(message.bytes);
  }
  void take_mail() {
    while (const auto message = ranks_.receive(Ranks::anyone, 0)) put(*message);
  }
  /// Waits for the oldest answer of a rank's nursery. None: it is dead.
  std::optional<std::string> told_by(int rank) {
    auto& told = told_[static_cast<size_t>(rank)];
    while (told.empty()) put(*ranks_.receive(Ranks::anyone, Ranks::forever));
    const std::string message = told.front();
    told.pop_front();
    if (message.empty() || message[0] == dead) return std::nullopt;
    return message.substr(1);
  }
  void end() {
    if (ended_) return;
    ended_ = true;
    for (int rank = 1; rank < ranks_.count(); ++rank) ranks_.send(rank, std::string(1, the_end));
  }

  Ranks& ranks_;
  Nursery& nursery_;
  std::vector<std::deque<std::string>> told_;  ///< by rank: what has come and was not received yet
  bool ended_ = false;
};

}  // namespace

std::unique_ptr<Workers> rank_workers(Ranks& ranks, Nursery& nursery, const NurseryTask& task) {
  return std::make_unique<RankWorkers>(ranks, nursery, task);
}

void serve_trials(Ranks& ranks, Nursery& nursery) {
  const auto is_end = [](const Ranks::Message& message) { return !message.bytes.starts_with(for_nursery); };
  Patience patience;
  while (true) {
    bool quiet = true;
    while (const auto message = ranks.receive(0, 0)) {
      if (is_end(*message)) return;
      nursery.pass(message->bytes.substr(1));
      quiet = false;
    }
    while (patience.readable(nursery)) {
      quiet = false;
      const auto told = nursery.receive();
      ranks.send(0, told ? answer + *told : std::string(1, dead));
      if (told) continue;
      while (!is_end(*ranks.receive(0, Ranks::forever))) {
      }
      return;
    }
    quiet ? patience.nothing_came() : patience.something_came();
  }
}

}  // namespace attnlab::sweep
