#include "core/cli/progress.hpp"

#include <fmt/core.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

namespace attnlab::cli {
namespace {

using Clock = std::chrono::steady_clock;

bool is_terminal() {
  const char* term = std::getenv("TERM");
  return ::isatty(STDERR_FILENO) == 1 && std::getenv("CI") == nullptr &&
         (term == nullptr || std::strcmp(term, "dumb") != 0);
}

std::string duration(double seconds) {
  const auto s = static_cast<int64_t>(seconds + 0.5);
  return s < 60 ? fmt::format("{} s", s) : fmt::format("{}:{:02} min", s / 60, s % 60);
}

}  // namespace

Progress::Progress(std::string what, bool quiet)
    : what_(std::move(what)), quiet_(quiet), terminal_(is_terminal()), start_(Clock::now()), last_(start_) {}

Progress::~Progress() {
  if (drawn_ && terminal_) fmt::print(stderr, "\r\033[K");
}

void Progress::update(int64_t done, int64_t total, const std::string& note) {
  const auto now = Clock::now();
  const std::chrono::duration<double> since_last = now - last_, elapsed = now - start_;
  if (quiet_ || done >= total || since_last.count() < (terminal_ ? 0.2 : 10.0) || elapsed.count() < 1) return;
  last_ = now;
  drawn_ = true;
  const double share = static_cast<double>(done) / static_cast<double>(total);
  const std::string behind = note.empty() ? "" : ", " + note;
  const std::string left = duration(elapsed.count() * (1 - share) / share);
  if (terminal_) {
    const auto filled = static_cast<size_t>(share * 30);
    fmt::print(stderr, "\r{} [{}{}] {:3.0f} %, {} left{} \033[K", what_, std::string(filled, '='),
               std::string(30 - filled, ' '), share * 100, left, behind);
    std::fflush(stderr);
  } else {
    fmt::print(stderr, "{}: {:.0f} %, about {} left{}\n", what_, share * 100, left, behind);
  }
}

}  // namespace attnlab::cli
