#include "core/io/archive.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <string_view>

#include "core/base/error.hpp"
#include "core/base/mapped_file.hpp"
#include "core/io/raw_tensor.hpp"

namespace attnlab::io {
namespace {

enum class Format { npz, safetensors };

constexpr std::string_view metadata_prefix = "__metadata__/";

/// A Python pickle by its first bytes, or a file of torch.save, which is a zip with a pickle in it.
bool is_pickle(std::string_view bytes) {
  constexpr size_t zip_name_size = 26, zip_name = 30;
  if (bytes.size() > 2 && bytes[0] == '\x80' && bytes[1] >= 2 && bytes[1] <= 5) return true;
  if (!bytes.starts_with("PK\x03\x04") || bytes.size() <= zip_name) return false;
  const auto size = static_cast<unsigned char>(bytes[zip_name_size]);
  return bytes.substr(zip_name, size).ends_with("data.pkl");
}

Format format_of(const std::string& path, std::string_view bytes) {
  if (bytes.starts_with("\x93NUMPY")) {
    throw base::UserError("a single array, not an archive of named tensors",
                          {.file = path, .allowed = ".npz or .safetensors"});
  }
  // The header is a JSON object after its length in 8 bytes, which can be anything, "PK" included; byte 8 of
  // a zip file is its compression method, never a brace.
  if (bytes.size() > 8 && bytes[8] == '{') return Format::safetensors;
  if (is_pickle(bytes)) {
    throw base::UserError("a pickle of Python, which is never read: to open it is to run what is in it",
                          {.file = path, .allowed = ".npz or .safetensors"});
  }
  if (bytes.starts_with("PK")) return Format::npz;
  if (path.ends_with(".npz")) return Format::npz;
  if (path.ends_with(".safetensors")) return Format::safetensors;
  throw base::UserError("unknown tensor file", {.file = path,
                                                .found = "starts with " + printable(bytes.substr(0, 8)),
                                                .allowed = ".npz or .safetensors"});
}

}  // namespace

Archive Archive::open(const std::string& path) {
  auto file = base::MappedFile::open(path);
  std::span<const std::byte> bytes(file->data(), file->size());
  std::string_view text(reinterpret_cast<const char*>(file->data()), file->size());
  if (format_of(path, text) == Format::npz) return Archive(path, NpzFile(file, bytes, path));
  return Archive(path, SafetensorsFile(file, bytes, path));
}

Archive::Archive(std::string path, File file) : path_(std::move(path)), file_(std::move(file)) {
  for (const auto& name : names()) index_.emplace(name, index_.size());
}

const std::vector<std::string>& Archive::names() const {
  return std::visit([](const auto& file) -> const std::vector<std::string>& { return file.names(); }, file_);
}

tensor::Tensor Archive::read(const std::string& name) const {
  auto found = index_.find(name);
  if (found == index_.end() && name.starts_with(metadata_prefix)) {
    return metadata_text(name.substr(metadata_prefix.size()));
  }
  if (found == index_.end()) {
    // Searching a million names for the nearest would hang.
    constexpr size_t searched = 4096, shown = 12;
    auto some = [&](size_t count) {
      return std::vector<std::string>(names().begin(), names().begin() + std::min(count, names().size()));
    };
    std::string more = names().size() > shown ? fmt::format(", ... ({} in all)", names().size()) : "";
    throw base::UserError("no such tensor", {.file = path_,
                                             .found = printable(name),
                                             .allowed = base::join(some(shown)) + more,
                                             .suggestion = base::did_you_mean(name, some(searched))});
  }
  return std::visit([&](const auto& file) { return file.read(found->second); }, file_);
}

tensor::Tensor Archive::metadata_text(const std::string& key) const {
  const auto found = metadata().find(key);
  if (found == metadata().end()) {
    std::vector<std::string> keys;
    for (const auto& entry : metadata()) keys.push_back(printable(entry.first));
    throw base::UserError("the file has no such metadata",
                          {.file = path_,
                           .found = printable(key),
                           .allowed = keys.empty() ? "this file has no metadata" : base::join(keys)});
  }
  auto text = tensor::Tensor::zeros(tensor::DType::u8, {static_cast<int64_t>(found->second.size())});
  std::copy(found->second.begin(), found->second.end(), text.mutable_values<uint8_t>().begin());
  return text;
}

const std::map<std::string, std::string>& Archive::metadata() const {
  static const std::map<std::string, std::string> none;
  auto* file = std::get_if<SafetensorsFile>(&file_);
  return file != nullptr ? file->metadata() : none;
}

}  // namespace attnlab::io
