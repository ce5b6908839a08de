// Union of ascending id lists, with the lists that each id came from.
#pragma once

#include <cstdint>
#include <span>

#include "core/kernels/simd/target.hpp"

namespace attnlab::kernels {

/// unite() writes whole vectors: its outputs need this many elements more than the lists have together.
inline constexpr int64_t kUnitePadding = 16;

struct UniteKernels {
  /// Writes the ids that are in any of the lists, ascending and once each, to `ids`, and to `members` the
  /// lists that hold it: bit l is set when lists[l] does. Returns how many. At most 32 lists of ascending ids
  /// >= 0. Both outputs have room for all ids of all lists and kUnitePadding more. Same result on every
  /// target. Time: O(sum of the lists + range of the ids / lanes); no allocation, 16 KiB of stack.
  int64_t (*unite)(std::span<const std::span<const int32_t>> lists, int32_t* ids,
                   uint32_t* members) = nullptr;
};

const UniteKernels& unite_kernels(SimdTarget target);

}  // namespace attnlab::kernels
