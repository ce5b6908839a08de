// Time and state of operators against length.
#include <fmt/core.h>

#include <attnlab/philox.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>

#include "core/measure/machine.hpp"
#include "core/measure/operators.hpp"
#include "core/measure/operators_bound.hpp"

namespace attnlab::measure {
namespace {

using graph::Array;
using graph::Element;

/// A timed sample is so long that clocks and the start of threads do not show.
constexpr double sample_seconds = 4e-3;
/// Steps of a round; those of all rounds pass boundaries of blocks that some operators keep.
constexpr int64_t round_steps = 16;

double now() {
  return Instant::now().wall;
}

template <class Body>
double seconds_of(const Body& body) {
  const double start = now();
  body();
  return std::max(1e-9, now() - start);
}

/// What a mode took at the lengths so far, and what it will at the next.
class Growth {
 public:
  void add(int64_t tokens, double seconds) { before_ = last_, last_ = {tokens, seconds}; }
  /// By the power law of the last two lengths, from linear to quadratic; 0 without any.
  double predicted(int64_t tokens) const {
    if (last_.tokens == 0) return 0;
    double power = 1;
    if (before_.tokens != 0) {
      power = std::log(last_.seconds / before_.seconds) / std::log(ratio(last_.tokens, before_.tokens));
      power = std::clamp(power, 1.0, 2.0);
    }
    return last_.seconds * std::pow(ratio(tokens, last_.tokens), power);
  }

 private:
  struct Length {
    int64_t tokens = 0;
    double seconds = 0;
  };
  static double ratio(int64_t a, int64_t b) { return static_cast<double>(a) / static_cast<double>(b); }
  Length before_, last_;
};

/// One operator on its way to longer sequences.
struct Runner {
  std::unique_ptr<BoundOperator> bound;
  OperatorScaling* record = nullptr;
  Growth prefill_growth, fill_growth;
  bool prefill = false, decode = false;  ///< still measured
  double spent = 0, last = 0;            ///< seconds at this length in this mode; of the last sample
  uint64_t grown_bytes = 0;              ///< by which the first call raised the process's peak
  int64_t calls = 1;                     ///< of a sample
  model::LayerState state;

  OperatorPoint& point(int64_t tokens) {
    if (record->points.empty() || record->points.back().tokens != tokens)
      record->points.push_back({.tokens = tokens});
    return record->points.back();
  }
  void note(const std::string& text) { record->notes.push_back(text); }
};

std::string seconds_text(double seconds) {
  return seconds < 1 ? fmt::format("{:.3g} ms", seconds * 1e3) : fmt::format("{:.3g} s", seconds);
}

/// The inputs of one length.
struct Inputs {
  Array q, k, v;

  Inputs(const config::ScalingPlan& plan, int64_t tokens, uint64_t which) {
    const graph::Extents shape = {1, plan.heads, tokens, plan.head_dim};
    Array* all[] = {&q, &k, &v};
    for (uint64_t i = 0; i < 3; ++i)
      *all[i] = normal_array(shape, mix_key(plan.seed, which, i), Element::f32);
  }
};

/// All runners of a plan through all lengths.
class Scaling {
 public:
  Scaling(const config::OperatorsPlan& plan, const plugin::Catalog& catalog, const config::Document& document,
          const KeepGoing& keep_going)
      : plan_(*plan.scaling), keep_going_(keep_going) {
    records_.resize(plan.operators.size());
    runners_.resize(plan.operators.size());
    for (size_t i = 0; i < plan.operators.size(); ++i) {
      const config::OperatorPlan& o = plan.operators[i];
      Runner& runner = runners_[i];
      records_[i].name = o.name, records_[i].scheme = o.scheme.scheme;
      runner.record = &records_[i];
      runner.bound = std::make_unique<BoundOperator>(o, scaling_geometry(plan_), catalog, document,
                                                     Element::f32, plan_.seed);
      runner.prefill = plan_.prefill;
      runner.decode = plan_.decode && runner.bound->has_step();
      if (plan_.decode && !runner.bound->has_step())
        runner.note("decode: the scheme has no step, so that there is no state to go on from");
    }
    total_ = static_cast<int64_t>(plan_.tokens.size()) * (int64_t{plan_.prefill} + int64_t{plan_.decode});
  }

