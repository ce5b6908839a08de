#include "core/kernels/scratch.hpp"

namespace attnlab::kernels {

float* thread_scratch(int64_t floats) {
  thread_local AlignedBuffer<float> buffer;
  return buffer.take(floats);
}

}  // namespace attnlab::kernels
