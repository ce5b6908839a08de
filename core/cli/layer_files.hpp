// The files around one attention layer: its inputs, its parameters, and the folder of its results.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/graph/array.hpp"
#include "core/model/parameters.hpp"
#include "core/tensor/tensor.hpp"

namespace attnlab::cli {

/// One input as its file holds it.
struct LayerInput {
  std::string name, file;
  tensor::Tensor tensor;
};

/// What --input names: x, key and value, each [tokens, channels], or q, k and v, each [heads, tokens,
/// channels]; all with a batch axis before, or all without.
struct LayerInputs {
  std::vector<LayerInput> given;  ///< in the order x, key, value or q, k, v
  bool heads = false;             ///< q, k and v
  bool batched = false;

  /// With a batch axis, in the precision of the work.
  std::vector<graph::Array> arrays(graph::Element precision) const;
};

/// Reads "FILE" or "NAME=FILE" of each argument. Throws UserError for names, files and extents that do not
/// go together.
LayerInputs read_layer_inputs(const std::vector<std::string>& arguments);

/// Values of an array that are NaN or infinite.
struct NonFinite {
  int64_t count = 0;
  std::string first;  ///< the first of them: "nan"
  std::string place;  ///< its indices: "[0, 3, 2]"
};
/// `shape`: in whose indices the place is told, of as many elements. Empty when all are finite.
std::optional<NonFinite> find_non_finite(const graph::Array& array, const tensor::Shape& shape);

/// Fills all parameters from a .npz or .safetensors file. Throws UserError: names that are missing, in one
/// message; names that the scheme does not have; other extents; values that are not finite.
void load_weights(model::ParameterSet& parameters, const std::string& file);

/// A folder of results that appears at its path complete or not at all: files are made aside. In a folder
/// that exists, the results of an earlier forward are replaced and other files stay.
class LayerFolder {
 public:
  /// Throws UserError (Exit::failed) when there can be no such folder.
  explicit LayerFolder(const std::string& path);
  /// Without commit nothing is left behind.
  ~LayerFolder();
  LayerFolder(const LayerFolder&) = delete;
  LayerFolder& operator=(const LayerFolder&) = delete;

  void write(const std::string& name, const graph::Array& array);
  void write(const std::string& name, const std::string& text);
  void commit();

 private:
  std::string staged(const std::string& name);

  std::string path_, stage_;
  bool exists_ = false, committed_ = false;
  std::vector<std::string> names_;
};

}  // namespace attnlab::cli
