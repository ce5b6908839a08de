// numpy .npz files: zip archives of .npy members, stored or deflated.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/tensor/tensor.hpp"

namespace attnlab::io {

/// The arrays of one .npz file, zip64 included. Construction checks the directory: every member lies inside
/// the file and overlaps no other. Encrypted members, compression other than deflate, split archives and
/// duplicate names are refused. Thread safety: reading is safe from any thread.
class NpzFile {
 public:
  /// `storage` keeps `bytes` alive. `path` is what errors call the file. Throws UserError.
  NpzFile(std::shared_ptr<const void> storage, std::span<const std::byte> bytes, const std::string& path);
  static NpzFile open(const std::string& path);

  /// Member names without ".npy", in the order of the directory.
  const std::vector<std::string>& names() const { return names_; }
  /// The array of `names()[index]`. A stored member shares the file's bytes when they are aligned; a deflated
  /// one is inflated into memory, at most to its declared size. Throws UserError.
  tensor::Tensor read(size_t index) const;

 private:
  struct Member {
    uint16_t method;
    uint32_t crc;
    uint64_t compressed_size, size;       ///< bytes
    uint64_t header_offset, data_offset;  ///< bytes from the start of the file
  };
  struct Directory {
    uint64_t members, size, offset;
  };
  template <class Integer>
  Integer load(uint64_t offset) const;
  std::string text(uint64_t offset, uint64_t size) const;
  [[noreturn]] void refuse(const std::string& summary, const std::string& member, std::string found = {},
                           std::string allowed = {}) const;
  uint64_t find_end_record() const;
  Directory find_directory() const;
  void read_directory(const Directory& directory);
  void read_zip64_sizes(Member& member, const std::string& name, uint64_t offset, uint64_t size) const;
  void locate_data(Member& member, const std::string& name, uint64_t data_end) const;
  void check_overlaps() const;
  tensor::Tensor inflated(const Member& member, const std::string& name) const;
  void check_crc(const Member& member, const std::string& name, const std::byte* data) const;

  std::shared_ptr<const void> storage_;
  std::span<const std::byte> bytes_;
  std::string path_;
  std::vector<std::string> names_;
  std::vector<Member> members_;
};

using NamedTensor = std::pair<std::string, tensor::Tensor>;

/// Writes stored members in the given order, their data aligned to 64 bytes so that they can be mapped; equal
/// input gives equal bytes (no timestamps). bfloat16 is widened to float32. Sizes and offsets of `zip64_from`
/// or more use zip64 fields (tests lower it). The file appears complete or not at all. Throws UserError for
/// bad or repeated names, and with Exit::failed when it cannot be written.
void write_npz(const std::string& path, std::span<const NamedTensor> tensors,
               uint64_t zip64_from = 0xffffffff);

}  // namespace attnlab::io
