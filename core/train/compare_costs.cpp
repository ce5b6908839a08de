#include "core/train/compare_costs.hpp"

#include <algorithm>

#include "core/base/stopwatch.hpp"
#include "core/tensor/buffer_pool.hpp"

namespace attnlab::train {
namespace {

constexpr int64_t kUntimedUpdates = 2, kUpdates = 20, kDecodings = 5;

double seconds_of(const std::function<void()>& work) {
  const base::Stopwatch watch;
  work();
  return watch.seconds();
}

/// Between neighbours of the sorted values.
double quantile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  const double place = share * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (place - static_cast<double>(below)) * (values[above] - values[below]);
}

/// A subject with what the clock needs; a trainer keeps references into its study.
struct Runner {
  Study study;
  std::unique_ptr<Trainer> trainer;
  std::vector<double> updates, decodings;
  uint64_t memory = 0;
};

std::unique_ptr<Runner> make_runner(const config::ComparePlan& plan, size_t subject,
                                    const plugin::Catalog& catalog, const config::Document& comparison) {
  auto runner = std::make_unique<Runner>();
  const uint64_t before = tensor::pool_use().now;
  runner->study = study_of(plan, subject, plan.seeds.front(), catalog, comparison);
  runner->trainer =
      std::make_unique<Trainer>(*runner->study.model, *runner->study.source, options_of(runner->study.plan));
  const uint64_t standing = tensor::pool_use().now;
  tensor::restart_most_in_use();
  for (int64_t i = 0; i < kUntimedUpdates; ++i) runner->trainer->step();
  runner->memory = standing - before + (tensor::pool_use().most - standing);
  return runner;
}

/// Decodes windows of the sweep, as many at once as asked for, token after token.
void decode(const Study& study, int64_t batch, int64_t tokens) {
  const int64_t windows = study.source->evaluation_windows();
  std::vector<data::TokenBatch> sequences;
  for (int64_t b = 0; b < batch; ++b) sequences.push_back(study.source->evaluation(b % windows, 1));
  model::DecodeState state = study.model->new_state();
  std::vector<int64_t> ids(static_cast<size_t>(batch));
  for (int64_t t = 0; t < tokens; ++t) {
    for (size_t b = 0; b < ids.size(); ++b)
      ids[b] = sequences[b].inputs[static_cast<size_t>(t % sequences[b].tokens)];
    study.model->step({batch, 1, ids}, state);
  }
}

/// Positions that the model can decode, at most those that are asked for.
int64_t decode_tokens(const config::ComparePlan& plan, const Study& study) {
  const model::GptShape& shape = study.model->shape();
  const int64_t wanted = plan.decode_tokens > 0 ? plan.decode_tokens : study.source->block();
  return shape.position == model::Position::learned ? std::min(wanted, shape.block) : wanted;
}

SubjectClock clock_of(const config::ComparePlan& plan, const Runner& runner) {
  SubjectClock clock;
  clock.update_seconds = quantile(runner.updates, 0.5);
  clock.update_low = quantile(runner.updates, 0.25);
  clock.update_high = quantile(runner.updates, 0.75);
  const config::OptimiserPlan& train = runner.study.plan.train;
  clock.tokens_per_second =
      static_cast<double>(train.batch * train.accumulate * runner.study.source->block()) /
      clock.update_seconds;
  if (!runner.decodings.empty()) {
    clock.decode_tokens_per_second =
        static_cast<double>(plan.decode_batch * decode_tokens(plan, runner.study)) /
        quantile(runner.decodings, 0.5);
  }
  clock.memory_bytes = runner.memory;
  return clock;
}

}  // namespace

double MeasuredState::per_token() const {
  return (static_cast<double>(long_bytes) - static_cast<double>(short_bytes)) /
         static_cast<double>(long_tokens - short_tokens);
}

double MeasuredState::per_sequence() const {
  return static_cast<double>(short_bytes) - per_token() * static_cast<double>(short_tokens);
}

MeasuredState measure_state(const Study& study) {
  const data::TokenBatch window = study.source->evaluation(0, 1);
  MeasuredState measured;
  auto bytes_at = [&](int64_t tokens) {
    model::DecodeState state = study.model->new_state();
    study.model->step({1, tokens, std::span(window.inputs).first(static_cast<size_t>(tokens))}, state);
    return state.bytes();
  };
  if (window.tokens < 2) {
    measured.refusal = "a window has one token";
    return measured;
  }
  try {
    measured.long_tokens = window.tokens;
    measured.short_tokens = window.tokens / 2;
    measured.short_bytes = bytes_at(measured.short_tokens);
    measured.long_bytes = bytes_at(measured.long_tokens);
  } catch (const std::exception& error) {
    // A scheme that refuses to step, as one that is not causal does.
    measured.refusal = error.what();
  }
  return measured;
}

std::vector<SubjectClock> measure_clocks(const config::ComparePlan& plan, const plugin::Catalog& catalog,
                                         const config::Document& comparison,
                                         const std::function<void(int64_t, int64_t)>& progress,
                                         const std::function<bool()>& interrupted) {
  const auto subjects = static_cast<int64_t>(plan.subjects.size());
  const int64_t all = subjects * (1 + kUpdates + kDecodings);
  int64_t done = 0;
  std::vector<std::unique_ptr<Runner>> runners;
  for (size_t i = 0; i < plan.subjects.size(); ++i) {
    runners.push_back(make_runner(plan, i, catalog, comparison));
    progress(++done, all);
    if (interrupted()) return {};
  }
  std::vector<bool> decodes;
  for (const auto& runner : runners) decodes.push_back(measure_state(runner->study).refusal.empty());
  for (int64_t round = 0; round < kUpdates + kDecodings; ++round) {
    for (int64_t i = 0; i < subjects; ++i) {
      // Each round begins with another subject.
      const auto at = static_cast<size_t>((i + round) % subjects);
      Runner& runner = *runners[at];
      if (round < kUpdates) {
        runner.updates.push_back(seconds_of([&] { runner.trainer->step(); }));
      } else if (decodes[at]) {
        runner.decodings.push_back(
            seconds_of([&] { decode(runner.study, plan.decode_batch, decode_tokens(plan, runner.study)); }));
      }
      progress(++done, all);
      if (interrupted()) return {};
    }
  }
  std::vector<SubjectClock> clocks;
  for (const auto& runner : runners) clocks.push_back(clock_of(plan, *runner));
  return clocks;
}

}  // namespace attnlab::train
