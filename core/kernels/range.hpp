#pragma once

#include <cstdint>

namespace attnlab::kernels {

/// Keys [begin, end).
struct Range {
  int32_t begin = 0;
  int32_t end = 0;

  int64_t size() const { return int64_t{end} - begin; }
  bool operator==(const Range&) const = default;
};

}  // namespace attnlab::kernels
