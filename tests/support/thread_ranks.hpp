// Ranks that are threads of this process: for tests of whatever speaks to base::Ranks.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/base/ranks.hpp"

namespace attnlab::test {

/// The post of a job: one box a rank, messages in the order of their arrival.
class Post {
 public:
  explicit Post(int count) : _boxes(count), _sent(count, 0) {}

  int count() const { return static_cast<int>(_boxes.size()); }

  void put(int from, int to, const std::string& bytes) {
    const std::lock_guard lock(_guard);
    _boxes.at(to).push_back({from, bytes});
    _sent.at(from) += static_cast<std::int64_t>(bytes.size());
    _arrived.notify_all();
  }

  std::optional<base::Ranks::Message> take(int at, int from, double seconds) {
    std::unique_lock lock(_guard);
    std::optional<base::Ranks::Message> message;
    const auto came = [&] { return message = oldest(at, from), message.has_value(); };
    if (seconds == base::Ranks::forever)
      _arrived.wait(lock, came);
    else
      _arrived.wait_for(lock, std::chrono::duration<double>(seconds), came);
    return message;
  }

  /// Messages that nobody took.
  int left() const {
    const std::lock_guard lock(_guard);
    int left = 0;
    for (const auto& box : _boxes) left += static_cast<int>(box.size());
    return left;
  }

  std::int64_t bytes_sent(int rank) const {
    const std::lock_guard lock(_guard);
    return _sent.at(rank);
  }

 private:
  std::optional<base::Ranks::Message> oldest(int at, int from) {
    auto& box = _boxes.at(at);
    for (auto message = box.begin(); message != box.end(); ++message) {
      if (from != base::Ranks::anyone && message->from != from) continue;
      auto taken = std::move(*message);
      box.erase(message);
      return taken;
    }
    return {};
  }

  mutable std::mutex _guard;
  std::condition_variable _arrived;
  std::vector<std::deque<base::Ranks::Message>> _boxes;
  std::vector<std::int64_t> _sent;
};

class ThreadRanks : public base::Ranks {
 public:
  ThreadRanks(Post& post, int rank) : _post(post), _rank(rank) {}
  int rank() const override { return _rank; }
  int count() const override { return _post.count(); }
  void send(int to, const std::string& bytes) override { _post.put(_rank, to, bytes); }
  std::optional<Message> receive(int from, double seconds) override {
    return _post.take(_rank, from, seconds);
  }

 private:
  Post& _post;
  int _rank;
};

/// Runs `body` as each rank of a job of `count`, a thread each, and waits for all. An exception of the lowest
/// rank that threw is thrown again; a rank that waits for one that threw waits forever, as it would under
/// MPI.
inline void run_ranks(Post& post, const std::function<void(base::Ranks&)>& body) {
  std::vector<std::exception_ptr> thrown(post.count());
  std::vector<std::thread> threads;
  for (int rank = 0; rank < post.count(); ++rank) {
    threads.emplace_back([&, rank] {
      ThreadRanks ranks(post, rank);
      try {
        body(ranks);
      } catch (...) {
        thrown[rank] = std::current_exception();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  for (const auto& error : thrown) {
    if (error) std::rethrow_exception(error);
  }
}

inline void run_ranks(int count, const std::function<void(base::Ranks&)>& body) {
  Post post(count);
  run_ranks(post, body);
}

}  // namespace attnlab::test