  std::vector<OperatorScaling> run() {
    int64_t done = 0;
    for (const int64_t tokens : plan_.tokens) {
      const Inputs inputs(plan_, tokens, 0);
      const auto step = [&](const char* mode) {
        return keep_going_(done++, total_, fmt::format("{} of {} tokens", mode, tokens));
      };
      if (plan_.prefill && (!step("prefill") || !prefill(inputs, tokens))) break;
      if (plan_.decode && (!step("decode") || !decode(inputs, tokens))) break;
    }
    return std::move(records_);
  }

 private:
  /// Whether a mode goes on to this length; a note where it does not.
  bool affordable(Runner& runner, const char* mode, double predicted, int64_t tokens) const {
    if (predicted <= plan_.most_seconds) return true;
    runner.note(fmt::format("{}: stopped before {} tokens, which would take about {}", mode, tokens,
                            seconds_text(predicted)));
    return false;
  }

  /// Seconds of the first call at a length, or empty where the operator fails: its last length in this mode.
  template <class Body>
  std::optional<double> first_call(Runner& runner, const char* mode, int64_t tokens, const Body& body) const {
    const uint64_t peak = peak_resident_bytes();
    double seconds = 0;
    try {
      seconds = seconds_of(body);
    } catch (const base::UserError& error) {
      if (runner.record->points.empty()) throw;
      runner.note(fmt::format("{}: refused at {} tokens: {}", mode, tokens, error.summary()));
      return std::nullopt;
    }
    runner.grown_bytes = peak_resident_bytes() - peak;
    return seconds;
  }

  /// Four times the memory for twice the tokens must be there; a note where it is not.
  bool fits_next(Runner& runner, const char* mode, int64_t tokens) const {
    const auto next = std::upper_bound(plan_.tokens.begin(), plan_.tokens.end(), tokens);
    if (next == plan_.tokens.end()) return true;
    const double ratio = static_cast<double>(*next) / static_cast<double>(tokens);
    const double wanted = static_cast<double>(runner.grown_bytes) * ratio * ratio;
    if (wanted < 0.8 * static_cast<double>(available_memory_bytes())) return true;
    runner.note(fmt::format("{}: stopped after {} tokens, which took {} MiB: {} might not fit the memory",
                            mode, tokens, runner.grown_bytes >> 20, *next));
    return false;
  }

  bool prefill(const Inputs& inputs, int64_t tokens) {
    for (Runner& runner : runners_) {
      runner.spent = 0, runner.calls = 1, runner.grown_bytes = 0;
      runner.prefill =
          runner.prefill && affordable(runner, "prefill", runner.prefill_growth.predicted(tokens), tokens);
    }
    for (int64_t round = 0; round < plan_.repeats; ++round) {
      for (Runner& runner : runners_) {
        if (!runner.prefill) continue;
        if (!keep_going_(-1, total_, "")) return false;
        prefill_sample(runner, inputs, tokens, round == 0);
      }
    }
    for (Runner& runner : runners_) {
      if (!runner.prefill) continue;
      runner.prefill_growth.add(tokens, spread(runner.point(tokens).prefill).minimum);
      runner.prefill = fits_next(runner, "prefill", tokens);
    }
    return true;
  }

