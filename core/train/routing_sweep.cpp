// Gates, losses and state of a model on the evaluation sweep: what routing.cpp analyses.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/base/parallel.hpp"
#include "core/train/routing.hpp"

namespace attnlab::train {
namespace {

using base::UserError;
using graph::Array;
using graph::Element;

/// Windows [first, last) of a batch, each cut to its first `tokens` tokens.
data::TokenBatch part_of(const data::TokenBatch& batch, int64_t first, int64_t last, int64_t tokens) {
  data::TokenBatch part{last - first, tokens, {}, {}};
  for (int64_t b = first; b < last; ++b) {
    const auto from = b * batch.tokens, to = from + tokens;
    part.inputs.insert(part.inputs.end(), batch.inputs.begin() + from, batch.inputs.begin() + to);
    part.targets.insert(part.targets.end(), batch.targets.begin() + from, batch.targets.begin() + to);
  }
  return part;
}

/// Tokens of a window before its padding. Each token of a text has a target; of a generated task a token
/// without one is a token all the same.
int64_t unpadded_tokens(const data::TokenBatch& batch, int64_t window, bool is_text) {
  int64_t tokens = batch.tokens;
  const int64_t* targets = batch.targets.data() + window * batch.tokens;
  while (is_text && tokens > 0 && targets[tokens - 1] == data::ignored_target) --tokens;
  return tokens;
}

/// The batch without padding: whole windows together, those that are cut alone.
std::vector<data::TokenBatch> without_padding(const data::TokenBatch& batch, bool is_text) {
  std::vector<data::TokenBatch> parts;
  for (int64_t first = 0, last; first < batch.batch; first = last) {
    const int64_t tokens = unpadded_tokens(batch, first, is_text);
    last = first + 1;
    while (tokens == batch.tokens && last < batch.batch &&
           unpadded_tokens(batch, last, is_text) == batch.tokens)
      ++last;
    if (tokens > 0) parts.push_back(part_of(batch, first, last, tokens));
  }
  return parts;
}

/// -log softmax(logits)[target] of each row that has a target, else 0.
std::vector<double> losses_of(const Array& logits, const std::vector<int64_t>& targets) {
  const Array packed = logits.as(Element::f32).packed();
  const int64_t classes = packed.extent(-1);
  std::vector<double> losses(targets.size(), 0);
  base::parallel_for(static_cast<int64_t>(targets.size()), [&](int64_t row, int) {
    const auto at = static_cast<size_t>(row);
    if (targets[at] == data::ignored_target) return;
    const float* values = packed.data<float>() + row * classes;
    const double most = *std::max_element(values, values + classes);
    double total = 0;
    for (int64_t c = 0; c < classes; ++c) total += std::exp(values[c] - most);
    losses[at] = most + std::log(total) - values[targets[at]];
  });
  for (const double loss : losses) {
    if (!std::isfinite(loss))
      throw UserError("the model's loss is not finite", {.found = fmt::format("{}", loss)},
                      base::Exit::failed);
  }
  return losses;
}

/// What one layer reported in a pass.
struct LayerReports {
  Array gates;
  std::vector<std::string> branches;
  double cache_elements = -1;
};

LayerReports reports_of(const model::Pass& pass, int64_t layer, const data::TokenBatch& batch) {
  LayerReports found;
  for (const model::Report& report : *pass.reports) {
    if (report.layer != layer) continue;
    if (report.kind == ATTNLAB_REPORT_INTERMEDIATE && report.name == "gates")
      found.gates = graph::value_of(report.value);
    if (report.kind != ATTNLAB_REPORT_METRIC) continue;
    if (report.name.starts_with("gate_") && report.name != "gate_entropy")
      found.branches.push_back(report.name.substr(5));
    if (report.name == "cache_elements_per_token")
      found.cache_elements = graph::value_of(report.value).scalar();
  }
  const Array& gates = found.gates;
  const bool routes = !gates.empty() && gates.rank() == 3 && gates.extent(0) == batch.batch &&
                      gates.extent(1) == batch.tokens && !found.branches.empty() &&
                      gates.extent(2) == static_cast<int64_t>(found.branches.size());
  return routes ? found : LayerReports{};
}

void append_gates(const Array& gates, LayerGates& layer) {
  const Array packed = gates.as(Element::f32).packed();
  const float* values = packed.data<float>();
  const auto branches = layer.branches.size();
  for (int64_t row = 0; row < packed.size() / static_cast<int64_t>(branches); ++row, values += branches) {
    const double sum = std::accumulate(values, values + branches, 0.0);
    const bool mixes = std::abs(sum - 1) < 1e-3 && *std::min_element(values, values + branches) >= 0;
    if (!mixes) {
      throw UserError(
          fmt::format("the gates that {} reports in layer {} are no mixture", layer.scheme, layer.layer),
          {.found = fmt::format("a sum of {}", sum), .allowed = "shares that sum to 1"},
          base::Exit::plugin_broken);
    }
    layer.gates.insert(layer.gates.end(), values, values + branches);
  }
}

/// Sums of what is averaged over tokens.
class CacheMean {
 public:
  void add(double elements, int64_t tokens) {
    if (elements < 0) return;
    sum_ += elements * static_cast<double>(tokens);
    tokens_ += tokens;
  }
  double mean() const { return tokens_ > 0 ? sum_ / static_cast<double>(tokens_) : -1; }

