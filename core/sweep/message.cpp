#include "core/sweep/message.hpp"

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <vector>

namespace attnlab::sweep {
namespace {

/// Of a packet: far below what a socket's buffer holds. Its first byte says whether more follow.
constexpr size_t chunk_bytes = size_t{32} << 10;

}  // namespace

bool send_message(int socket, const std::string& text) {
  size_t begin = 0;
  do {
    const size_t size = std::min(text.size() - begin, chunk_bytes);
    char more = begin + size < text.size() ? 1 : 0;
    iovec parts[] = {{&more, 1}, {const_cast<char*>(text.data() + begin), size}};
    msghdr packet{};
    packet.msg_iov = parts;
    packet.msg_iovlen = 2;
    ssize_t sent = 0;
    do {
      sent = ::sendmsg(socket, &packet, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0) return false;
    begin += size;
  } while (begin < text.size());
  return true;
}

std::optional<std::string> receive_message(int socket) {
  std::string text;
  std::vector<char> packet(chunk_bytes + 1);
  while (true) {
    const ssize_t size = ::recv(socket, packet.data(), packet.size(), 0);
    // A peer that dies with something unread resets the connection, which is told once and before the
    // messages that it had sent: they wait behind the error.
    if (size < 0 && (errno == EINTR || errno == ECONNRESET)) continue;
    if (size <= 0) return std::nullopt;
    text.append(packet.data() + 1, static_cast<size_t>(size) - 1);
    if (packet[0] == 0) return text;
  }
}

}  // namespace attnlab::sweep
