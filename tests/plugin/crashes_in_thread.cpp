#include <attnlab/masker.hpp>

#include <csignal>

/// Dies of a memory fault on another thread of the host.
struct CrashesInThread : attnlab::Masker {
  static void describe(attnlab::Description<CrashesInThread>& d) {
    d.id("crashes_in_thread").summary("Dies of a memory fault on another thread of the host.");
  }
  void select(const attnlab::Tile& tile, attnlab::RowWriter& out) const {
    static_cast<void>(out);
    host().parallel_for(64, [&](int64_t i) {
      if (i == 63) std::raise(SIGSEGV);
    });
  }
};

ATTNLAB_PLUGIN(CrashesInThread);
