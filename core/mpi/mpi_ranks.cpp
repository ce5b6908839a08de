#include "core/mpi/mpi_ranks.hpp"

#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <ctime>

#include "core/base/error.hpp"

namespace attnlab::mpi {
namespace {

using Clock = std::chrono::steady_clock;

/// MPI polls: a rank that waits leaves its core to others, a little longer the longer it waits.
class Pause {
 public:
  void wait() {
    const timespec pause{0, nanoseconds_};
    ::nanosleep(&pause, nullptr);
    nanoseconds_ = std::min(nanoseconds_ * 2, long{1'000'000});
  }

 private:
  long nanoseconds_ = 10'000;
};

}  // namespace

struct MpiRanks::Sending {
  std::string bytes;
  MPI_Request request;
};

MpiRanks::MpiRanks(int* argc, char*** argv) {
  int provided = 0;
  // Threads of TBB run beside, but only the main thread speaks to MPI.
  MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
  MPI_Comm_size(MPI_COMM_WORLD, &count_);
}

MpiRanks::~MpiRanks() {
  constexpr double most_seconds = 30;
  const auto start = Clock::now();
  Pause pause;
  for (sweep_out(); !sending_.empty(); sweep_out()) {
    if (std::chrono::duration<double>(Clock::now() - start).count() > most_seconds)
      MPI_Abort(MPI_COMM_WORLD, static_cast<int>(base::Exit::failed));
    pause.wait();
  }
  MPI_Finalize();
}

void MpiRanks::sweep_out() {
  sending_.remove_if([](Sending& sending) {
    int sent = 0;
    MPI_Test(&sending.request, &sent, MPI_STATUS_IGNORE);
    return sent != 0;
  });
}

void MpiRanks::send(int to, const std::string& bytes) {
  ATTNLAB_CHECK(bytes.size() <= INT_MAX, "a message of more than 2 GiB");
  sweep_out();
  Sending& sending = sending_.emplace_back(Sending{bytes, MPI_REQUEST_NULL});
  MPI_Isend(sending.bytes.data(), static_cast<int>(bytes.size()), MPI_CHAR, to, 0, MPI_COMM_WORLD,
            &sending.request);
}

std::optional<base::Ranks::Message> MpiRanks::receive(int from, double seconds) {
  const auto start = Clock::now();
  Pause pause;
  while (true) {
    int found = 0;
    MPI_Message message;
    MPI_Status status;
    MPI_Improbe(from == anyone ? MPI_ANY_SOURCE : from, MPI_ANY_TAG, MPI_COMM_WORLD, &found, &message,
                &status);
    if (found != 0) {
      int size = 0;
      MPI_Get_count(&status, MPI_CHAR, &size);
      Message taken{status.MPI_SOURCE, std::string(static_cast<size_t>(size), '\0')};
      MPI_Mrecv(taken.bytes.data(), size, MPI_CHAR, &message, MPI_STATUS_IGNORE);
      return taken;
    }
    sweep_out();
    if (seconds >= 0 && std::chrono::duration<double>(Clock::now() - start).count() >= seconds)
      return std::nullopt;
    pause.wait();
  }
}

}  // namespace attnlab::mpi
