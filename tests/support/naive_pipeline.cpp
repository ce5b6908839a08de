#include "tests/support/naive_pipeline.hpp"

#include <attnlab/philox.hpp>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <stdexcept>

namespace attnlab::test {
namespace {

using io::Json;

/// Keys out of `visible` that a resolved size asks for: a count, or "10%".
int64_t size_of(const Json& size, int64_t visible) {
  if (size.is_number_integer()) return size.get<int64_t>();
  const double share = std::stod(size.get<std::string>()) / 100;
  return std::max<int64_t>(1, static_cast<int64_t>(std::floor(share * static_cast<double>(visible))));
}

/// One row while the stages run.
struct Row {
  NaiveRow& result;
  int64_t b, h, position, stage;
  const attention::AttentionOptions& options;
  int64_t layer;

  std::vector<int64_t> visible_keys() const {
    std::vector<int64_t> keys;
    for (size_t j = 0; j < result.visible.size(); ++j) {
      if (result.visible[j]) keys.push_back(static_cast<int64_t>(j));
    }
    return keys;
  }
  /// Visible and not deterministically active.
  std::vector<int64_t> candidates() const {
    std::vector<int64_t> keys;
    for (int64_t j : visible_keys()) {
      if (result.probability[static_cast<size_t>(j)] < 1) keys.push_back(j);
    }
    return keys;
  }
  void activate(int64_t key, double p = 1) {
    double& current = result.probability[static_cast<size_t>(key)];
    current = std::max(current, p);
  }
  double logit(int64_t key) const { return result.logits[static_cast<size_t>(key)]; }
};

void sink(Row& row, const Json& stage) {
  const auto keys = row.visible_keys();
  const int64_t count = size_of(stage["sink_size"], static_cast<int64_t>(keys.size()));
  for (size_t i = 0; i < keys.size() && static_cast<int64_t>(i) < count; ++i) row.activate(keys[i]);
}

void local(Row& row, const Json& stage) {
  auto keys = row.visible_keys();
  const int64_t count = size_of(stage["window_size"], static_cast<int64_t>(keys.size()));
  std::reverse(keys.begin(), keys.end());
  for (size_t i = 0; i < keys.size() && static_cast<int64_t>(i) < count; ++i) row.activate(keys[i]);
}

void causal(Row& row) {
  for (int64_t key : row.visible_keys()) row.activate(key);
}

void strided(Row& row, const Json& stage) {
  for (int64_t key : row.visible_keys()) {
    if (key % stage["stride"].get<int64_t>() == stage["offset"].get<int64_t>()) row.activate(key);
  }
}

void by_logits(Row& row, const Json& stage) {
  auto keys = row.candidates();
  std::stable_sort(keys.begin(), keys.end(),
                   [&](int64_t a, int64_t b) { return row.logit(a) > row.logit(b); });
  if (stage["select"] == "top_k") {
    const auto visible = static_cast<int64_t>(row.visible_keys().size());
    const int64_t count = size_of(stage["heavy_size"], visible);
    for (size_t i = 0; i < keys.size() && static_cast<int64_t>(i) < count; ++i) row.activate(keys[i]);
  } else if (stage["select"] == "threshold") {
    for (int64_t key : keys) {
      if (row.logit(key) >= stage["threshold"].get<double>()) row.activate(key);
    }
  } else {
    const auto of = stage["of"] == "total" ? row.visible_keys() : keys;
    double total = 0;
    for (int64_t key : of) total += std::exp(row.logit(key));
    double reached = 0;
    for (int64_t key : keys) {
      row.activate(key);
      reached += std::exp(row.logit(key));
      if (stage["top_p"].get<double>() < 1 && reached >= stage["top_p"].get<double>() * total) break;
    }
  }
}

/// Floyd's algorithm on ordinals, with a set.
void random_sampling(Row& row, const Json& stage) {
  const auto keys = row.candidates();
  if (keys.empty()) return;
  const auto n = static_cast<int64_t>(keys.size());
  const int64_t count = std::max<int64_t>(
      1, static_cast<int64_t>(std::floor(stage["sampling_rate"].get<double>() * static_cast<double>(n))));
  const uint64_t key =
      mix_key(row.options.seed, stage["seed"].get<uint64_t>(), static_cast<uint64_t>(row.stage),
              static_cast<uint64_t>(row.layer), static_cast<uint64_t>(row.b));
  Philox random(key, (static_cast<uint64_t>(row.h) << 40) | static_cast<uint64_t>(row.position));
  std::set<int64_t> chosen;
  for (int64_t j = n - count; j < n; ++j) {
    const auto draw = static_cast<int64_t>(random.below(static_cast<uint64_t>(j) + 1));
    chosen.insert(chosen.contains(draw) ? j : draw);
  }
  for (int64_t ordinal : chosen) {
    row.activate(keys[static_cast<size_t>(ordinal)], static_cast<double>(count) / static_cast<double>(n));
  }
}

void run_stage(Row& row, const Json& stage) {
  const std::string id = stage["masker"];
  if (id == "sink") return sink(row, stage);
  if (id == "local") return local(row, stage);
  if (id == "causal") return causal(row);
  if (id == "strided") return strided(row, stage);
  if (id == "oracle_top_k" || id == "oracle_top_p") return by_logits(row, stage);
  if (id == "random_sampling") return random_sampling(row, stage);
  throw std::logic_error("no naive version of " + id + ": write one in tests/support/naive_pipeline.cpp");
}

}  // namespace

NaiveRow naive_row(const Json& stages, const SmallProblem& problem,
                   const attention::AttentionOptions& options, int64_t b, int64_t h, int64_t query) {
  const data::Geometry& g = problem.geometry;
  const data::LayerProblem& layer = problem.layer;
  NaiveRow result;
  const int64_t kv = h / g.group();
  const int64_t valid = layer.valid[static_cast<size_t>(b)];
  const int64_t position = query + valid - g.queries;
  for (int64_t j = 0; j < g.keys; ++j) {
    double logit = 0;
    for (int64_t c = 0; c < g.head_dim; ++c) {
      logit += double{layer.query.row(b, h, query)[c]} * double{layer.key.row(b, kv, j)[c]};
    }
    logit *= double{options.scale};
    if (!layer.bias.empty()) {
      const auto& shape = layer.bias.shape();
      const int64_t bias_head = shape[1] == 1 ? 0 : h;
      logit += double{
          layer.bias.values<float>()[static_cast<size_t>((bias_head * shape[2] + query) * shape[3] + j)]};
    }
    result.logits.push_back(logit);
    result.visible.push_back(j < valid && (!options.causal || j <= position) && std::isfinite(logit));
  }
  result.probability.assign(static_cast<size_t>(g.keys), 0);
  Row row{result, b, h, position, 0, options, layer.layer};
  if (stages.empty()) causal(row);
  for (const auto& stage : stages) {
    run_stage(row, stage);
    ++row.stage;
  }

  double denominator =
      layer.sink_logit.empty() ? 0 : std::exp(double{layer.sink_logit[static_cast<size_t>(h)]});
  result.output.assign(static_cast<size_t>(g.value_dim), 0);
  for (int64_t j = 0; j < g.keys; ++j) {
    const double p = result.probability[static_cast<size_t>(j)];
    if (p == 0) continue;
    const double weight = std::exp(result.logits[static_cast<size_t>(j)]) / p;
    denominator += weight;
    for (int64_t c = 0; c < g.value_dim; ++c) {
      result.output[static_cast<size_t>(c)] += weight * double{layer.value.row(b, kv, j)[c]};
    }
  }
  for (double& value : result.output) value = denominator > 0 ? value / denominator : 0;
  result.lse = std::log(denominator);
  return result;
}

}  // namespace attnlab::test
