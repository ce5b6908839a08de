// MPI's ranks. The only home of MPI.
#pragma once

#include <list>
#include <string>

#include "core/base/ranks.hpp"

namespace attnlab::mpi {

/// All processes of MPI_COMM_WORLD. One object a process, which initialises MPI and finalises it; an error of
/// MPI ends the job, as is MPI's custom.
class MpiRanks : public base::Ranks {
 public:
  MpiRanks(int* argc, char*** argv);
  /// Waits until what it sent is on its way; a job whose ranks do not take their messages is aborted.
  ~MpiRanks() override;
  MpiRanks(const MpiRanks&) = delete;
  MpiRanks& operator=(const MpiRanks&) = delete;

  int rank() const override { return rank_; }
  int count() const override { return count_; }
  void send(int to, const std::string& bytes) override;
  std::optional<Message> receive(int from, double seconds) override;

 private:
  struct Sending;
  /// Forgets what has been sent.
  void sweep_out();

  int rank_ = 0, count_ = 1;
  std::list<Sending> sending_;
};

}  // namespace attnlab::mpi
