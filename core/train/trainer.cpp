#include "core/train/trainer.hpp"

#include <attnlab/philox.hpp>

#include <algorithm>
#include <cmath>

#include "core/base/parallel.hpp"

namespace attnlab::train {
namespace {

using graph::Array;
using graph::Element;
using graph::value_of;

model::TokenBlock block_of(const data::TokenBatch& batch) {
  return {batch.batch, batch.tokens, batch.inputs};
}

Array integers(const std::vector<int64_t>& values, const graph::Extents& shape) {
  Array array(Element::i64, shape);
  std::copy(values.begin(), values.end(), array.mutable_data<int64_t>());
  return array;
}

/// Means by name of what layers reported.
std::map<std::string, Var> means(const std::vector<model::Report>& reports, int32_t kind) {
  std::map<std::string, std::pair<Var, int>> sums;
  for (const model::Report& report : reports) {
    if (report.kind != kind) continue;
    auto& [sum, count] = sums[report.name];
    sum = sum ? sum + report.value : report.value;
    ++count;
  }
  std::map<std::string, Var> result;
  for (auto& [name, sum] : sums) result[name] = sum.second == 1 ? sum.first : sum.first * (1.0 / sum.second);
  return result;
}

/// Rows of logits whose largest element is the target, and rows that have one.
struct Hits {
  int64_t right = 0, targets = 0;
};
Hits count_hits(const Array& logits, const std::vector<int64_t>& targets) {
  const Array packed = logits.packed();
  const int64_t classes = packed.extent(-1);
  Hits hits;
  for (size_t row = 0; row < targets.size(); ++row) {
    if (targets[row] < 0) continue;
    const float* values = packed.data<float>() + static_cast<int64_t>(row) * classes;
    ++hits.targets;
    hits.right += std::max_element(values, values + classes) - values == targets[row] ? 1 : 0;
  }
  return hits;
}

/// Appends the windows of a batch to the evaluation.
void add_windows(const Array& logits, const data::TokenBatch& batch, Evaluation& evaluation) {
  const Array packed = logits.packed();
  const int64_t classes = packed.extent(-1);
  const auto first = evaluation.window_losses.size();
  evaluation.window_losses.resize(first + static_cast<size_t>(batch.batch));
  evaluation.window_targets.resize(evaluation.window_losses.size());
  base::parallel_for(batch.batch, [&](int64_t window, int) {
    double sum = 0;
    int64_t targets = 0;
    for (int64_t row = window * batch.tokens; row < (window + 1) * batch.tokens; ++row) {
      const int64_t target = batch.targets[static_cast<size_t>(row)];
      if (target < 0) continue;
      const float* values = packed.data<float>() + row * classes;
      const double most = *std::max_element(values, values + classes);
      double mass = 0;
      for (int64_t c = 0; c < classes; ++c) mass += std::exp(values[c] - most);
      sum += most + std::log(mass) - values[target];
      ++targets;
    }
    const size_t at = first + static_cast<size_t>(window);
    evaluation.window_losses[at] = targets == 0 ? 0 : sum / static_cast<double>(targets);
    evaluation.window_targets[at] = targets;
  });
}

}  // namespace

Var training_loss(const model::Pass& pass, const data::TokenBatch& batch, StepRecord& record) {
  const Var targets = pass.graph->constant(integers(batch.targets, {batch.batch, batch.tokens}));
  Var loss = cross_entropy(pass.logits, targets);
  record.loss += value_of(loss).scalar();
  for (const auto& [name, value] : means(*pass.reports, ATTNLAB_REPORT_LOSS)) {
    record.other_losses[name] += value_of(value).scalar();
    loss = loss + value;
  }
  for (const auto& [name, value] : means(*pass.reports, ATTNLAB_REPORT_METRIC))
    record.metrics[name] += value_of(value).scalar();
  return loss;
}

Trainer::Trainer(model::Gpt& model, const data::TokenSource& source, const TrainOptions& options)
    : model_(model), source_(source), options_(options), optimiser_(model.parameters(), options.adamw) {}

StepRecord Trainer::step() {
  StepRecord record;
  record.step = steps_;
  record.learning_rate = options_.schedule.at(steps_);
  std::vector<Array> total;
  for (int64_t part = 0; part < options_.accumulate; ++part) {
    const auto draw = static_cast<uint64_t>(steps_ * options_.accumulate + part);
    const data::TokenBatch batch = source_.training(options_.batch, draw);
    const model::Pass pass = model_.forward(block_of(batch), true, attnlab::mix_key(options_.seed, 3, draw));
    const Var loss = training_loss(pass, batch, record);
    std::vector<Var> by;
    for (const graph::NodePtr& node : pass.parameters->nodes()) by.push_back(pass.graph->share(node.get()));
    const double share = 1.0 / static_cast<double>(options_.accumulate);
    const Var seed = options_.accumulate == 1 ? Var() : pass.graph->constant(share);
    const std::vector<Var> found = graph::gradients(*pass.graph, loss, seed, by, false);
    for (size_t i = 0; i < found.size(); ++i) {
      if (part == 0) {
        total.push_back(value_of(found[i]));
      } else {
        total[i] = value_of(pass.graph->constant(total[i]) + found[i]);
      }
    }
  }
  const double share = 1.0 / static_cast<double>(options_.accumulate);
  record.loss *= share;
  for (auto* parts : {&record.other_losses, &record.metrics}) {
    for (auto& [name, value] : *parts) value *= share;
  }
  record.gradient_norm = optimiser_.update(model_.parameters(), total, record.learning_rate);
  ++steps_;
  return record;
}

Evaluation Trainer::evaluate(bool by_window) const {
  Evaluation result;
  double sum = 0;
  Hits hits;
  for (int64_t first = 0; first < source_.evaluation_windows(); first += options_.evaluate_batch) {
    const int64_t count = std::min(options_.evaluate_batch, source_.evaluation_windows() - first);
    const data::TokenBatch batch = source_.evaluation(first, count);
    const model::Pass pass = model_.forward(block_of(batch));
    const Array logits = value_of(pass.logits).as(Element::f32);
    const Hits here = count_hits(logits, batch.targets);
    if (by_window) add_windows(logits, batch, result);
    const Var targets = pass.graph->constant(integers(batch.targets, {batch.batch, batch.tokens}));
    sum += value_of(cross_entropy(pass.logits, targets)).scalar() * static_cast<double>(here.targets);
    hits.right += here.right, hits.targets += here.targets;
  }
  result.targets = hits.targets;
  result.loss = sum / static_cast<double>(hits.targets);
  result.accuracy = static_cast<double>(hits.right) / static_cast<double>(hits.targets);
  return result;
}

void Trainer::restore(int64_t steps, AdamW optimiser) {
  steps_ = steps;
  optimiser_ = std::move(optimiser);
}

}  // namespace attnlab::train
