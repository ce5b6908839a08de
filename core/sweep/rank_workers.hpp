// Ranks of a job as workers of a sweep, a trial at a time each.
#pragma once

#include <memory>

#include "core/base/ranks.hpp"
#include "core/sweep/nursery.hpp"
#include "core/sweep/workers.hpp"

namespace attnlab::sweep {

/// Rank 0's side: the nursery of each rank is a worker, its own too. Throws UserError that names the rank
/// when one of them cannot run these trials. The others sit in `serve_trials` until this is destroyed.
std::unique_ptr<Workers> rank_workers(base::Ranks& ranks, Nursery& nursery, const NurseryTask& task);

/// The side of the other ranks, from rank 0's first message to its last.
void serve_trials(base::Ranks& ranks, Nursery& nursery);

}  // namespace attnlab::sweep
