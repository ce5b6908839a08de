// Softmax attention of a tile of rows, one thread.
#pragma once

#include "core/kernels/attention/arguments.hpp"
#include "core/kernels/simd/target.hpp"

namespace attnlab::kernels {

/// One SIMD target's kernels. They run on the calling thread and allocate nothing (about 60 KiB of stack). Results do
/// not depend on how rows are split into calls. Arguments are not checked.
struct AttendKernels {
  void (*logits)(const LogitsArguments&) = nullptr;
  void (*gather_logits)(const GatherLogitsArguments&) = nullptr;
  void (*attend)(const AttendArguments&) = nullptr;
  void (*attend_logits)(const AttendLogitsArguments&) = nullptr;
};

const AttendKernels& attend_kernels(SimdTarget target);

}  // namespace attnlab::kernels
