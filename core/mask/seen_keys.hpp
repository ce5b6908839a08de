// The causal rule.
#pragma once

#include <cstdint>

namespace attnlab::mask {

/// Query row i sees keys [0, seen_keys): it is at position i + valid - queries. `valid` keys exist.
constexpr int64_t seen_keys(int64_t row, int64_t queries, int64_t valid, bool causal) {
  const int64_t end = row + valid - queries + 1;
  return !causal || end > valid ? valid : end < 0 ? 0 : end;
}

}  // namespace attnlab::mask
