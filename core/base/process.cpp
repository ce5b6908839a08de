#include "core/base/process.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <csignal>

namespace attnlab::base {

void settle_process() {
  int nothing = 0;
  do {
    nothing = ::open("/dev/null", O_RDWR);
  } while (nothing >= 0 && nothing <= STDERR_FILENO);
  if (nothing >= 0) ::close(nothing);
  std::signal(SIGCHLD, SIG_DFL);
}

}  // namespace attnlab::base
