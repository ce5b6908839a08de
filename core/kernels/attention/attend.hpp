// Softmax attention of a tile of rows, one thread.
#pragma once

#include "core/kernels/attention/arguments.hpp"
#include "core/kernels/simd/target.hpp"

namespace attnlab::kernels {

/// Kernels for keys and values of one type. They run on the calling thread and allocate nothing (about 130
/// KiB of stack). Results do not depend on how rows are split into calls. Arguments are not checked.
template <class Element>
struct AttendKernelsOf {
  void (*logits)(const LogitsArgumentsOf<Element>&) = nullptr;
  void (*gather_logits)(const GatherLogitsArgumentsOf<Element>&) = nullptr;
  void (*attend)(const AttendArgumentsOf<Element>&) = nullptr;
  void (*attend_logits)(const AttendLogitsArgumentsOf<Element>&) = nullptr;
};

/// One SIMD target's kernels; those of float are its own members.
struct AttendKernels : AttendKernelsOf<float> {
  AttendKernelsOf<BFloat16> bfloat16;
  AttendKernelsOf<Float16> float16;
};

const AttendKernels& attend_kernels(SimdTarget target);

}  // namespace attnlab::kernels
