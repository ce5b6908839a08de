// What a process inherits from whoever started it.
#pragma once

namespace attnlab::base {

/// Undoes what a careless parent may have left behind: a standard stream that is closed, whose number a file
/// of ours would get and others would write into, and an ignored SIGCHLD, with which no child can be waited
/// for. To be called first in main.
void settle_process();

}  // namespace attnlab::base
