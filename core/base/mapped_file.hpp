// A file mapped into memory, read-only or freshly created for writing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace attnlab::base {

/// Pages are loaded on first touch; the mapping lives as long as the object. Moves nothing, copies nothing.
/// Thread safety: reading is safe from any thread.
class MappedFile {
 public:
  /// Maps an existing file read-only. Throws UserError naming the file when it cannot be opened.
  static std::shared_ptr<const MappedFile> open(const std::string& path);
  /// Creates (or truncates) a file of `size` bytes of zeros, mapped for writing. Throws UserError
  /// (Exit::failed).
  static std::shared_ptr<MappedFile> create(const std::string& path, size_t size);

  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::byte* data() const { return data_; }
  std::byte* mutable_data() { return data_; }
  size_t size() const { return size_; }
  const std::string& path() const { return path_; }

 private:
  MappedFile(std::string path, std::byte* data, size_t size)
      : path_(std::move(path)), data_(data), size_(size) {}
  std::string path_;
  std::byte* data_;
  size_t size_;
};

}  // namespace attnlab::base
