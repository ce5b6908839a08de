#include "core/measure/comparison.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "core/base/error.hpp"

namespace attnlab::measure {
namespace {

using train::TrialResult;
using train::TrialState;

bool finished(const TrialResult& trial) {
  return trial.state == TrialState::finished;
}

/// Differences of windows that both trials have, in order; weights are their targets.
Estimate window_difference(const TrialResult& trial, const TrialResult& base) {
  if (trial.window_targets != base.window_targets) return {};
  std::vector<double> differences, weights;
  for (size_t i = 0; i < trial.window_losses.size(); ++i) {
    if (trial.window_targets[i] == 0) continue;
    differences.push_back(trial.window_losses[i] - base.window_losses[i]);
    weights.push_back(static_cast<double>(trial.window_targets[i]));
  }
  return block_bootstrap(differences, weights, trial.seed);
}

void analyse_subject(ComparedSubject& subject) {
  std::vector<double> losses, accuracies;
  subject.finished = subject.diverged = 0;
  for (const TrialResult& trial : subject.trials) {
    subject.diverged += trial.state == TrialState::diverged ? 1 : 0;
    if (!finished(trial)) continue;
    ++subject.finished;
    losses.push_back(trial.loss);
    accuracies.push_back(trial.accuracy);
  }
  subject.loss = subject.diverged > 0 ? Estimate{} : t_interval(losses);
  subject.accuracy = subject.diverged > 0 ? Estimate{} : t_interval(accuracies);
}

void analyse_difference(ComparedSubject& subject, const ComparedSubject& base) {
  std::vector<double> differences;
  subject.by_seed.clear();
  for (size_t i = 0; i < subject.trials.size(); ++i) {
    if (!finished(subject.trials[i]) || !finished(base.trials[i])) continue;
    differences.push_back(subject.trials[i].loss - base.trials[i].loss);
    subject.by_seed.push_back({subject.trials[i].seed, window_difference(subject.trials[i], base.trials[i])});
  }
  const bool all = subject.diverged + base.diverged == 0;
  subject.difference = all ? paired_t_test(differences) : PairedTest{};
}

std::string seeds_text(const std::vector<uint64_t>& seeds) {
  return fmt::format("{} {}", seeds.size() == 1 ? "seed" : "seeds", fmt::join(seeds, ", "));
}

void note_trials(const Comparison& comparison, std::vector<std::string>& notes) {
  for (const ComparedSubject& subject : comparison.subjects) {
    std::vector<uint64_t> missing;
    for (const TrialResult& trial : subject.trials) {
      if (trial.state == TrialState::diverged)
        notes.push_back(
            fmt::format("{}: the trial with seed {} diverged at step {}. It is averaged into nothing.",
                        subject.name, trial.seed, trial.diverged_at));
      if (trial.state == TrialState::absent || trial.state == TrialState::unfinished)
        missing.push_back(trial.seed);
    }
    if (!missing.empty())
      notes.push_back(fmt::format("{}: not done yet with {}.", subject.name, seeds_text(missing)));
  }
  if (comparison.seeds.size() == 1)
    notes.emplace_back(
        "One seed: there is no interval over seeds and no test. What differs may be the seed's luck.");
}

/// What the operations leave out, with all whom it concerns.
void note_uncounted(const Comparison& comparison, std::vector<std::string>& notes) {
  std::map<std::string, std::vector<std::string>> whose;
  for (const ComparedSubject& subject : comparison.subjects) {
    for (const std::string& what : subject.size.uncounted) whose[what].push_back(subject.name);
  }
  for (const auto& [what, names] : whose)
    notes.push_back(fmt::format("{}: the operations leave out {}.", base::join(names), what));
}

void note_sizes(const Comparison& comparison, std::vector<std::string>& notes) {
  const ComparedSubject& base = comparison.base();
  const bool compute = comparison.match == "compute";
  for (const ComparedSubject& subject : comparison.subjects) {
    const double off =
        compute
            ? subject.flops() / base.flops() - 1
            : static_cast<double>(subject.size.parameters) / static_cast<double>(base.size.parameters) - 1;
    if (comparison.match != "none" && std::fabs(off) > 0.01)
      notes.push_back(
          fmt::format("{}: {} matched only to {:+.1f} %.", subject.name, comparison.match, 100 * off));
    const train::SubjectSize& size = subject.size;
    if (!subject.state.refusal.empty()) {
      notes.push_back(fmt::format("{}: does not decode: {}", subject.name, subject.state.refusal));
    } else if (size.state_bytes_per_token) {
      const auto tokens = static_cast<double>(subject.state.long_tokens);
      const double formula = *size.state_bytes + tokens * *size.state_bytes_per_token;
      const auto measured = static_cast<double>(subject.state.long_bytes);
      if (std::fabs(formula - measured) > 0.005 * measured)
        notes.push_back(
            fmt::format("{}: by the scheme's account {} tokens of state take {:.0f} bytes; {:.0f} are kept.",
                        subject.name, subject.state.long_tokens, formula, measured));
    }
  }
}

}  // namespace

bool Comparison::complete() const {
  return std::all_of(subjects.begin(), subjects.end(), [](const ComparedSubject& subject) {
    return std::all_of(subject.trials.begin(), subject.trials.end(), [](const TrialResult& trial) {
      return finished(trial) || trial.state == TrialState::diverged;
    });
  });
}

int64_t Comparison::failed_trials() const {
  int64_t failed = 0;
  for (const ComparedSubject& subject : subjects) failed += subject.diverged;
  return failed;
}

void analyse(Comparison& comparison) {
  for (ComparedSubject& subject : comparison.subjects) {
    ATTNLAB_CHECK(subject.trials.size() == comparison.seeds.size(), "a trial for each seed");
    analyse_subject(subject);
  }
  std::vector<double> p;
  for (size_t i = 0; i < comparison.subjects.size(); ++i) {
    if (i != comparison.baseline) analyse_difference(comparison.subjects[i], comparison.base());
    p.push_back(comparison.subjects[i].difference.p);
  }
  const std::vector<double> adjusted = holm(p);
  for (size_t i = 0; i < p.size(); ++i) comparison.subjects[i].adjusted_p = adjusted[i];
  for (const ComparedSubject& subject : comparison.subjects) {
    for (const TrialResult& trial : subject.trials) {
      if (!finished(trial)) continue;
      comparison.windows = static_cast<int64_t>(trial.window_losses.size());
      comparison.targets = trial.targets;
    }
  }
  comparison.notes.clear();
  note_trials(comparison, comparison.notes);
  note_sizes(comparison, comparison.notes);
  note_uncounted(comparison, comparison.notes);
}

std::string attention_text(const config::TrainPlan& plan, const plugin::Catalog& catalog) {
  std::vector<std::string> texts;
  for (const config::SchemePlan& scheme : plan.model.attention) {
    const plugin::Descriptor& method = catalog.find(scheme.scheme)->descriptor;
    std::string text = scheme.scheme;
    for (size_t i = 0; i < method.parameters.size(); ++i) {
      const plugin::Parameter& parameter = method.parameters[i];
      if (parameter.fixed || !scheme.values[i].is_set() || scheme.values[i] == parameter.default_value)
        continue;
      const io::Json value = plugin::to_json(scheme.values[i]);
      text +=
          fmt::format(" {}={}", parameter.key, value.is_string() ? value.get<std::string>() : value.dump());
    }
    if (std::find(texts.begin(), texts.end(), text) == texts.end()) texts.push_back(std::move(text));
  }
  return base::join(texts, " | ");
}

}  // namespace attnlab::measure
