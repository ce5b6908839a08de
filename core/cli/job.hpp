// The job of several processes that this one is rank 0 of, where the program was started as one.
#pragma once

#include "core/base/ranks.hpp"
#include "core/io/json.hpp"
#include "core/sweep/nursery.hpp"

namespace attnlab::cli {

struct Job {
  base::Ranks& ranks;
  sweep::Nursery& nursery;  ///< rank 0's own

  /// What the other ranks do next: a "task" that follow_job knows, and its own members.
  void tell_others(const io::Json& task) const;
};

/// nullptr: this process is alone.
const Job* job();

/// cli::main as rank 0 of a job; the other ranks call `follow_job` meanwhile.
int lead_job(const Job& job, int argc, const char* const* argv);
/// The other ranks' part, until rank 0's command line has run.
void follow_job(const Job& job);

}  // namespace attnlab::cli
