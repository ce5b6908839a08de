#include "core/data/drift.hpp"

#include <fmt/core.h>

#include <attnlab/philox.hpp>
#include <cmath>
#include <vector>

#include "core/data/normals.hpp"

namespace attnlab::data {
namespace {

using config::WorkloadSpec;

constexpr int64_t max_clusters = 1 << 20;

}  // namespace

void check_drift(const WorkloadSpec& spec) {
  if (!(spec.drift_begin >= 0 && spec.drift_begin <= 1)) {
    refuse_workload("bad drift_begin", fmt::format("{}", spec.drift_begin), "a number from 0 to 1");
  }
  if (spec.clusters < 1 || spec.clusters > max_clusters) {
    refuse_workload("bad clusters", std::to_string(spec.clusters),
                    fmt::format("an integer from 1 to {}", max_clusters));
  }
}

int64_t drift_position(const WorkloadSpec& spec) {
  return std::llround(spec.drift_begin * static_cast<double>(spec.keys));
}

void fill_drift(const WorkloadSpec& spec, int layer, TensorPart& query, TensorPart& key) {
  const int64_t turn = drift_position(spec);
  const auto clusters = static_cast<uint64_t>(spec.clusters);
  const uint64_t centre_key = key_of(spec, layer, Purpose::centre);
  /// A row near a centre that is drawn from the set of its position.
  const auto write = [&](Purpose noise, Purpose cluster, size_t kv_head, int64_t position, size_t row,
                         std::span<float> out) {
    const uint64_t chosen = Philox(key_of(spec, layer, cluster), row).below(clusters);
    const uint64_t set = 2 * kv_head + (position >= turn ? 1 : 0);
    std::vector<float> centre(out.size());
    fill_normals(centre_key, set * clusters + chosen, centre);
    fill_normals(key_of(spec, layer, noise), row, out);
    for (size_t channel = 0; channel < out.size(); ++channel) out[channel] += centre[channel];
  };
  const auto group = static_cast<size_t>(spec.query_heads / spec.kv_heads);
  for_each_row(query, [&](size_t head, size_t row, std::span<float> out) {
    const int64_t position = static_cast<int64_t>(row) % spec.queries + spec.keys - spec.queries;
    write(Purpose::query, Purpose::query_cluster, head / group, position, row, out);
  });
  for_each_row(key, [&](size_t head, size_t row, std::span<float> out) {
    write(Purpose::key, Purpose::key_cluster, head, static_cast<int64_t>(row) % spec.keys, row, out);
  });
}

}  // namespace attnlab::data
