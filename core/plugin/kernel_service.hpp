// `attnlab.kernels/1`: the host's kernels for plugins.
#pragma once

#include <attnlab/abi.h>

namespace attnlab::plugin {

/// Runs on `kernels::active_table()` of the moment of each call. Lives for ever. Thread-safe.
const attnlab_kernels& kernel_service();

}  // namespace attnlab::plugin
