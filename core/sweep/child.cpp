#include "core/sweep/child.hpp"

#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <string>

#include "core/base/error.hpp"
#include "core/plugin/crash.hpp"

namespace attnlab::sweep {
namespace {

[[noreturn]] void refuse(const char* what) {
  throw base::UserError(std::string(what) + ": " + std::strerror(errno), {}, base::Exit::failed);
}

/// Closes all but the standard streams and `kept`: locks and sockets of the parent must end with the parent.
void close_others(int kept) {
  if (kept > STDERR_FILENO + 1) ::close_range(STDERR_FILENO + 1, static_cast<unsigned>(kept) - 1, 0);
  ::close_range(static_cast<unsigned>(kept) + 1, ~0U, 0);
}

/// The parent's death will be this process's; at once where it came before.
void belong_to(pid_t parent, int socket) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) plugin::leave_process(1);
  std::signal(SIGINT, SIG_IGN);
  std::signal(SIGUSR1, SIG_IGN);
  std::signal(SIGTERM, SIG_DFL);
  std::signal(SIGPIPE, SIG_DFL);
  close_others(socket);
}

}  // namespace

pid_t fork_patiently() {
  // Another process's fork bomb, or a want of memory or processes that running trials will free.
  for (int attempt = 0; attempt < 50; ++attempt) {
    const pid_t process = ::fork();
    if (process >= 0 || (errno != EAGAIN && errno != ENOMEM)) return process;
    const timespec pause{0, 100'000'000};
    ::nanosleep(&pause, nullptr);
  }
  return -1;
}

Child::Child(const std::function<void(int socket)>& life) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) refuse("cannot make a socket");
  // What is not yet written must not be written twice.
  std::fflush(nullptr);
  const pid_t parent = ::getpid();
  process_ = fork_patiently();
  if (process_ == 0) {
    belong_to(parent, ends[1]);
    try {
      life(ends[1]);
    } catch (const std::exception& error) {
      // Not up the parent's stack, which this process shares.
      std::fprintf(stderr, "error: %s\n", error.what());
      plugin::leave_process(static_cast<int>(base::Exit::failed));
    }
    plugin::leave_process(0);
  }
  ::close(ends[1]);
  socket_ = ends[0];
  if (process_ < 0) {
    const int error = errno;
    ::close(socket_);
    errno = error;
    refuse("cannot start a process");
  }
}

Child::~Child() {
  ::kill(process_, SIGKILL);
  ::close(socket_);
  while (::waitpid(process_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace attnlab::sweep
