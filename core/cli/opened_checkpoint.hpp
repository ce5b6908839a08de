// A checkpoint with its config and model, for the commands that look at one.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "core/cli/command.hpp"
#include "core/plugin/crash.hpp"
#include "core/train/checkpoint.hpp"
#include "core/train/study.hpp"

namespace attnlab::cli {

/// The checkpoint of a file or of a training run's folder, the first argument of the command line.
std::string checkpoint_file(const po::variables_map& values);

/// Read when constructed; throws UserError. `--set` changes the checkpoint's config.
struct OpenedCheckpoint {
  train::Checkpoint checkpoint;
  config::Document document;
  plugin::Catalog catalog;
  config::TrainPlan plan;
  /// As run's: a plugin that does not return from a call for ten minutes hangs.
  plugin::CallWatch watch{std::chrono::minutes(10)};
  std::unique_ptr<model::Gpt> model;

  explicit OpenedCheckpoint(const po::variables_map& values);
  /// The checkpoint's parameters in the model of another config. Appends what plugins warn of.
  std::unique_ptr<model::Gpt> model_of(const config::Document& changed,
                                       std::vector<std::string>& warnings) const;
  /// The task's tokens, which must have the checkpoint's vocabulary.
  std::unique_ptr<data::TokenSource> open_task(const po::variables_map& values) const;
};

/// --threads, --simd and where plugins are.
void add_checkpoint_options(po::options_description& table);
/// --set and --format of what prints a table or JSON.
void add_evaluation_options(po::options_description& table);
/// --format, checked.
bool wants_json(const po::variables_map& values);

}  // namespace attnlab::cli
