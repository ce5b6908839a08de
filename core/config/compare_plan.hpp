// The config of `attnlab compare`: subjects that share a task, a recipe and seeds.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/config/train_plan.hpp"

namespace attnlab::config {

/// What all subjects have alike, as far as their sizes can be chosen.
enum class Match {
  none,
  parameters,  ///< model.mlp_dim of each subject brings it nearest to the baseline's parameters
  compute,     ///< train.steps of each subject make its floating-point operations the baseline's
};
std::string name_of(Match match);

/// One line of the table.
struct SubjectPlan {
  std::string name;   ///< also of its folder
  Document document;  ///< its training config: base, then what is common, then its own
  TrainPlan plan;     ///< with the first seed
};

struct ComparePlan {
  std::string title;
  std::vector<SubjectPlan> subjects;
  size_t baseline = 0;
  std::vector<uint64_t> seeds;
  Match match = Match::none;
  int64_t decode_tokens = 0;  ///< timed in decoding; 0: a whole window
  int64_t decode_batch = 1;

  /// The plan of a trial.
  TrainPlan trial(size_t subject, uint64_t seed) const;
};

/// "plugin_path" of the comparison and of its base, absolute.
std::vector<std::string> comparison_plugin_folders(const Document& document);

/// Validates the comparison and every subject. Throws UserError.
ComparePlan resolve_comparison(const Document& document, const plugin::Catalog& catalog);

/// The error of a subject's training config as one of the comparison: with the subject's name, and the place
/// where the comparison says it.
base::UserError in_comparison(const base::UserError& error, const Document& comparison,
                              const SubjectPlan& subject);

/// The resolved config: a valid comparison with every default written out.
io::Json to_json(const ComparePlan& plan, const plugin::Catalog& catalog);

/// Tables of the objects, for the reference page.
const std::vector<plugin::Parameter>& comparison_parameters();
const std::vector<plugin::Parameter>& decode_parameters();

}  // namespace attnlab::config
