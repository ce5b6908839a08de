// A run, resolved and validated: nothing in it can be a user's mistake any more.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/config/document.hpp"
#include "core/config/input_spec.hpp"
#include "core/config/policy.hpp"
#include "core/plugin/catalog.hpp"

namespace attnlab::config {

/// How the host selects keys from a scorer's scores.
struct SelectorPlan {
  enum class Kind { top_k, top_p, threshold, importance };
  enum class Share { query_head, kv_group };
  enum class Reduce { max, mean };

  Kind kind = Kind::top_k;
  plugin::Size heavy_size;   ///< top_k: keys in addition to those of earlier stages
  double top_p = 1;          ///< top_p: share of the softmax mass
  bool of_total = false;     ///< top_p: the share refers to all visible keys, not only to the candidates
  double threshold = 0;      ///< threshold: keys with score >= threshold
  plugin::Size sample_size;  ///< importance: expected number of keys drawn
  double temperature = 1;    ///< importance: p is proportional to exp(score / temperature)
  Share share = Share::query_head;
  Reduce reduce = Reduce::max;

  /// It selects keys with inclusion probabilities below 1.
  bool samples() const { return kind == Kind::importance; }
};

/// One stage of a pipeline.
struct StagePlan {
  std::string masker;                    ///< method id
  std::string name;                      ///< unique in its pipeline
  std::vector<plugin::Value> values;     ///< in the order of the method's parameter table
  std::optional<SelectorPlan> selector;  ///< scorers only
  uint64_t seed = 0;                     ///< mixed with the run's seed
  std::string pointer;                   ///< where the config defines it
  bool wants_feedback = false;           ///< learns how much attention each key received
};

struct PipelinePlan {
  std::string name;
  std::vector<StagePlan> stages;     ///< none: dense attention; of a policy: those of all its variants
  std::optional<PolicyPlan> policy;  ///< unset: all stages run for all heads of all layers

  /// The name of a stage in results: of a policy, "variant/stage".
  std::string stage_label(size_t stage) const;
};

enum class EmptyRow { error, zeros, dense };
enum class Mode { prefill, decode, question };
std::string name_of(Mode mode);
std::string name_of(SelectorPlan::Kind kind);
std::string name_of(EmptyRow policy);

struct AttentionPlan {
  std::optional<bool> causal;   ///< unset: what the input states, else true
  std::optional<double> scale;  ///< unset: what the input states, else 1/sqrt(head_dim)
  EmptyRow on_empty_row = EmptyRow::error;
};

struct RunPlan {
  std::string title;
  std::vector<PipelinePlan> pipelines;  ///< that run
  std::vector<PipelinePlan> helpers;    ///< that policies may name and "compare" leaves out
  std::vector<std::string> compare;     ///< empty: all
  AttentionPlan attention;
  InputSpec input;
  Mode mode = Mode::prefill;
  std::optional<int64_t> queries;  ///< last n queries; unset: all in prefill, 64 in decode and question
  std::vector<int64_t> layers;     ///< empty: all
  std::vector<int64_t> heads;      ///< query heads; empty: all
  uint64_t seed = 0;
  std::vector<std::string> plugin_path;  ///< absolute
};

/// Folders of "plugin_path", absolute. Separate from `resolve` because the catalog must exist first.
std::vector<std::string> plugin_folders(const Document& document);

/// "input" and "attention" alone, validated: for commands that run no pipeline. Throw UserError.
InputSpec resolve_input(const Document& document);
AttentionPlan resolve_attention(const Document& document);

/// The stages of the list at `pointer`. Throws UserError.
std::vector<StagePlan> resolve_stages(const Document& document, const std::string& pointer,
                                      const io::Json& list, const plugin::Catalog& catalog);

/// "pipelines" alone, into `plan`: for commands that bring their own queries. Throws UserError.
void resolve_pipelines(const Document& document, const plugin::Catalog& catalog, RunPlan& plan);

/// Validates the whole document against the catalog and fills in the defaults. Throws UserError for the first
/// mistake; an unknown masker is Exit::plugin_missing.
RunPlan resolve(const Document& document, const plugin::Catalog& catalog);

/// A stage with every key written out.
io::Json to_json(const StagePlan& stage, const plugin::Descriptor& method);

/// A policy as the config has it; `stages` are those of the pipeline as to_json gives them.
io::Json policy_json(const PipelinePlan& pipeline, const std::vector<io::Json>& stages);

/// The resolved config: a valid config with every default written out.
io::Json to_json(const RunPlan& plan, const plugin::Catalog& catalog);

}  // namespace attnlab::config
