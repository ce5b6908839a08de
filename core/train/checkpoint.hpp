// A training run in one file: parameters, moments, position, config and tokeniser.
#pragma once

#include <optional>
#include <string>

#include "core/data/tokeniser.hpp"
#include "core/io/json.hpp"
#include "core/io/safetensors.hpp"
#include "core/train/trainer.hpp"

namespace attnlab::train {

/// What a checkpoint says beside its tensors.
struct CheckpointInfo {
  io::Json config;  ///< resolved: a valid config
  std::optional<data::Tokeniser> tokeniser;
  int64_t vocabulary = 0;
  int64_t steps = 0;
};

/// Writes `path` (safetensors; tensors named as the parameters, moments under "optimiser.first." and
/// "optimiser.second."). The file appears complete or the older one stays. Throws UserError (Exit::failed).
void save_checkpoint(const std::string& path, const model::Gpt& model, const AdamW& optimiser,
                     const CheckpointInfo& info);

/// An open checkpoint. Throws UserError for a file that is none, is cut off or of another version.
class Checkpoint {
 public:
  explicit Checkpoint(const std::string& path);
  const CheckpointInfo& info() const { return info_; }
  /// Copies the parameters. Throws UserError that names the first tensor that the model has not, or with
  /// other extents, or that is missing.
  void read_parameters(model::Gpt& model) const;
  /// The optimiser as it was; the model's tensors are those of read_parameters.
  AdamW read_optimiser(const model::Gpt& model, const AdamWOptions& options) const;

 private:
  tensor::Tensor tensor(const std::string& name, const graph::Extents& shape) const;

  std::string path_;
  io::SafetensorsFile file_;
  CheckpointInfo info_;
};

}  // namespace attnlab::train
