// A case of sparse-attention-hub as its folder in shared/golden/hub holds it, and attention on it by
// definition.
#pragma once

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/io/json.hpp"
#include "core/tensor/tensor.hpp"

namespace attnlab::golden {

/// The folder of all cases: $ATTNLAB_SHARED/golden/hub, else beside the repository.
std::filesystem::path hub_folder();

/// Extents as in the manifests.
struct HubShape {
  int64_t batch = 1, query_heads = 1, kv_heads = 1, queries = 1, keys = 1, head_dim = 1, value_dim = 1;
  int64_t rows() const { return batch * query_heads * queries; }
};

/// One line of `columns` floats for each query row; rows are numbered (batch * query_heads + head) * queries
/// + query.
struct Plane {
  int64_t columns = 0;
  std::vector<float> values;

  Plane() = default;
  Plane(int64_t rows, int64_t width, float value)
      : columns(width), values(static_cast<size_t>(rows * width), value) {}
  /// From a float32 [B, Hq, Sq, columns] file.
  static Plane read(const std::string& path);

  int64_t rows() const { return static_cast<int64_t>(values.size()) / columns; }
  std::span<const float> row(int64_t r) const {
    return std::span(values).subspan(static_cast<size_t>(r * columns), static_cast<size_t>(columns));
  }
  std::span<float> row(int64_t r) {
    return std::span(values).subspan(static_cast<size_t>(r * columns), static_cast<size_t>(columns));
  }
};

/// Immutable after construction. Keys are numbered from 0; all computations are in double precision.
class HubCase {
 public:
  /// Reads manifest and inputs, of a case in several steps those of `step`; throws std::runtime_error or
  /// base::UserError for a folder that is not a case.
  explicit HubCase(const std::string& name, int step = 0);

  const std::string& name() const { return name_; }
  const io::Json& manifest() const { return manifest_; }
  const HubShape& shape() const { return shape_; }
  double scale() const { return manifest_["scaling"].get<double>(); }
  /// Whether later keys are hidden: the attention mask hides them, or every masker is a sink or a window,
  /// whose reference masks are causal by construction or meant to be (spec/maskers.md, "Golden cases"). One
  /// query sees all.
  bool causal() const { return causal_; }
  /// q, k, v and `bias` where the attention mask is more than causality; its columns beyond the keys are cut
  /// off.
  const std::map<std::string, tensor::Tensor>& inputs() const { return inputs_; }

  /// Our masker ids in the order of the pipeline.
  std::vector<std::string> masker_ids() const;
  /// The pipeline as our config spells it; counts stay integers and fractions stay floats.
  io::Json stages() const;
  /// A parameter of the stage with this masker id.
  const io::Json& parameter(const std::string& masker, const std::string& key) const;

  /// The reference's mask, inclusion probabilities.
  Plane mask() const { return Plane::read(result("mask.npy")); }
  /// The reference's attention weights, normalised over the row.
  Plane weights() const { return Plane::read(result("weights.npy")); }
  /// The reference's output, brought from [B, Sq, Hq, Dv] to our order of rows.
  Plane output() const;
  std::string path(const std::string& file) const { return (folder_ / file).string(); }
  /// The file of that name that belongs to the step.
  std::string result(const std::string& file) const { return path(prefix_ + file); }

  /// Keys [0, end) are visible to the row.
  int64_t visible_end(int64_t row) const;
  /// scale * q.k + bias of all keys.
  std::vector<double> logits(int64_t row) const { return logits(row, scale()); }
  std::vector<double> logits(int64_t row, double scale) const;
  /// Self-normalised sum over the active visible keys with weights 1/p. NaN where no key is active.
  std::vector<double> attend(int64_t row, std::span<const float> probability) const;

 private:
  void read_attention_mask(const std::string& path);

  std::string name_;
  std::filesystem::path folder_;
  std::string prefix_;  ///< of the step's files
  io::Json manifest_;
  HubShape shape_;
  bool causal_ = false;
  std::map<std::string, tensor::Tensor> inputs_;
};

/// The id of our masker for a config class of the reference; throws std::out_of_range for an unknown class.
const std::string& masker_id(const std::string& config_class);

/// The `count` largest of values[0, end), ascending; ties go to the lower index.
std::vector<int64_t> largest(std::span<const double> values, int64_t end, int64_t count);
/// The fewest of logits[0, end), largest first, whose share of the softmax mass reaches `share`; ascending.
std::vector<int64_t> heaviest(std::span<const double> logits, int64_t end, double share);

}  // namespace attnlab::golden
