#include "core/data/workload.hpp"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <attnlab/philox.hpp>
#include <cmath>
#include <limits>

#include "core/base/error.hpp"
#include "core/base/parallel.hpp"
#include "core/config/schema.hpp"
#include "core/data/drift.hpp"
#include "core/data/known_mass.hpp"
#include "core/data/normals.hpp"
#include "core/data/workload_streams.hpp"

namespace attnlab::data {
namespace {

using config::WorkloadSpec;
using tensor::Tensor;

constexpr int64_t max_extent = std::numeric_limits<int32_t>::max();  // kernels number keys in int32
constexpr int64_t max_layers = 100000;

void check_extents(const WorkloadSpec& s) {
  auto extent = [](const char* name, int64_t found, int64_t maximum = max_extent) {
    if (found >= 1 && found <= maximum) return;
    refuse_workload(fmt::format("bad {}", name), std::to_string(found),
                    fmt::format("an integer from 1 to {}", maximum));
  };
  extent("layers", s.layers, max_layers);
  extent("batch", s.batch);
  extent("query_heads", s.query_heads);
  extent("kv_heads", s.kv_heads);
  extent("queries", s.queries);
  extent("keys", s.keys);
  extent("head_dim", s.head_dim);
  extent("value_dim", s.value_dim);
  if (s.query_heads % s.kv_heads != 0) {
    refuse_workload("KV heads do not divide the query heads",
                    fmt::format("{} / {}", s.query_heads, s.kv_heads), "query_heads a multiple of kv_heads");
  }
  if (s.queries > s.keys) {
    refuse_workload("more queries than keys", fmt::format("{} queries, {} keys", s.queries, s.keys),
                    "at most as many queries as keys: queries are the last positions");
  }
}

void check_memory(const WorkloadSpec& s) {
  // In double: the product of five extents may not fit in 64 bits.
  double query_rows = static_cast<double>(s.query_heads) * static_cast<double>(s.queries);
  double key_rows = static_cast<double>(s.kv_heads) * static_cast<double>(s.keys);
  double key_channels = static_cast<double>(s.head_dim + s.value_dim + (has_known_mass(s) ? 1 : 0));
  double bytes = sizeof(float) * static_cast<double>(s.batch) *
                 (query_rows * static_cast<double>(s.head_dim) + key_rows * key_channels);
  double memory =
      static_cast<double>(::sysconf(_SC_PHYS_PAGES)) * static_cast<double>(::sysconf(_SC_PAGESIZE));
  if (bytes <= memory) return;
  refuse_workload("a layer does not fit in memory", fmt::format("{:.1f} GiB per layer", bytes / 0x1p30),
                  fmt::format("at most {:.1f} GiB, the memory of this machine", memory / 0x1p30));
}

void check(const WorkloadSpec& spec) {
  const auto& kinds = config::workload_kinds();
  if (std::find(kinds.begin(), kinds.end(), spec.kind) == kinds.end()) {
    throw base::UserError("workload: unknown kind", {.found = spec.kind,
                                                     .allowed = base::join(kinds),
                                                     .suggestion = base::did_you_mean(spec.kind, kinds)});
  }
  check_extents(spec);
  if (has_known_mass(spec)) check_known_mass(spec);
  if (spec.kind == "drift") check_drift(spec);
}

/// The kind and its own parameters, for people.
std::string kind_text(const WorkloadSpec& s) {
  if (s.kind == "power_law") return fmt::format("power_law (alpha {})", s.alpha);
  if (s.kind == "cone") {
    return fmt::format("cone (alpha {}, mean_norm {}, rank {})", s.alpha, s.mean_norm, s.rank);
  }
  if (s.kind == "needle") return fmt::format("needle (mass {}, {} needles)", s.needle_mass, s.depths.size());
  if (s.kind == "aggregation") {
    return fmt::format("aggregation (mass {} on {} of the keys)", s.relevant_mass, s.relevant_share);
  }
  if (s.kind == "drift") return fmt::format("drift (from {}, {} clusters)", s.drift_begin, s.clusters);
  return s.kind;
}

/// Adds the signs of the KV head to the values of its relevant keys.
void add_answer(const WorkloadSpec& spec, int layer, const Part& part, TensorPart& value) {
  auto values = value.tensor.mutable_values<float>();
  const auto channels = static_cast<size_t>(spec.value_dim);
  base::parallel_for(spec.batch * part.kv_heads(), [&](int64_t index, int) {
    const int64_t b = index / part.kv_heads(), h = part.kv_head_begin + index % part.kv_heads();
    const auto head = static_cast<size_t>(b * spec.kv_heads + h);
    Philox philox(key_of(spec, layer, Purpose::answer), head);
    std::vector<float> answer(channels);
    for (float& sign : answer) sign = philox.below(2) == 0 ? -1.0f : 1.0f;
    for (const size_t key : chosen_keys(spec, layer, head)) {
      const auto place = static_cast<int64_t>(key) - part.key_begin;
      if (place < 0 || place >= part.keys()) continue;
      auto row = values.subspan(static_cast<size_t>(index * part.keys() + place) * channels, channels);
      for (size_t channel = 0; channel < channels; ++channel) row[channel] += answer[channel];
    }
  });
}

class WorkloadSource : public Source {
 public:
  WorkloadSource(const WorkloadSpec& spec, bool in_parts) : spec_(spec) {
    check(spec);
    if (!in_parts) check_memory(spec);
    geometry_ = {.batch = spec.batch,
                 .query_heads = spec.query_heads,
                 .kv_heads = spec.kv_heads,
                 .queries = spec.queries,
                 .keys = spec.keys,
                 .head_dim = spec.head_dim,
                 .value_dim = spec.value_dim};
    for (int layer = 0; layer < spec.layers; ++layer) layers_.push_back(layer);
  }

