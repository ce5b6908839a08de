// Scores of a key index for a few query rows, one thread.
#pragma once

#include "core/kernels/attention/attend.hpp"
#include "core/kernels/scoring/arguments.hpp"
#include "core/kernels/simd/target.hpp"

namespace attnlab::kernels {

/// One SIMD target's kernels. They run on the calling thread and allocate nothing (about 64 KiB of stack).
/// Results do not depend on how rows and keys are split into calls. Arguments are not checked.
struct HammingKernels {
  void (*hamming)(const HammingArguments&) = nullptr;
};
struct LutKernels {
  void (*lut_u8)(const LutArguments<uint8_t>&) = nullptr;
  void (*lut_i32)(const LutArguments<int32_t>&) = nullptr;
};

const HammingKernels& hamming_kernels(SimdTarget target);
const LutKernels& lut_kernels(SimdTarget target);

/// By the exact logits of one target: the bound is a dot product. Allocates for head_dim > 4096 alone.
void interval(const AttendKernels& kernels, const IntervalArguments& arguments);

}  // namespace attnlab::kernels
