// Ctrl-C of the commands that end between two steps.
#pragma once

namespace attnlab::cli {

/// From now on the first Ctrl-C asks for the end, which plugins see too, and prints `message` (static text)
/// to stderr; the second ends the process at once with Exit::interrupted, whatever runs.
void catch_interrupt(const char* message = "");
/// Ctrl-C was pressed.
bool interrupted();

}  // namespace attnlab::cli
