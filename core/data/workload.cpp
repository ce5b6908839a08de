#include "core/data/workload.hpp"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <attnlab/philox.hpp>
#include <cmath>
#include <functional>
#include <limits>

#include "core/base/error.hpp"
#include "core/base/parallel.hpp"
#include "core/data/normals.hpp"

namespace attnlab::data {
namespace {

using config::WorkloadSpec;
using tensor::Tensor;

constexpr int64_t max_extent = std::numeric_limits<int32_t>::max();  // kernels number keys in int32
constexpr int64_t max_layers = 100000;
constexpr int64_t max_needles = 10000;  // placing needles of one depth is quadratic
/// Largest |alpha ln keys|: the lightest mass, keys^-alpha, stays a normal float32 (smallest 2^-126).
constexpr double max_log_mass_range = 80;

/// What a Philox key is for; part of the key, so that tensors are independent.
enum class Purpose : uint64_t { query = 1, key, value, direction, permutation };

uint64_t key_of(const WorkloadSpec& spec, int layer, Purpose purpose) {
  return mix_key(spec.seed, static_cast<uint64_t>(layer), static_cast<uint64_t>(purpose));
}

/// The Householder reflection that takes channel 0 to a random direction: x - 2 (a.x) / (a.a) a, a = e_0 - u.
/// Reflecting both q and k leaves q.k alone.
class Reflection {
 public:
  Reflection(uint64_t key, uint64_t stream, size_t head_dim) : axis_(head_dim) {
    Philox philox(key, stream);
    double length = 0;
    for (double& x : axis_) {
      x = philox.normal();
      length += x * x;
    }
    length = std::sqrt(length);
    double square = 0;
    for (size_t i = 0; i < axis_.size(); ++i) {
      axis_[i] = (i == 0 ? 1 : 0) - axis_[i] / length;
      square += axis_[i] * axis_[i];
    }
    // u = e_0 (certain to happen for head_dim 1, half of the time): nothing to reflect.
    factor_ = square > 0 ? 2 / square : 0;
  }

  void apply(std::span<float> x) const {
    double product = 0;
    for (size_t i = 0; i < x.size(); ++i) product += axis_[i] * static_cast<double>(x[i]);
    product *= factor_;
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(x[i] - product * axis_[i]);
  }

 private:
  std::vector<double> axis_;
  double factor_ = 0;
};

enum class Role { query, key };

/// Writes `signal` along the reflection's direction plus noise from the stream; `row` holds zeros. Before the
/// reflection, channel 0 holds the signal and channels (1, 2), (3, 4), ... hold (n, n) in queries and (n, -n)
/// in keys: orthogonal whatever n is, in floating point too, and yet no channel is free of either. When
/// head_dim is even the last three channels are (n, n, n) and (n, n, -2n).
void write_row(std::span<float> row, float signal, Role role, uint64_t key, uint64_t stream,
               const Reflection& reflection) {
  size_t pairs = (row.size() - 1) / 2;
  row[0] = signal;
  // The variates start in the upper half of the pairs' channels, so that spreading them overwrites none
  // unread.
  std::span<float> noise = row.subspan(1 + pairs, pairs);
  fill_normals(key, stream, noise);
  for (size_t pair = 0; pair < pairs; ++pair) {
    float n = noise[pair];
    row[1 + 2 * pair] = n;
    row[2 + 2 * pair] = role == Role::query ? n : -n;
  }
  if (pairs > 0 && row.size() % 2 == 0) {
    float n = row[row.size() - 3];
    row[row.size() - 2] = n;
    row.back() = role == Role::query ? n : -2 * n;
  }
  reflection.apply(row);
}

class WorkloadSource : public Source {
 public:
  explicit WorkloadSource(const WorkloadSpec& spec) : spec_(spec) {
    check();
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
    std::string kind = s.kind;
    if (s.kind == "power_law") kind += fmt::format(" (alpha {})", s.alpha);
    if (s.kind == "needle") kind += fmt::format(" (mass {}, {} needles)", s.needle_mass, s.depths.size());
    return fmt::format("workload {}, {} {}, batch {}, {}/{} heads, head_dim {}, {} queries, {} keys, seed {}",
                       kind, s.layers, s.layers == 1 ? "layer" : "layers", s.batch, s.query_heads, s.kv_heads,
                       s.head_dim, s.queries, s.keys, s.seed);
  }

