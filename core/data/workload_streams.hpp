// What the generators of workloads share: random streams, rows in parallel, refusals.
#pragma once

#include <functional>
#include <span>
#include <string>

#include "core/config/input_spec.hpp"
#include "core/tensor/tensor.hpp"

namespace attnlab::data {

/// What a Philox key is for; part of the key, so that tensors are independent.
enum class Purpose : uint64_t {
  query = 1,
  key,
  value,
  direction,
  permutation,
  low_rank,
  loading,
  answer,
  centre,
  query_cluster,
  key_cluster
};

/// Key of the streams of one purpose in one layer.
uint64_t key_of(const config::WorkloadSpec& spec, int layer, Purpose purpose);

/// A block of a [B, H, S, D] tensor: some heads and tokens of every sequence.
struct TensorPart {
  tensor::Tensor tensor;          ///< float32 [B, heads of the part, tokens of the part, D]
  int64_t heads = 0, tokens = 0;  ///< H and S
  int64_t head_begin = 0, token_begin = 0;
};

/// Calls body(b * H + h, row of the flattened [B H S], its channels) for each row of the part, in parallel.
void for_each_row(TensorPart& part,
                  const std::function<void(size_t head, size_t row, std::span<float> channels)>& body);

/// Standard normals; each is a function of its place in the whole tensor.
void fill_normals(uint64_t key, TensorPart& part);

/// Throws the UserError "workload: `summary`".
[[noreturn]] void refuse_workload(const std::string& summary, const std::string& found,
                                  const std::string& allowed);

}  // namespace attnlab::data
