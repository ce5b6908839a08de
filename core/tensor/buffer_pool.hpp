// Memory of intermediate tensors, kept for the next of the same size.
#pragma once

#include <cstddef>
#include <memory>

namespace attnlab::tensor {

/// At least `bytes` uninitialised bytes, 64-byte aligned. When the last owner lets go they wait for the next
/// call of about the same size (at most a quarter more): a training step asks for what the step before it
/// gave back, and fresh pages cost more than the arithmetic on them. At most 1 GiB waits. Thread-safe.
std::shared_ptr<std::byte> pooled_buffer(size_t bytes);

}  // namespace attnlab::tensor
