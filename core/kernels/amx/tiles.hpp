// Internal.
#pragma once

#include "core/kernels/amx/block.hpp"

namespace attnlab::kernels {

/// The kernels on AMX tiles, only for a CPU that has them; null where the compiler does not know AMX.
extern const AmxKernels amx_tile_kernels;

}  // namespace attnlab::kernels
