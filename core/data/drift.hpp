// The workload `drift`: clusters of keys that are replaced by others during the sequence.
#pragma once

#include "core/config/input_spec.hpp"
#include "core/data/workload_streams.hpp"

namespace attnlab::data {

/// Throws UserError for parameters that cannot be met; extents are already checked.
void check_drift(const config::WorkloadSpec& spec);

/// First position whose query and key belong to the second set of clusters; from 0 to Sk.
int64_t drift_position(const config::WorkloadSpec& spec);

/// Fills parts of queries [B, Hq, Sq, D] and keys [B, Hkv, Sk, D]. O(rows head_dim); nothing is kept per
/// cluster.
void fill_drift(const config::WorkloadSpec& spec, int layer, TensorPart& query, TensorPart& key);

}  // namespace attnlab::data
