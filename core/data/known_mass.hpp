// Workloads whose softmax is known exactly: `power_law`, `cone`, `needle`, `aggregation`.
#pragma once

#include <vector>

#include "core/config/input_spec.hpp"
#include "core/tensor/tensor.hpp"

namespace attnlab::data {

constexpr int64_t max_cone_rank = 64;

bool has_known_mass(const config::WorkloadSpec& spec);

/// Throws UserError for parameters of the kind that cannot be met; extents are already checked.
void check_known_mass(const config::WorkloadSpec& spec);

/// Unnormalised softmax masses of one layer, float32 [B, Hkv, Sk]; positive.
tensor::Tensor known_masses(const config::WorkloadSpec& spec, int layer);

/// `needle`, `aggregation`: the keys of one KV head, `head` = b Hkv + h, that share the kind's mass.
/// Distinct. Needles are in the order of their depths. O(keys + needles x longest run of needles).
std::vector<size_t> chosen_keys(const config::WorkloadSpec& spec, int layer, size_t head);

/// Writes queries [B, Hq, Sq, D] and keys [B, Hkv, Sk, D], all zeros before, whose softmax has these masses.
/// O(rows head_dim).
void plant(const config::WorkloadSpec& spec, int layer, const tensor::Tensor& mass, tensor::Tensor& query,
           tensor::Tensor& key);

}  // namespace attnlab::data