  LayerProblem load(int layer) const override {
    ATTNLAB_CHECK(layer >= 0 && layer < spec_.layers, "no such layer");
    const WorkloadSpec& s = spec_;
    LayerProblem problem;
    problem.layer = layer;
    problem.valid.assign(static_cast<size_t>(s.batch), s.keys);
    auto query = Tensor::zeros(tensor::DType::f32, {s.batch, s.query_heads, s.queries, s.head_dim});
    auto key = Tensor::zeros(tensor::DType::f32, {s.batch, s.kv_heads, s.keys, s.head_dim});
    auto value = Tensor::zeros(tensor::DType::f32, {s.batch, s.kv_heads, s.keys, s.value_dim});
    if (s.kind == "gaussian") {
      fill_normals(key_of(s, layer, Purpose::query), query);
      fill_normals(key_of(s, layer, Purpose::key), key);
    } else {
      problem.true_mass = masses(layer);
      plant(layer, problem.true_mass, query, key);
    }
    fill_normals(key_of(s, layer, Purpose::value), value);
    problem.query = tensor::view_bhsd(query);
    problem.key = tensor::view_bhsd(key);
    problem.value = tensor::view_bhsd(value);
    problem.storage = {query, key, value};
    return problem;
  }

 private:
  [[noreturn]] static void refuse(const std::string& summary, const std::string& found,
                                  const std::string& allowed) {
    throw base::UserError("workload: " + summary, {.found = found, .allowed = allowed});
  }

