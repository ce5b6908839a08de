// Weight and calibration files for methods that need them, made for a small problem.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <functional>
#include <map>
#include <string>

#include "core/io/npz.hpp"
#include "tests/support/hash_weights.hpp"
#include "tests/support/small_problem.hpp"

namespace attnlab::test {

/// A folder that goes with its owner.
class TemporaryFiles {
 public:
  TemporaryFiles() {
    std::string name = (std::filesystem::temp_directory_path() / "attnlab_method_XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
    folder_ = name;
  }
  TemporaryFiles(const TemporaryFiles&) = delete;
  TemporaryFiles& operator=(const TemporaryFiles&) = delete;
  ~TemporaryFiles() { std::filesystem::remove_all(folder_); }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }

 private:
  std::filesystem::path folder_;
};

/// Writes a file of one kind for a problem to a path.
using MethodFileWriter = std::function<void(const SmallProblem&, const std::string& path)>;

/// Sorted channels for double_sparsity, another order for each layer and head.
inline void write_channels(const SmallProblem& problem, const std::string& path) {
  const int64_t layer = problem.layer.layer, heads = problem.geometry.query_heads;
  const int64_t head_dim = problem.geometry.head_dim;
  auto layers = tensor::Tensor::zeros(tensor::DType::i32, {2});
  layers.mutable_values<int32_t>()[0] = static_cast<int32_t>(layer + 1);
  layers.mutable_values<int32_t>()[1] = static_cast<int32_t>(layer);
  std::vector<io::NamedTensor> tensors = {{"layers", layers}};
  for (const char* name : {"qk_proj", "q_proj", "k_proj"}) {
    auto lists = tensor::Tensor::zeros(tensor::DType::i32, {2, heads, head_dim});
    const auto shift = static_cast<int64_t>(tensors.size());
    const auto values = lists.mutable_values<int32_t>();
    for (size_t i = 0; i < values.size(); ++i) {
      const auto list = static_cast<int64_t>(i) / head_dim, place = static_cast<int64_t>(i) % head_dim;
      const int64_t rotated = (place + list % heads + shift) % head_dim;
      values[i] = static_cast<int32_t>(list < heads ? rotated : head_dim - 1 - rotated);
    }
    tensors.emplace_back(name, lists);
  }
  io::write_npz(path, tensors);
}

/// Kinds of files by name, such as "hash".
inline const std::map<std::string, MethodFileWriter>& method_file_writers() {
  static const auto hash = [](bool per_query_head) {
    return [per_query_head](const SmallProblem& p, const std::string& path) {
      const train::NetShape shape{p.geometry.head_dim, 2, 7, 20, train::Activation::silu};
      write_hash_weights(
          path, random_hash_weights(shape, per_query_head ? p.geometry.query_heads : p.geometry.kv_heads,
                                    per_query_head, {p.layer.layer}, 21));
    };
  };
  static const std::map<std::string, MethodFileWriter> writers = {
      {"channels", write_channels},
      {"hash", hash(false)},
      {"hash_of_query_heads", hash(true)},
  };
  return writers;
}

/// Replaces "${FILE:kind}" by the path of a file of that kind made for the problem.
inline std::string with_method_files(std::string pipelines, const SmallProblem& problem,
                                     const TemporaryFiles& files) {
  const std::string mark = "${FILE:";
  for (size_t at; (at = pipelines.find(mark)) != std::string::npos;) {
    const size_t end = pipelines.find('}', at);
    const std::string kind = pipelines.substr(at + mark.size(), end - at - mark.size());
    const std::string path = files.path(kind + ".safetensors");
    method_file_writers().at(kind)(problem, path);
    pipelines.replace(at, end + 1 - at, path);
  }
  return pipelines;
}

}  // namespace attnlab::test
