#include "core/data/known_mass.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <attnlab/philox.hpp>
#include <cmath>
#include <numeric>

#include "core/base/parallel.hpp"
#include "core/data/workload_streams.hpp"

namespace attnlab::data {
namespace {

using config::WorkloadSpec;
using tensor::Tensor;

constexpr int64_t max_needles = 10000;  // placing needles of one depth is quadratic
/// Largest |ln| of a mass: the lightest, keys^-alpha, stays a normal float32 (smallest 2^-126).
constexpr double max_log_mass = 80;
/// The mean's share of a logit grows with it, and so does the rounding of the logits: 6e-5 at 100,
/// head_dim 64.
constexpr double max_mean_norm = 100;

void check_alpha(const WorkloadSpec& spec) {
  double maximum = spec.keys > 1 ? max_log_mass / std::log(static_cast<double>(spec.keys)) : 1e9;
  if (std::abs(spec.alpha) <= maximum) return;  // false for NaN
  refuse_workload("bad alpha", fmt::format("{}", spec.alpha),
                  fmt::format("from {:.4g} to {:.4g} for {} keys: the lightest mass must fit in float32",
                              -maximum, maximum, spec.keys));
}

void check_cone(const WorkloadSpec& spec) {
  if (!(spec.mean_norm >= 0 && spec.mean_norm <= max_mean_norm)) {
    refuse_workload("bad mean_norm", fmt::format("{}", spec.mean_norm),
                    fmt::format("a number from 0 to {}", max_mean_norm));
  }
  if (spec.rank < 0 || spec.rank > max_cone_rank) {
    refuse_workload("bad rank", std::to_string(spec.rank),
                    fmt::format("an integer from 0 to {}", max_cone_rank));
  }
}

void check_depths(const WorkloadSpec& spec) {
  const auto& depths = spec.depths;
  int64_t most = std::min(max_needles, spec.keys - 1);
  if (depths.empty() || static_cast<int64_t>(depths.size()) > most) {
    refuse_workload("bad number of needle depths", std::to_string(depths.size()),
                    fmt::format("from 1 to {}: there must be background keys", most));
  }
  for (double depth : depths) {
    if (!(depth >= 0 && depth <= 1))
      refuse_workload("bad needle depth", fmt::format("{}", depth), "a number from 0 to 1");
  }
}

/// How many keys share the mass of the kind.
int64_t chosen_count(const WorkloadSpec& spec) {
  if (spec.kind == "needle") return static_cast<int64_t>(spec.depths.size());
  int64_t wanted = std::llround(spec.relevant_share * static_cast<double>(spec.keys));
  return std::clamp<int64_t>(wanted, 1, std::max<int64_t>(1, spec.keys - 1));
}

/// Mass of a chosen key when a background key has mass 1: n w = share (n w + keys - n). 1 without background.
double chosen_weight(const WorkloadSpec& spec) {
  double share = spec.kind == "needle" ? spec.needle_mass : spec.relevant_mass;
  auto chosen = static_cast<double>(chosen_count(spec));
  double background = static_cast<double>(spec.keys) - chosen;
  return background > 0 ? share * background / ((1 - share) * chosen) : 1;
}

void check_share(const char* name, double share, const WorkloadSpec& spec) {
  if (share > 0 && share < 1 && std::abs(std::log(chosen_weight(spec))) <= max_log_mass) return;
  refuse_workload(fmt::format("bad {}", name), fmt::format("{}", share),
                  "a number between 0 and 1, both excluded");
}

/// Distinct keys nearest to the depths.
std::vector<size_t> needle_keys(const WorkloadSpec& spec) {
  auto keys = static_cast<size_t>(spec.keys);
  std::vector<bool> taken(keys);
  std::vector<size_t> result;
  for (double depth : spec.depths) {
    auto wanted = static_cast<size_t>(std::llround(depth * static_cast<double>(keys - 1)));
    auto is_free = [&](size_t key) { return key < keys && !taken[key]; };
    size_t distance = 0;
    // Keys before 0 wrap to huge numbers: not free.
    while (!is_free(wanted - distance) && !is_free(wanted + distance)) ++distance;
    size_t key = is_free(wanted - distance) ? wanted - distance : wanted + distance;
    taken[key] = true;
    result.push_back(key);
  }
  return result;
}

/// Fisher and Yates: every permutation is equally likely.
template <class Item>
void shuffle(std::span<Item> items, uint64_t key, size_t head) {
  Philox philox(key, head);
  for (size_t i = items.size() - 1; i > 0; --i) std::swap(items[i], items[philox.below(i + 1)]);
}

/// Masses of all keys of a KV head, `head` = b Hkv + h.
std::vector<float> head_masses(const WorkloadSpec& spec, int layer, size_t head) {
  std::vector<float> row(static_cast<size_t>(spec.keys), 1.0f);
  if (spec.kind != "power_law" && spec.kind != "cone") {
    for (size_t key : chosen_keys(spec, layer, head)) row[key] = static_cast<float>(chosen_weight(spec));
    return row;
  }
  for (size_t i = 0; i < row.size(); ++i) {
    row[i] = static_cast<float>(std::pow(static_cast<double>(i + 1), -spec.alpha));
  }
  shuffle(std::span(row), key_of(spec, layer, Purpose::permutation), head);
  return row;
}

}  // namespace

bool has_known_mass(const WorkloadSpec& spec) {
  return spec.kind == "power_law" || spec.kind == "cone" || spec.kind == "needle" ||
         spec.kind == "aggregation";
}

void check_known_mass(const WorkloadSpec& spec) {
  if (spec.kind == "needle") {
    check_depths(spec);
    check_share("needle_mass", spec.needle_mass, spec);
  } else if (spec.kind == "aggregation") {
    if (!(spec.relevant_share > 0 && spec.relevant_share < 1)) {
      refuse_workload("bad relevant_share", fmt::format("{}", spec.relevant_share),
                      "a number between 0 and 1, both excluded");
    }
    check_share("relevant_mass", spec.relevant_mass, spec);
  } else {
    check_alpha(spec);
    if (spec.kind == "cone") check_cone(spec);
  }
}

std::vector<size_t> chosen_keys(const WorkloadSpec& spec, int layer, size_t head) {
  if (spec.kind == "needle") return needle_keys(spec);
  std::vector<size_t> keys(static_cast<size_t>(spec.keys));
  std::iota(keys.begin(), keys.end(), size_t{0});
  shuffle(std::span(keys), key_of(spec, layer, Purpose::permutation), head);
  keys.resize(static_cast<size_t>(chosen_count(spec)));
  return keys;
}

Tensor known_masses(const WorkloadSpec& spec, int layer, const Part& part) {
  auto result = Tensor::zeros(tensor::DType::f32, {spec.batch, part.kv_heads(), part.keys()});
  auto values = result.mutable_values<float>();
  const auto keys = static_cast<size_t>(part.keys());
  base::parallel_for(spec.batch * part.kv_heads(), [&](int64_t index, int) {
    const int64_t b = index / part.kv_heads(), h = part.kv_head_begin + index % part.kv_heads();
    const std::vector<float> row = head_masses(spec, layer, static_cast<size_t>(b * spec.kv_heads + h));
    std::copy_n(row.begin() + part.key_begin, keys, values.begin() + index * part.keys());
  });
  return result;
}

double mean_log_mass(const WorkloadSpec& spec, int layer) {
  double sum = 0;
  for (float mass : head_masses(spec, layer, 0)) sum += std::log(static_cast<double>(mass));
  return sum / static_cast<double>(spec.keys);
}

}  // namespace attnlab::data
