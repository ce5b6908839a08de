#include "core/kernels/scratch.hpp"

#include <hwy/aligned_allocator.h>

#include <cstddef>
#include <new>

namespace attnlab::kernels {

float* thread_scratch(int64_t floats) {
  struct Buffer {
    hwy::AlignedFreeUniquePtr<float[]> data;
    int64_t size = 0;
  };
  thread_local Buffer buffer;
  if (buffer.size < floats) {
    buffer = {};
    buffer.data = hwy::AllocateAligned<float>(static_cast<size_t>(floats));
    if (buffer.data == nullptr) throw std::bad_alloc();
    buffer.size = floats;
  }
  return buffer.data.get();
}

}  // namespace attnlab::kernels