 private:
  double sum_ = 0;
  int64_t tokens_ = 0;
};

void append_tokens(const data::TokenBatch& batch, const Array& logits, SweptTokens& tokens) {
  tokens.windows += batch.batch;
  tokens.ids.insert(tokens.ids.end(), batch.inputs.begin(), batch.inputs.end());
  tokens.targets.insert(tokens.targets.end(), batch.targets.begin(), batch.targets.end());
  for (int64_t i = 0; i < batch.batch * batch.tokens; ++i) tokens.positions.push_back(i % batch.tokens);
  const std::vector<double> losses = losses_of(logits, batch.targets);
  tokens.losses.insert(tokens.losses.end(), losses.begin(), losses.end());
}

/// The layer's place in the sweep, made when it is new.
LayerGates& layer_of(Sweep& sweep, const LayerGates& named) {
  const auto found = std::find_if(sweep.layers.begin(), sweep.layers.end(),
                                  [&](const LayerGates& known) { return known.layer == named.layer; });
  return found != sweep.layers.end() ? *found : sweep.layers.emplace_back(named);
}

/// A scheme reports the same gates in every pass.
void check_gates(const Sweep& sweep) {
  for (const LayerGates& layer : sweep.layers) {
    if (layer.gates.size() == sweep.tokens.ids.size() * layer.branches.size()) continue;
    throw UserError(fmt::format("{} reports gates of layer {} in some passes and not in others, or of other "
                                "branches",
                                layer.scheme, layer.layer),
                    {}, base::Exit::plugin_broken);
  }
}

}  // namespace

double SweptTokens::mean_loss() const {
  double sum = 0;
  int64_t count = 0;
  for (size_t t = 0; t < losses.size(); ++t) {
    if (targets[t] == data::ignored_target) continue;
    sum += losses[t];
    ++count;
  }
  return count > 0 ? sum / static_cast<double>(count) : std::numeric_limits<double>::quiet_NaN();
}

Sweep sweep_gates(const model::Gpt& model, const data::TokenSource& source, int64_t windows, int64_t batch) {
  Sweep sweep;
  sweep.tokens.block = source.block();
  std::vector<CacheMean> cache(model.layers().size());
  for (int64_t first = 0; first < windows; first += batch) {
    const auto read = source.evaluation(first, std::min(batch, windows - first));
    for (const data::TokenBatch& part : without_padding(read, source.tokeniser() != nullptr)) {
      const model::Pass pass = model.forward({part.batch, part.tokens, part.inputs});
      append_tokens(part, graph::value_of(pass.logits), sweep.tokens);
      for (size_t i = 0; i < cache.size(); ++i) {
        const auto layer = static_cast<int64_t>(i);
        const LayerReports reports = reports_of(pass, layer, part);
        if (reports.gates.empty()) continue;
        const std::string& scheme = model.layers()[i].scheme().descriptor().id;
        append_gates(reports.gates, layer_of(sweep, {layer, scheme, reports.branches, {}, -1}));
        cache[i].add(reports.cache_elements, part.batch * part.tokens);
      }
    }
  }
  check_gates(sweep);
  for (LayerGates& layer : sweep.layers)
    layer.cache_elements = cache[static_cast<size_t>(layer.layer)].mean();
  return sweep;
}

std::vector<uint64_t> decode_state_bytes(const model::Gpt& model, const data::TokenSource& source,
                                         int64_t& tokens) {
  const auto parts = without_padding(source.evaluation(0, 1), source.tokeniser() != nullptr);
  ATTNLAB_CHECK(!parts.empty(), "the first window has tokens");
  tokens = parts.front().tokens;
  model::DecodeState state = model.new_state();
  model.step({1, tokens, parts.front().inputs}, state);
  std::vector<uint64_t> bytes;
  for (const model::LayerState& layer : state.layers) bytes.push_back(layer.bytes());
  return bytes;
}

}  // namespace attnlab::train
