#include "core/train/compare.hpp"

#include <fmt/core.h>
#include <attnlab/philox.hpp>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "core/graph/flops.hpp"

namespace attnlab::train {
namespace {

namespace fs = std::filesystem;
using base::UserError;
using config::ComparePlan;
using config::Match;

/// Parameters that one more hidden channel of all MLPs brings.
int64_t parameters_per_hidden(const model::GptShape& shape) {
  const int64_t into = shape.mlp == model::Mlp::swiglu ? 2 : 1;
  return shape.layers * ((into + 1) * shape.embed_dim + (shape.bias ? into : 0));
}

/// Adds up what the layers of a pass account for.
void add_state(const model::Pass& pass, SubjectSize& size) {
  double whole = 0, per_token = 0;
  std::set<int32_t> told;
  for (const model::Report& report : *pass.reports) {
    if (report.kind != ATTNLAB_REPORT_METRIC) continue;
    const bool tokens =
        report.name == "state_elements_per_token" || report.name == "cache_elements_per_token";
    if (!tokens && report.name != "state_elements") continue;
    (tokens ? per_token : whole) += sizeof(float) * graph::value_of(report.value).scalar();
    told.insert(report.layer);
  }
  if (told.size() != pass.layers.size()) return;
  size.state_bytes = whole;
  size.state_bytes_per_token = per_token;
}

/// The subject built with its own errors told as the comparison's.
template <class Make>
auto told(const ComparePlan& plan, size_t subject, const config::Document& comparison, const Make& make) {
  try {
    return make();
  } catch (const UserError& error) {
    throw config::in_comparison(error, comparison, plan.subjects[subject]);
  }
}

[[noreturn]] void cannot_match(const ComparePlan& plan, size_t subject, const config::Document& comparison,
                               const std::string& pointer, const std::string& summary,
                               const std::string& found, const std::string& allowed) {
  base::Mistake mistake = plan.subjects[subject].document.where(pointer);
  mistake.found = found;
  mistake.allowed = allowed;
  throw config::in_comparison(UserError(summary, mistake), comparison, plan.subjects[subject]);
}

/// Sets mlp_dim to where the parameters come nearest to `target`.
void match_parameters(ComparePlan& plan, size_t subject, const model::GptShape& shape,
                      const SubjectSize& size, int64_t target, const config::Document& comparison) {
  const double per_hidden = static_cast<double>(parameters_per_hidden(shape));
  const int64_t hidden =
      size.hidden + std::llround(static_cast<double>(target - size.parameters) / per_hidden);
  if (hidden < 1) {
    const int64_t least = size.parameters - (size.hidden - 1) * parameters_per_hidden(shape);
    cannot_match(plan, subject, comparison, "/attention", "no mlp_dim brings it to the baseline's parameters",
                 fmt::format("{} parameters with an MLP of one channel", least),
                 fmt::format("at most {}, those of \"{}\"", target, plan.subjects[plan.baseline].name));
  }
  plan.subjects[subject].plan.model.mlp_dim = hidden;
}

/// Sets steps to where the operations of all updates come nearest to `target`.
void match_compute(ComparePlan& plan, size_t subject, const SubjectSize& size, double target,
                   const config::Document& comparison) {
  config::OptimiserPlan& train = plan.subjects[subject].plan.train;
  train.steps = std::max<int64_t>(1, std::llround(target / size.flops_per_update));
  if (train.warmup >= train.steps) {
    cannot_match(plan, subject, comparison, "/train/warmup", "its warm-up would never end",
                 std::to_string(train.warmup),
                 fmt::format("fewer than the {} steps that match the baseline's compute", train.steps));
  }
}

/// Each subject's study with the first seed, and its size.
std::vector<SubjectSize> sizes_of(const ComparePlan& plan, const plugin::Catalog& catalog,
                                  const config::Document& comparison,
                                  const std::function<void(size_t, const Study&)>& visit) {
  std::vector<SubjectSize> sizes;
  for (size_t i = 0; i < plan.subjects.size(); ++i) {
    const Study study = study_of(plan, i, plan.seeds.front(), catalog, comparison);
    if (visit) visit(i, study);
    sizes.push_back(size_of(study));
  }
  return sizes;
}

}  // namespace

SubjectSize size_of(const Study& study) {
  SubjectSize size;
  size.parameters = study.model->parameters().count();
  for (const model::AttentionLayer& layer : study.model->layers()) {
    for (const model::Parameter& parameter : study.model->parameters().all()) {
      if (parameter.name.starts_with(layer.prefix())) size.attention_parameters += parameter.value.size();
    }
  }
  size.hidden = study.model->shape().hidden();
  size.window = study.source->block();
  const data::TokenBatch window = study.source->evaluation(0, 1);
  const graph::FlopCount count;
  const model::Pass pass = study.model->forward({1, window.tokens, window.inputs});
  const config::OptimiserPlan& train = study.plan.train;
  size.flops_per_token = count.total() / static_cast<double>(window.tokens);
  size.flops_per_update = 3 * count.total() * static_cast<double>(train.batch * train.accumulate);
  size.uncounted = count.uncounted();
  add_state(pass, size);
  return size;
}

Study study_of(const ComparePlan& plan, size_t subject, uint64_t seed, const plugin::Catalog& catalog,
               const config::Document& comparison) {
  return told(plan, subject, comparison, [&] {
    return make_study(plan.trial(subject, seed), catalog, plan.subjects[subject].document);
  });
}

std::vector<SubjectSize> match_sizes(ComparePlan& plan, const plugin::Catalog& catalog,
                                     const config::Document& comparison, std::vector<std::string>& warnings) {
  std::vector<model::GptShape> shapes;
  std::vector<SubjectSize> sizes = sizes_of(plan, catalog, comparison, [&](size_t i, const Study& study) {
    shapes.push_back(study.model->shape());
    for (const std::string& warning : study.warnings)
      warnings.push_back(fmt::format("subject \"{}\": {}", plan.subjects[i].name, warning));
    if (study.plan.allow_noncausal) return;
    told(plan, i, comparison, [&] { require_causality(*study.model, plan.subjects[i].document); });
  });
  if (plan.match == Match::none) return sizes;
  const config::OptimiserPlan& base = plan.subjects[plan.baseline].plan.train;
  const double compute = static_cast<double>(base.steps) * sizes[plan.baseline].flops_per_update;
  const int64_t parameters = sizes[plan.baseline].parameters;
  for (size_t i = 0; i < sizes.size(); ++i) {
    if (i == plan.baseline) continue;
    if (plan.match == Match::compute) {
      match_compute(plan, i, sizes[i], compute, comparison);
    } else {
      match_parameters(plan, i, shapes[i], sizes[i], parameters, comparison);
    }
  }
  return plan.match == Match::parameters ? sizes_of(plan, catalog, comparison, {}) : sizes;
}

std::string fingerprint_of(const data::TokenSource& source) {
  uint64_t hash = 0xcbf29ce484222325;
  auto add = [&](int64_t value) { hash = attnlab::mix_key(hash, static_cast<uint64_t>(value), 0); };
  auto add_batch = [&](const data::TokenBatch& batch) {
    for (const int64_t id : batch.inputs) add(id);
    for (const int64_t id : batch.targets) add(id);
  };
  add(source.vocabulary_size());
  for (int64_t first = 0; first < source.evaluation_windows(); first += 64)
    add_batch(source.evaluation(first, std::min<int64_t>(64, source.evaluation_windows() - first)));
  for (uint64_t draw = 0; draw < 4; ++draw) add_batch(source.training(64, draw));
  return fmt::format("{:016x}", hash);
}

std::vector<Trial> trials_of(const ComparePlan& plan, const std::string& out) {
  std::vector<Trial> trials;
  for (const uint64_t seed : plan.seeds) {
    for (size_t i = 0; i < plan.subjects.size(); ++i) {
      const fs::path folder = fs::path(out) / plan.subjects[i].name / fmt::format("seed-{}", seed);
      trials.push_back({i, seed, {folder.string()}});
    }
  }
  return trials;
}

}  // namespace attnlab::train
