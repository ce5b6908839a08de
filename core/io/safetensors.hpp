// safetensors files: an 8-byte length, a JSON header, then the bytes of all tensors.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/tensor/tensor.hpp"

namespace attnlab::io {

/// The tensors of one safetensors file. The whole header is checked on construction: types, shapes and
/// offsets must describe the data section exactly, without gaps or overlaps. Only float16/bfloat16/32/64,
/// integers and booleans are read. Thread safety: reading is safe from any thread.
class SafetensorsFile {
 public:
  /// `storage` keeps `bytes` alive. `path` is what errors call the file. Throws UserError.
  SafetensorsFile(std::shared_ptr<const void> storage, std::span<const std::byte> bytes,
                  const std::string& path);
  static SafetensorsFile open(const std::string& path);

  /// In the order of the header.
  const std::vector<std::string>& names() const { return names_; }
  /// The strings under "__metadata__".
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  /// The tensor of `names()[index]`; shares the file's bytes unless they are misaligned.
  tensor::Tensor read(size_t index) const;

 private:
  struct Entry {
    tensor::DType dtype;
    tensor::Shape shape;
    uint64_t begin, end;  ///< bytes from the start of the data section
  };
  class HeaderHandler;
  void check_offsets() const;

  std::shared_ptr<const void> storage_;
  std::span<const std::byte> data_;
  std::string path_;
  std::vector<std::string> names_;
  std::vector<Entry> entries_;
  std::map<std::string, std::string> metadata_;
};

/// "F32" for float32, as headers name it.
std::string_view safetensors_name(tensor::DType dtype);

/// Writes the tensors in the given order, the data section aligned to 64 bytes so that it can be mapped;
/// equal input gives equal bytes. The file appears complete or not at all. Throws UserError for bad or
/// repeated names, and with Exit::failed when it cannot be written.
void write_safetensors(const std::string& path,
                       std::span<const std::pair<std::string, tensor::Tensor>> tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace attnlab::io
