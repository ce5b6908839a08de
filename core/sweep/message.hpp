// Messages of any length over a SEQPACKET socket.
#pragma once

#include <optional>
#include <string>

namespace attnlab::sweep {

/// False: the other end is gone.
bool send_message(int socket, const std::string& text);
/// Waits. None: the other end is gone.
std::optional<std::string> receive_message(int socket);

}  // namespace attnlab::sweep
