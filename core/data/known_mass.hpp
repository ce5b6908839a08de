// Workloads whose softmax is known exactly: `power_law`, `cone`, `needle`, `aggregation`.
#pragma once

#include <vector>

#include "core/config/input_spec.hpp"
#include "core/data/problem.hpp"
#include "core/data/workload_streams.hpp"

namespace attnlab::data {

constexpr int64_t max_cone_rank = 64;

bool has_known_mass(const config::WorkloadSpec& spec);

/// Throws UserError for parameters of the kind that cannot be met; extents are already checked.
void check_known_mass(const config::WorkloadSpec& spec);

/// Unnormalised softmax masses of a part of a layer, float32 [B, its KV heads, its keys]; positive.
tensor::Tensor known_masses(const config::WorkloadSpec& spec, int layer, const Part& part);
/// The mean of their logarithms over a head's keys, in the order of head 0: the same for all heads.
double mean_log_mass(const config::WorkloadSpec& spec, int layer);

/// `needle`, `aggregation`: the keys of one KV head, `head` = b Hkv + h, that share the kind's mass.
/// Distinct. Needles are in the order of their depths. O(keys + needles x longest run of needles).
std::vector<size_t> chosen_keys(const config::WorkloadSpec& spec, int layer, size_t head);

/// Writes parts of the queries [B, Hq, Sq, D] and of the keys [B, Hkv, Sk, D], all zeros before, whose
/// softmax has the masses; `mass` are those of the part of the keys. O(rows head_dim + keys).
void plant(const config::WorkloadSpec& spec, int layer, const tensor::Tensor& mass, TensorPart& query,
           TensorPart& key);

}  // namespace attnlab::data
