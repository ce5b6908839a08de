// A process that this one forks, speaks with over a socket, and outlives.
#pragma once

#include <sys/types.h>

#include <functional>

namespace attnlab::sweep {

/// fork(), again for five seconds where there are too many processes or too little memory. -1, with errno,
/// where that does not help.
pid_t fork_patiently();

/// It dies with the process that made it; Ctrl-C of the terminal and SIGUSR1 are the maker's affair. Of the
/// maker's open files it keeps the standard streams and its end of the socket. [one thread]
class Child {
 public:
  /// Forks: the calling process must have one thread. The new process runs `life` with its end of a
  /// SEQPACKET socket, and ends where that returns. Throws UserError (Exit::failed) when it cannot.
  explicit Child(const std::function<void(int socket)>& life);
  /// Ends it at once, and those that die with it.
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  int socket() const { return socket_; }
  pid_t process() const { return process_; }

 private:
  int socket_ = -1;
  pid_t process_ = -1;
};

}  // namespace attnlab::sweep
