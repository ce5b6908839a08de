// What the ranks of a sharded run say to each other: tagged messages, errors that end the run everywhere.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "core/base/ranks.hpp"

namespace attnlab::measure {

/// One rank's end of a run's messages, from its first to its last. Whatever happens, every rank that leaves
/// `lead` or `follow` has received all that was sent to it. [one thread]
class Exchange {
 public:
  enum class Kind : uint8_t { masks, selected, partial, summary, error, stop, drained };

  /// Larger messages are sent in pieces of so many bytes.
  explicit Exchange(base::Ranks& ranks, size_t piece_bytes = size_t{1} << 30);

  int rank() const { return ranks_.rank(); }
  int count() const { return ranks_.count(); }

  /// Runs rank 0's part. An error of it, or that another rank tells of, ends the others' parts and is thrown.
  void lead(const std::function<void()>& body);
  /// Runs another rank's part; an error goes to rank 0. Returns when rank 0 has ended the run.
  void follow(const std::function<void()>& body);

  /// Does not wait; a message to the rank itself costs nothing.
  void send(int to, Kind kind, uint64_t tag, std::string bytes);
  /// Inside `lead` or `follow`, which an error elsewhere ends from here.
  std::string wait(int from, Kind kind, uint64_t tag);

  /// Takes what has come, without waiting: whoever works on without waiting for anybody hears in this way of
  /// an error elsewhere, or of the end.
  void poll();

  /// Called a few times a second while rank 0 waits, and when it polls; may throw.
  std::function<void()> on_wait;

  uint64_t sent_bytes() const { return sent_bytes_; }
  double wait_seconds() const { return wait_seconds_; }

 private:
  struct Stopped {};
  using Key = std::tuple<int, Kind, uint64_t>;
  bool receive(double seconds);
  void receive_patiently();
  void accept(int from, Kind kind, uint64_t tag, std::string bytes);
  void drain();

  base::Ranks& ranks_;
  size_t piece_bytes_;
  std::map<Key, std::deque<std::string>> arrived_;
  std::vector<std::string> pieces_;  ///< by rank: of a message that is not complete
  std::vector<bool> drained_;        ///< by rank: sends nothing more
  bool stopped_ = false;
  uint64_t sent_bytes_ = 0;
  double wait_seconds_ = 0;
};

}  // namespace attnlab::measure
