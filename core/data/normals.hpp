// Bulk N(0, 1) variates.
#pragma once

#include <cstdint>
#include <span>

#include "core/tensor/tensor.hpp"

namespace attnlab::data {

/// Fills `out` with iid N(0, 1) from the Philox stream (key, stream): value i comes from draw i / 4, whatever
/// the length of `out`. [any thread]
void fill_normals(uint64_t key, uint64_t stream, std::span<float> out);
/// Values [first, first + out.size()) of the stream.
void fill_normals(uint64_t key, uint64_t stream, size_t first, std::span<float> out);

/// Fills a float32 tensor in parallel; the values depend on `key` and the place only.
void fill_normals(uint64_t key, tensor::Tensor& tensor);
/// Places [first, first + out.size()) of a tensor of any size, in row-major order.
void fill_normals_from(uint64_t key, size_t first, std::span<float> out);

}  // namespace attnlab::data
