// Named tensors in one file, whatever its format.
#pragma once

#include <map>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

#include "core/io/npz.hpp"
#include "core/io/safetensors.hpp"

namespace attnlab::io {

/// A .npz or .safetensors file, memory-mapped. Thread safety: reading is safe from any thread.
class Archive {
 public:
  /// Chooses the format by content, and by extension when the content says nothing. Throws UserError.
  static Archive open(const std::string& path);

  const std::string& path() const { return path_; }
  /// In the order of the file.
  const std::vector<std::string>& names() const;
  bool contains(const std::string& name) const { return index_.contains(name); }
  /// "__metadata__/KEY", unless a tensor has that name, is the text of metadata()[KEY] as uint8. Throws
  /// UserError naming the nearest tensors when there is none of this name, or when its data are damaged.
  tensor::Tensor read(const std::string& name) const;
  /// "__metadata__" of a safetensors file; empty for .npz.
  const std::map<std::string, std::string>& metadata() const;

 private:
  using File = std::variant<NpzFile, SafetensorsFile>;
  Archive(std::string path, File file);
  tensor::Tensor metadata_text(const std::string& key) const;

  std::string path_;
  File file_;
  std::unordered_map<std::string, size_t> index_;
};

}  // namespace attnlab::io
