// Scratch memory of drivers.
#pragma once

#include <cstdint>

namespace attnlab::kernels {

/// `floats` uninitialised floats of the calling thread, aligned for vectors; valid until its next call. It
/// grows to the largest request and is kept, so that repeated work allocates nothing.
float* thread_scratch(int64_t floats);

}  // namespace attnlab::kernels
