#include "tests/golden/hub_case.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <numeric>
#include <stdexcept>

#include "core/io/atomic_file.hpp"
#include "core/io/npy.hpp"

namespace attnlab::golden {
namespace {

using io::Json;
using tensor::Tensor;

/// Manifests are Python's JSON: NaN is no JSON, and becomes null.
Json read_manifest(const std::string& path) {
  std::string text = io::read_text(path, size_t{1} << 20);
  const std::string nan = ": NaN";
  for (size_t at = text.find(nan); at != std::string::npos; at = text.find(nan, at)) {
    text.replace(at, nan.size(), ": null");
  }
  return Json::parse(text);
}

bool hidden(float bias) {
  return bias < std::numeric_limits<float>::lowest() / 2;
}

}  // namespace

std::filesystem::path hub_folder() {
  const char* shared = std::getenv("ATTNLAB_SHARED");
  return std::filesystem::path(shared != nullptr ? shared : ATTNLAB_SHARED_DIR) / "golden/hub";
}

Plane Plane::read(const std::string& path) {
  const Tensor tensor = io::read_npy(path);
  if (tensor.dtype() != tensor::DType::f32 || tensor.rank() != 4) {
    throw std::runtime_error(path + " is not a float32 tensor of rank 4");
  }
  Plane plane;
  plane.columns = tensor.shape().back();
  const auto values = tensor.values<float>();
  plane.values.assign(values.begin(), values.end());
  return plane;
}

HubCase::HubCase(const std::string& name, int step) : name_(name), folder_(hub_folder() / name) {
  if (!std::filesystem::exists(path("manifest.json"))) prefix_ = "step" + std::to_string(step) + "_";
  manifest_ = read_manifest(result("manifest.json"));
  const auto& extents = manifest_["shape"];
  auto extent = [&](const char* key) { return extents[key].get<int64_t>(); };
  shape_ = {extent("B"),
            extent("Hq"),
            extent("Hkv"),
            extent("Sq"),
            extent("Sk"),
            extent("D"),
            extents.value("Dv", extent("D"))};
  const auto& files = manifest_["inputs"];
  for (const char* tensor : {"q", "k", "v"}) {
    inputs_[tensor] = io::read_npy(path(files[tensor].get<std::string>()));
  }
  const auto ids = masker_ids();
  causal_ = !ids.empty() && std::all_of(ids.begin(), ids.end(),
                                        [](const std::string& id) { return id == "sink" || id == "local"; });
  if (files.contains("attention_mask")) read_attention_mask(path(files["attention_mask"].get<std::string>()));
}

void HubCase::read_attention_mask(const std::string& path) {
  const Plane mask = Plane::read(path);
  if (mask.rows() != shape_.queries || mask.columns < shape_.keys) {
    throw std::runtime_error(path + " is not [1, 1, queries, keys or more]");
  }
  Tensor bias = Tensor::zeros(tensor::DType::f32, {1, 1, shape_.queries, shape_.keys});
  bool hides_later = true, additive = false;
  for (int64_t query = 0; query < shape_.queries; ++query) {
    const auto from = mask.row(query).first(static_cast<size_t>(shape_.keys));
    std::copy(from.begin(), from.end(), bias.mutable_values<float>().begin() + query * shape_.keys);
    for (int64_t key = 0; key < shape_.keys; ++key) {
      const float value = from[static_cast<size_t>(key)];
      const bool later = key > query + shape_.keys - shape_.queries;
      hides_later &= !later || hidden(value);
      additive |= !later && value != 0;
    }
  }
  causal_ = hides_later;
  if (additive || !hides_later) inputs_["bias"] = bias;
}

const std::string& masker_id(const std::string& config_class) {
  static const std::map<std::string, std::string> ids = {
      {"FixedMaskerConfig", "causal"},
      {"SinkMaskerConfig", "sink"},
      {"LocalMaskerConfig", "local"},
      {"OracleTopKConfig", "oracle_top_k"},
      {"OracleTopPMaskerConfig", "oracle_top_p"},
      {"HashAttentionTopKMaskerConfig", "hash_attention"},
      {"QuestTopKMaskerConfig", "quest"},
      {"DoubleSparsityTopKMaskerConfig", "double_sparsity"},
      {"PQCacheConfig", "pq_cache"},
      {"SocketMaskerConfig", "socket"},
      {"RandomSamplingMaskerConfig", "random_sampling"},
      {"MagicPigConfig", "magic_pig"},
      {"AdaptiveSamplingMaskerConfig", "adaptive_sampling"},
  };
  return ids.at(config_class);
}

std::vector<std::string> HubCase::masker_ids() const {
  std::vector<std::string> ids;
  for (const auto& masker : manifest_["maskers"]) ids.push_back(masker_id(masker["type"].get<std::string>()));
  return ids;
}

Json HubCase::stages() const {
  Json stages = Json::array();
  for (const auto& masker : manifest_["maskers"]) {
    Json stage = {{"masker", masker_id(masker["type"].get<std::string>())}};
    for (const auto& parameter : masker["params"].items()) stage[parameter.key()] = parameter.value();
    stages.push_back(stage);
  }
  return stages;
}

const Json& HubCase::parameter(const std::string& masker, const std::string& key) const {
  for (const auto& stage : manifest_["maskers"]) {
    if (masker_id(stage["type"].get<std::string>()) == masker) return stage["params"].at(key);
  }
  throw std::out_of_range(name_ + " has no stage " + masker);
}

Plane HubCase::output() const {
  const Plane reference = Plane::read(result("output.npy"));
  Plane output(shape_.rows(), reference.columns, 0);
  for (int64_t row = 0; row < shape_.rows(); ++row) {
    const int64_t query = row % shape_.queries, head = row / shape_.queries % shape_.query_heads;
    const int64_t batch = row / shape_.queries / shape_.query_heads;
    const auto from = reference.row((batch * shape_.queries + query) * shape_.query_heads + head);
    std::copy(from.begin(), from.end(), output.row(row).begin());
  }
  return output;
}

int64_t HubCase::visible_end(int64_t row) const {
  return causal_ ? row % shape_.queries + shape_.keys - shape_.queries + 1 : shape_.keys;
}

std::vector<double> HubCase::logits(int64_t row, double scale) const {
  const int64_t batch = row / shape_.queries / shape_.query_heads, query = row % shape_.queries;
  const int64_t head = row / shape_.queries % shape_.query_heads;
  const int64_t kv_row = batch * shape_.kv_heads + head / (shape_.query_heads / shape_.kv_heads);
  const float* q = inputs_.at("q").values<float>().data() + row * shape_.head_dim;
  const float* k = inputs_.at("k").values<float>().data() + kv_row * shape_.keys * shape_.head_dim;
  const auto bias = inputs_.find("bias");
  std::vector<double> logits(static_cast<size_t>(shape_.keys));
  for (int64_t key = 0; key < shape_.keys; ++key) {
    double dot = 0;
    for (int64_t d = 0; d < shape_.head_dim; ++d) dot += double{q[d]} * double{k[key * shape_.head_dim + d]};
    double& logit = logits[static_cast<size_t>(key)];
    logit = scale * dot;
    if (bias != inputs_.end()) {
      logit += double{bias->second.values<float>()[static_cast<size_t>(query * shape_.keys + key)]};
    }
  }
  return logits;
}

std::vector<double> HubCase::attend(int64_t row, std::span<const float> probability) const {
  const int64_t batch = row / shape_.queries / shape_.query_heads;
  const int64_t head = row / shape_.queries % shape_.query_heads;
  const int64_t kv_row = batch * shape_.kv_heads + head / (shape_.query_heads / shape_.kv_heads);
  const float* v = inputs_.at("v").values<float>().data() + kv_row * shape_.keys * shape_.value_dim;
  const std::vector<double> logit = logits(row);
  auto active = [&](int64_t key) { return probability[static_cast<size_t>(key)] > 0; };
  double peak = -std::numeric_limits<double>::infinity(), denominator = 0;
  for (int64_t key = 0; key < visible_end(row); ++key) {
    if (active(key)) peak = std::max(peak, logit[static_cast<size_t>(key)]);
  }
  std::vector<double> output(static_cast<size_t>(shape_.value_dim));
  for (int64_t key = 0; key < visible_end(row); ++key) {
    if (!active(key)) continue;
    const auto j = static_cast<size_t>(key);
    const double weight = std::exp(logit[j] - peak) / double{probability[j]};
    denominator += weight;
    for (size_t d = 0; d < output.size(); ++d) {
      output[d] += weight * double{v[key * shape_.value_dim + static_cast<int64_t>(d)]};
    }
  }
  for (double& value : output) value /= denominator;
  return output;
}

std::vector<int64_t> largest(std::span<const double> values, int64_t end, int64_t count) {
  std::vector<int64_t> order(static_cast<size_t>(end));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return values[static_cast<size_t>(a)] > values[static_cast<size_t>(b)];
  });
  order.resize(static_cast<size_t>(std::min(count, end)));
  std::sort(order.begin(), order.end());
  return order;
}

std::vector<int64_t> heaviest(std::span<const double> logits, int64_t end, double share) {
  const double peak = *std::max_element(logits.begin(), logits.begin() + end);
  std::vector<double> mass;
  for (double logit : logits.first(static_cast<size_t>(end))) mass.push_back(std::exp(logit - peak));
  std::vector<double> descending = mass;
  std::sort(descending.rbegin(), descending.rend());
  const double wanted = share * std::accumulate(mass.begin(), mass.end(), 0.0);
  double reached = 0;
  int64_t count = 0;
  while (count < end && reached < wanted) reached += descending[static_cast<size_t>(count++)];
  return largest(mass, end, count);
}

}  // namespace attnlab::golden