  /// The first call fills caches and pools: it counts only where another would take too long.
  void prefill_sample(Runner& runner, const Inputs& inputs, int64_t tokens, bool first) const {
    const auto call = [&] { runner.bound->forward(inputs.q, inputs.k, inputs.v); };
    if (first) {
      const std::optional<double> seconds = first_call(runner, "prefill", tokens, call);
      if (!seconds) {
        runner.prefill = false;
        return;
      }
      runner.spent = *seconds;
      runner.calls = static_cast<int64_t>(std::clamp(std::ceil(sample_seconds / *seconds), 1.0, 1e4));
      if (2 * runner.spent > plan_.most_seconds) {
        runner.point(tokens).prefill.push_back(*seconds);
        return;
      }
    } else if (runner.spent + runner.last > plan_.most_seconds) {
      return;
    }
    runner.last = seconds_of([&] {
      for (int64_t i = 0; i < runner.calls; ++i) call();
    });
    runner.spent += runner.last;
    runner.point(tokens).prefill.push_back(runner.last / static_cast<double>(runner.calls));
  }

  bool decode(const Inputs& inputs, int64_t tokens) {
    for (Runner& runner : runners_) {
      if (!runner.decode) continue;
      if (!keep_going_(-1, total_, "")) return false;
      fill(runner, inputs, tokens);
    }
    for (int64_t round = 0; round < plan_.repeats; ++round) {
      for (Runner& runner : runners_) {
        if (!runner.decode || runner.spent > plan_.most_seconds) continue;
        if (!keep_going_(-1, total_, "")) return false;
        decode_round(runner, tokens, round == 0);
      }
    }
    for (Runner& runner : runners_) runner.state = {};
    return true;
  }

  /// The state after `tokens`, by one step of all of them.
  void fill(Runner& runner, const Inputs& inputs, int64_t tokens) const {
    runner.spent = 0, runner.grown_bytes = 0;
    runner.decode = affordable(runner, "decode", runner.fill_growth.predicted(tokens), tokens);
    if (!runner.decode) return;
    const auto step = [&] { runner.bound->step(runner.state, inputs.q, inputs.k, inputs.v); };
    const std::optional<double> seconds = first_call(runner, "decode", tokens, step);
    runner.decode = seconds.has_value();
    if (!runner.decode) return;
    runner.fill_growth.add(tokens, *seconds);
    OperatorPoint& point = runner.point(tokens);
    point.state_bytes = runner.state.bytes();
    point.state = runner.state.shapes();
  }

  /// Some steps of one token each; before the first round two that nobody counts, for they may make room.
  void decode_round(Runner& runner, int64_t tokens, bool first) {
    if (steps_.empty()) {
      const Inputs all(plan_, round_steps, 1);
      for (int64_t i = 0; i < round_steps; ++i)
        steps_.push_back({all.q.sliced(-2, i, i + 1).packed(), all.k.sliced(-2, i, i + 1).packed(),
                          all.v.sliced(-2, i, i + 1).packed()});
    }
    const auto call = [&](const std::array<Array, 3>& token) {
      runner.bound->step(runner.state, token[0], token[1], token[2]);
    };
    try {
      for (size_t i = 0; first && i < 2; ++i) call(steps_[i]);
      for (const auto& token : steps_) {
        const double seconds = seconds_of([&] { call(token); });
        runner.spent += seconds;
        runner.point(tokens).decode.push_back(seconds);
      }
    } catch (const base::UserError& error) {
      runner.note(fmt::format("decode: refused after {} tokens: {}", runner.state.length(), error.summary()));
      runner.decode = false;
    }
  }

  const config::ScalingPlan& plan_;
  const KeepGoing& keep_going_;
  std::vector<OperatorScaling> records_;
  std::vector<Runner> runners_;
  std::vector<std::array<Array, 3>> steps_;  ///< q, k, v of one token
  int64_t total_ = 0;
};

}  // namespace

std::vector<OperatorScaling> measure_scaling(const config::OperatorsPlan& plan,
                                             const plugin::Catalog& catalog, const config::Document& document,
                                             const KeepGoing& keep_going) {
  if (!plan.scaling) return {};
  return Scaling(plan, catalog, document, keep_going).run();
}

}  // namespace attnlab::measure