  const Geometry& geometry() const override { return geometry_; }
  const std::vector<int>& layers() const override { return layers_; }
  std::vector<std::string> files() const override { return {}; }
  std::optional<double> scale() const override { return 1 / std::sqrt(static_cast<double>(spec_.head_dim)); }
  std::optional<bool> causal() const override { return true; }

  std::string description() const override {
    const WorkloadSpec& s = spec_;
    return fmt::format("workload {}, {} {}, batch {}, {}/{} heads, head_dim {}, {} queries, {} keys, seed {}",
                       kind_text(s), s.layers, s.layers == 1 ? "layer" : "layers", s.batch, s.query_heads,
                       s.kv_heads, s.head_dim, s.queries, s.keys, s.seed);
  }

  LayerProblem load(int layer) const override { return load_part(layer, Part::all(geometry_)); }

  LayerProblem load_part(int layer, const Part& part) const override {
    ATTNLAB_CHECK(layer >= 0 && layer < spec_.layers, "no such layer");
    const WorkloadSpec& s = spec_;
    LayerProblem problem;
    problem.layer = layer;
    problem.kv_head_begin = part.kv_head_begin;
    problem.key_begin = part.key_begin;
    problem.query_begin = part.query_begin;
    problem.valid.assign(static_cast<size_t>(s.batch), s.keys);
    const auto keys_of_part = [&](int64_t channels) {
      return TensorPart{Tensor::zeros(tensor::DType::f32, {s.batch, part.kv_heads(), part.keys(), channels}),
                        s.kv_heads, s.keys, part.kv_head_begin, part.key_begin};
    };
    const int64_t group = geometry_.group(), queries = s.queries - part.query_begin;
    TensorPart query{
        Tensor::zeros(tensor::DType::f32, {s.batch, part.kv_heads() * group, queries, s.head_dim}),
        s.query_heads, s.queries, part.kv_head_begin * group, part.query_begin};
    TensorPart key = keys_of_part(s.head_dim), value = keys_of_part(s.value_dim);
    if (has_known_mass(s)) {
      const Tensor mass = known_masses(s, layer, part);
      plant(s, layer, mass, query, key);
      if (part == Part::all(geometry_)) problem.true_mass = mass;
    } else if (s.kind == "drift") {
      fill_drift(s, layer, query, key);
    } else {
      fill_normals(key_of(s, layer, Purpose::query), query);
      fill_normals(key_of(s, layer, Purpose::key), key);
    }
    fill_normals(key_of(s, layer, Purpose::value), value);
    if (s.kind == "aggregation") add_answer(s, layer, part, value);
    problem.query = tensor::view_bhsd(query.tensor);
    problem.key = tensor::view_bhsd(key.tensor);
    problem.value = tensor::view_bhsd(value.tensor);
    problem.storage = {query.tensor, key.tensor, value.tensor};
    return problem;
  }

 private:
  WorkloadSpec spec_;
  Geometry geometry_;
  std::vector<int> layers_;
};

}  // namespace

std::unique_ptr<Source> open_workload(const WorkloadSpec& spec, bool in_parts) {
  return std::make_unique<WorkloadSource>(spec, in_parts);
}

}  // namespace attnlab::data
