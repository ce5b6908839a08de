// Processes of one job that exchange messages: MPI ranks in attnlab-mpi, threads in tests.
#pragma once

#include <optional>
#include <string>

namespace attnlab::base {

/// This process's place among the job's, and its post. Messages between two ranks keep their order.
/// [one thread a rank]
class Ranks {
 public:
  virtual ~Ranks() = default;
  virtual int rank() const = 0;
  virtual int count() const = 0;

  /// Returns at once; the bytes are copied. At most 2 GiB - 1.
  virtual void send(int to, const std::string& bytes) = 0;

  struct Message {
    int from = 0;
    std::string bytes;
  };
  static constexpr int anyone = -1;
  static constexpr double forever = -1;
  /// The oldest message of `from`; nothing when none came in that many seconds (0: does not wait).
  virtual std::optional<Message> receive(int from, double seconds) = 0;
};

}  // namespace attnlab::base