  void check() const {
    const WorkloadSpec& s = spec_;
    auto extent = [](const char* name, int64_t found, int64_t maximum = max_extent) {
      if (found >= 1 && found <= maximum) return;
      refuse(fmt::format("bad {}", name), std::to_string(found),
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
      refuse("KV heads do not divide the query heads", fmt::format("{} / {}", s.query_heads, s.kv_heads),
             "query_heads a multiple of kv_heads");
    }
    if (s.queries > s.keys) {
      refuse("more queries than keys", fmt::format("{} queries, {} keys", s.queries, s.keys),
             "at most as many queries as keys: queries are the last positions");
    }
    check_memory();
    if (s.kind == "power_law") {
      check_alpha();
    } else if (s.kind == "needle") {
      check_needles();
    } else if (s.kind != "gaussian") {
      throw base::UserError("workload: unknown kind",
                            {.found = s.kind,
                             .allowed = "gaussian, power_law, needle",
                             .suggestion = base::did_you_mean(s.kind, {"gaussian", "power_law", "needle"})});
    }
  }

  void check_memory() const {
    const WorkloadSpec& s = spec_;
    // In double: the product of five extents may not fit in 64 bits.
    double query_rows = static_cast<double>(s.query_heads) * static_cast<double>(s.queries);
    double key_rows = static_cast<double>(s.kv_heads) * static_cast<double>(s.keys);
    double key_channels = static_cast<double>(s.head_dim + s.value_dim + (s.kind == "gaussian" ? 0 : 1));
    double bytes = sizeof(float) * static_cast<double>(s.batch) *
                   (query_rows * static_cast<double>(s.head_dim) + key_rows * key_channels);
    double memory =
        static_cast<double>(::sysconf(_SC_PHYS_PAGES)) * static_cast<double>(::sysconf(_SC_PAGESIZE));
    if (bytes <= memory) return;
    refuse("a layer does not fit in memory", fmt::format("{:.1f} GiB per layer", bytes / 0x1p30),
           fmt::format("at most {:.1f} GiB, the memory of this machine", memory / 0x1p30));
  }

  void check_alpha() const {
    double maximum = spec_.keys > 1 ? max_log_mass_range / std::log(static_cast<double>(spec_.keys)) : 1e9;
    if (std::abs(spec_.alpha) <= maximum) return;  // false for NaN
    refuse("bad alpha", fmt::format("{}", spec_.alpha),
           fmt::format("from {:.4g} to {:.4g} for {} keys: the lightest mass must fit in float32", -maximum,
                       maximum, spec_.keys));
  }

  void check_needles() const {
    const auto& depths = spec_.depths;
    int64_t most = std::min(max_needles, spec_.keys - 1);
    if (depths.empty() || static_cast<int64_t>(depths.size()) > most) {
      refuse("bad number of needle depths", std::to_string(depths.size()),
             fmt::format("from 1 to {}: there must be background keys", most));
    }
    for (double depth : depths) {
      if (!(depth >= 0 && depth <= 1))
        refuse("bad needle depth", fmt::format("{}", depth), "a number from 0 to 1");
    }
    double log_weight = std::log(needle_weight());
    if (!(spec_.needle_mass > 0 && spec_.needle_mass < 1 && std::abs(log_weight) <= max_log_mass_range)) {
      refuse("bad needle_mass", fmt::format("{}", spec_.needle_mass),
             "a number between 0 and 1, both excluded");
    }
  }

  /// Mass of one needle when a background key has mass 1: n w = share (n w + keys - n).
  double needle_weight() const {
    auto needles = static_cast<double>(spec_.depths.size());
    double background = static_cast<double>(spec_.keys) - needles;
    return spec_.needle_mass * background / ((1 - spec_.needle_mass) * needles);
  }

  /// Distinct keys nearest to the depths, in the order of the depths. O(needles x longest run of needles).
  std::vector<size_t> needle_keys() const {
    auto keys = static_cast<size_t>(spec_.keys);
    std::vector<bool> taken(keys);
    std::vector<size_t> result;
    for (double depth : spec_.depths) {
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

  /// Unnormalised softmax masses, float32 [B, Hkv, Sk]; positive.
  Tensor masses(int layer) const {
    auto result = Tensor::zeros(tensor::DType::f32, {spec_.batch, spec_.kv_heads, spec_.keys});
    auto values = result.mutable_values<float>();
    auto keys = static_cast<size_t>(spec_.keys);
    std::vector<size_t> needles;
    if (spec_.kind == "needle") needles = needle_keys();
    base::parallel_for(spec_.batch * spec_.kv_heads, [&](int64_t head, int) {
      auto row = values.subspan(static_cast<size_t>(head) * keys, keys);
      if (spec_.kind == "needle") {
        std::fill(row.begin(), row.end(), 1.0f);
        for (size_t key : needles) row[key] = static_cast<float>(needle_weight());
        return;
      }
      for (size_t i = 0; i < keys; ++i) {
        row[i] = static_cast<float>(std::pow(static_cast<double>(i + 1), -spec_.alpha));
      }
      // Fisher and Yates: every permutation is equally likely.
      Philox philox(key_of(spec_, layer, Purpose::permutation), static_cast<uint64_t>(head));
      for (size_t i = keys - 1; i > 0; --i) std::swap(row[i], row[philox.below(i + 1)]);
    });
    return result;
  }

  /// Writes queries and keys whose softmax has the given masses. O(rows head_dim).
  void plant(int layer, const Tensor& mass, Tensor& query, Tensor& key) const {
    auto head_dim = static_cast<size_t>(spec_.head_dim);
    std::vector<Reflection> reflections;
    for (int64_t head = 0; head < spec_.batch * spec_.kv_heads; ++head) {
      reflections.emplace_back(key_of(spec_, layer, Purpose::direction), static_cast<uint64_t>(head),
                               head_dim);
    }

    auto query_signal = static_cast<float>(std::sqrt(static_cast<double>(head_dim)));
    const uint64_t query_key = key_of(spec_, layer, Purpose::query);
    for_each_row(query, [&](size_t head, size_t row, std::span<float> out) {
      auto group = static_cast<size_t>(geometry_.group());
      write_row(out, query_signal, Role::query, query_key, row, reflections[head / group]);
    });

    auto masses = mass.values<float>();
    // All heads have the same masses, in some order; centred logits keep k short and its rounding small.
    double mean_logit = 0;
    for (float m : masses.first(static_cast<size_t>(spec_.keys)))
      mean_logit += std::log(static_cast<double>(m));
    mean_logit /= static_cast<double>(spec_.keys);
    // The factor undoes the rounding of query_signal.
    double logit_unit = std::sqrt(static_cast<double>(head_dim)) / query_signal;
    const uint64_t key_key = key_of(spec_, layer, Purpose::key);
    for_each_row(key, [&](size_t head, size_t row, std::span<float> out) {
      double logit = (std::log(static_cast<double>(masses[row])) - mean_logit) * logit_unit;
      write_row(out, static_cast<float>(logit), Role::key, key_key, row, reflections[head]);
    });
  }

  /// Calls body(b * H + h, row of the flattened [B H S], its channels) for each row of a [B, H, S, D] tensor,
  /// in parallel.
  static void for_each_row(Tensor& tensor,
                           const std::function<void(size_t, size_t, std::span<float>)>& body) {
    constexpr size_t block = 256;
    auto values = tensor.mutable_values<float>();
    auto tokens = static_cast<size_t>(tensor.shape()[2]);
    auto channels = static_cast<size_t>(tensor.shape()[3]);
    size_t rows = values.size() / channels;
    base::parallel_for(static_cast<int64_t>((rows + block - 1) / block), [&](int64_t index, int) {
      size_t begin = static_cast<size_t>(index) * block;
      for (size_t row = begin; row < std::min(rows, begin + block); ++row) {
        body(row / tokens, row, values.subspan(row * channels, channels));
      }
    });
  }

  WorkloadSpec spec_;
  Geometry geometry_;
  std::vector<int> layers_;
};

}  // namespace

std::unique_ptr<Source> open_workload(const WorkloadSpec& spec) {
  return std::make_unique<WorkloadSource>(spec);
}

}  // namespace attnlab::data
