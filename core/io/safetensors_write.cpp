#include <fmt/core.h>

#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>

#include "core/base/error.hpp"
#include "core/io/atomic_file.hpp"
#include "core/io/raw_tensor.hpp"
#include "core/io/safetensors.hpp"

namespace attnlab::io {
namespace {

constexpr size_t alignment = 64;

static_assert(std::endian::native == std::endian::little, "the header's length is little-endian");

}  // namespace

void write_safetensors(const std::string& path,
                       std::span<const std::pair<std::string, tensor::Tensor>> tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<std::string> names;
  for (const auto& named : tensors) names.push_back(named.first);
  check_names(names, path);
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t position = 0;
  for (const auto& [name, tensor] : tensors) {
    const uint64_t end = position + tensor.byte_size();
    header[name] = {{"dtype", safetensors_name(tensor.dtype())},
                    {"shape", tensor.shape()},
                    {"data_offsets", {position, end}}};
    position = end;
  }
  std::string text = header.dump();
  // The format allows spaces after the header: the data then begin where a mapped file is aligned.
  text.resize((text.size() + 8 + alignment - 1) / alignment * alignment - 8, ' ');
  AtomicFile file(path);
  const uint64_t length = text.size();
  file.write(&length, sizeof length);
  file.write(text);
  for (const auto& named : tensors) file.write(named.second.bytes(), named.second.byte_size());
  file.commit();
}

}  // namespace attnlab::io
