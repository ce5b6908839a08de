#include "core/cli/job.hpp"

#include "core/cli/command.hpp"
#include "core/cli/run_ranks.hpp"
#include "core/sweep/rank_workers.hpp"

namespace attnlab::cli {
namespace {

const Job* current = nullptr;

}  // namespace

void Job::tell_others(const io::Json& task) const {
  const std::string text = io::line_text(task);
  for (int rank = 1; rank < ranks.count(); ++rank) ranks.send(rank, text);
}

const Job* job() {
  return current;
}

int lead_job(const Job& job, int argc, const char* const* argv) {
  current = &job;
  const int code = main(argc, argv);
  current = nullptr;
  job.tell_others({{"task", "end"}});
  return code;
}

void follow_job(const Job& job) {
  while (true) {
    const auto message = job.ranks.receive(0, base::Ranks::forever);
    const io::Json task = io::Json::parse(message->bytes);
    if (task.at("task") == "end") return;
    if (task.at("task") == "run") serve_run(job.ranks, task);
    if (task.at("task") == "sweep") sweep::serve_trials(job.ranks, job.nursery);
  }
}

}  // namespace attnlab::cli
