#include <attnlab/masker.hpp>

#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <vector>

/// Keeps the first keys, unless its trial is one that shall end in another way: for tests of sweeps.
struct EndsAsTold : attnlab::Masker {
  int64_t trial = 0;
  int64_t keys = 1;
  int64_t abort_every = 0, segfault_every = 0, hang_every = 0, exhaust_every = 0, exit_every = 0,
          kill_every = 0;
  int64_t microseconds = 0;

  static void describe(attnlab::Description<EndsAsTold>& d) {
    d.id("ends_as_told").summary("Ends in the way that its parameters say.");
    d.parameter("trial", &EndsAsTold::trial).range(0, 1000000).doc("Number of the trial.");
    d.parameter("keys", &EndsAsTold::keys).range(1, 1000000).doc("Keys that are kept.");
    d.parameter("abort_every", &EndsAsTold::abort_every).doc("Abort where trial % this == 1; 0: never.");
    d.parameter("hang_every", &EndsAsTold::hang_every).doc("Hang where trial % this == 2; 0: never.");
    d.parameter("exhaust_every", &EndsAsTold::exhaust_every).doc("Take all memory where trial % this == 3.");
    d.parameter("segfault_every", &EndsAsTold::segfault_every).doc("Write to null where trial % this == 4.");
    d.parameter("exit_every", &EndsAsTold::exit_every).doc("Call exit where trial % this == 5.");
    d.parameter("kill_every", &EndsAsTold::kill_every).doc("Send SIGKILL to itself where trial % this == 6.");
    d.parameter("microseconds", &EndsAsTold::microseconds).doc("Work without purpose, once a tile.");
  }

  bool is_told(int64_t every, int64_t rest) const { return every > 0 && trial % every == rest; }

  void select(const attnlab::Tile& tile, attnlab::RowWriter& out) const {
    if (is_told(abort_every, 1)) {
      std::fprintf(stderr, "ends_as_told: trial %d aborts\n", static_cast<int>(trial));
      std::abort();
    }
    while (is_told(hang_every, 2)) ::pause();
    if (is_told(exhaust_every, 3)) {
      std::vector<std::vector<char>> taken;
      while (true) taken.emplace_back(size_t{64} << 20, 'x');
    }
    if (is_told(segfault_every, 4)) *reinterpret_cast<volatile int*>(trial - trial) = 1;
    if (is_told(exit_every, 5)) std::exit(0);
    if (is_told(kill_every, 6)) std::raise(SIGKILL);
    const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(microseconds);
    while (std::chrono::steady_clock::now() < end) {
    }
    for (auto query : tile.queries()) out.range(query, 0, std::min(keys, tile.visible_end(query)));
  }
};

ATTNLAB_PLUGIN(EndsAsTold);
