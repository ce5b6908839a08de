// What a run reads: resolved and validated, no file opened yet.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace attnlab::config {

/// A generated workload. Extents as in architecture section 3; all values are already checked against their
/// bounds.
struct WorkloadSpec {
  std::string kind;  ///< "gaussian" | "power_law" | "needle"
  int64_t layers = 1;
  int64_t batch = 1;
  int64_t query_heads = 8;
  int64_t kv_heads = 2;
  int64_t queries = 64;  ///< Sq; the queries are the last positions of the sequence
  int64_t keys = 4096;   ///< Sk
  int64_t head_dim = 64;
  int64_t value_dim = 64;
  uint64_t seed = 0;
  double alpha = 1;  ///< power_law: the i-th heaviest key has softmax mass proportional to i^-alpha
  double needle_mass =
      0.5;  ///< needle: share of the softmax mass that all needles together hold at the last query
  std::vector<double>
      depths;  ///< needle: position of each needle as a fraction of the sequence, 0 = first key
};

/// Where q, k and v come from.
struct InputSpec {
  enum class Kind { trace, archive, workload };
  Kind kind = Kind::workload;
  std::string path;  ///< trace folder, or npz / safetensors file
  WorkloadSpec workload;
};

}  // namespace attnlab::config
