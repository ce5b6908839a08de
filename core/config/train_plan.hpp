// The config of `attnlab train`: a model, a task and how to train.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/config/document.hpp"
#include "core/config/scheme_plan.hpp"

namespace attnlab::config {

/// "model": extents and choices of a GPT. Names as in the config.
struct ModelPlan {
  int64_t layers = 4, embed_dim = 128, query_heads = 4, kv_heads = 4, block = 64, mlp_dim = 0;
  std::string norm = "layer", position = "learned", mlp = "gelu";
  bool bias = false, tied_head = true;
  double dropout = 0, rope_theta = 10000;
  std::vector<SchemePlan> attention;  ///< one per layer
};

/// "task": where tokens come from.
struct TaskPlan {
  std::string text;  ///< a file, or empty: generated
  std::string tokeniser = "characters";
  double training_fraction = 0.9;
  int64_t pairs = 8, queries = 8, keys = 32, values = 32, evaluation_windows = 256;  ///< of "recall"
};

/// "train": the optimiser and its rhythm, in updates.
struct OptimiserPlan {
  int64_t steps = 1000, batch = 12, accumulate = 1;
  double learning_rate = 1e-3, minimum_learning_rate = 1e-4;
  int64_t warmup = 100, decay_steps = 0;  ///< 0: all steps
  bool constant_rate = false;
  double beta1 = 0.9, beta2 = 0.99, epsilon = 1e-8, weight_decay = 0.1, clip = 1;
  int64_t evaluate_every = 250, evaluate_batch = 32, checkpoint_every = 250;
};

struct TrainPlan {
  std::string title;
  ModelPlan model;
  TaskPlan task;
  OptimiserPlan train;
  uint64_t seed = 1;
  bool allow_noncausal = false;
  std::vector<std::string> plugin_path;  ///< absolute
};

/// Validates the whole document against the catalog and fills in the defaults. Throws UserError.
TrainPlan resolve_training(const Document& document, const plugin::Catalog& catalog);

/// The resolved config: a valid config with every default written out.
io::Json to_json(const TrainPlan& plan, const plugin::Catalog& catalog);

/// Tables of the objects, for the reference page.
const std::vector<plugin::Parameter>& model_parameters();
const std::vector<plugin::Parameter>& optimiser_parameters();
/// Of a task that reads a file, and of the generated one.
const std::vector<plugin::Parameter>& text_parameters();
const std::vector<plugin::Parameter>& recall_parameters();

}  // namespace attnlab::config
