// What a run reads: resolved and validated, no file opened yet.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace attnlab::config {

/// A generated workload. Extents as in architecture section 3; all values are already checked against their
/// bounds.
struct WorkloadSpec {
  std::string kind;  ///< one of workload_kinds()
  int64_t layers = 1;
  int64_t batch = 1;
  int64_t query_heads = 8;
  int64_t kv_heads = 2;
  int64_t queries = 64;  ///< Sq; the queries are the last positions of the sequence
  int64_t keys = 4096;   ///< Sk
  int64_t head_dim = 64;
  int64_t value_dim = 64;
  uint64_t seed = 0;
  /// power_law, cone: the i-th heaviest key has softmax mass proportional to i^-alpha.
  double alpha = 1;
  double mean_norm = 6;  ///< cone: length of the keys' common mean in units of sqrt(head_dim)
  int64_t rank = 4;      ///< cone: dimensions of the keys' low-rank part; 0: none
  /// needle: share of the softmax mass that all needles together hold at the last query.
  double needle_mass = 0.5;
  /// needle: position of each needle as a fraction of the sequence, 0 = first key.
  std::vector<double> depths;
  double relevant_share = 0.25;  ///< aggregation: share of the keys that are relevant
  double relevant_mass = 0.5;    ///< aggregation: share of the softmax mass that they hold at the last query
  double drift_begin = 0.75;     ///< drift: from this fraction of the sequence on, all clusters are new
  int64_t clusters = 16;         ///< drift: clusters of a KV head, before and after
};

/// Where q, k and v come from.
struct InputSpec {
  enum class Kind { trace, archive, workload };
  Kind kind = Kind::workload;
  std::string path;  ///< trace folder, or npz / safetensors file
  WorkloadSpec workload;
};

}  // namespace attnlab::config
