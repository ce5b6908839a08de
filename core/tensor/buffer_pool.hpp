// Memory of intermediate tensors, kept for the next of the same size.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace attnlab::tensor {

/// At least `bytes` uninitialised bytes, 64-byte aligned. When the last owner lets go they wait for the next
/// call of about the same size (at most a quarter more): a training step asks for what the step before it
/// gave back, and fresh pages cost more than the arithmetic on them. At most 1 GiB waits. Thread-safe.
std::shared_ptr<std::byte> pooled_buffer(size_t bytes);

/// Bytes of buffers that somebody owns.
struct PoolUse {
  uint64_t now = 0;
  uint64_t most = 0;  ///< since the process began, or since restart_most_in_use
};
PoolUse pool_use();
/// The most is what is in use now. Other threads should be at rest.
void restart_most_in_use();

}  // namespace attnlab::tensor
