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

/// Calls body(b * H + h, row of the flattened [B H S], its channels) for each row of a float32 [B, H, S, D]
/// tensor, in parallel.
void for_each_row(tensor::Tensor& tensor,
                  const std::function<void(size_t head, size_t row, std::span<float> channels)>& body);

/// Throws the UserError "workload: `summary`".
[[noreturn]] void refuse_workload(const std::string& summary, const std::string& found,
                                  const std::string& allowed);

}  // namespace attnlab::data
