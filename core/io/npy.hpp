// numpy .npy files: one array each.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "core/base/mapped_file.hpp"
#include "core/io/atomic_file.hpp"
#include "core/tensor/tensor.hpp"

namespace attnlab::io {

/// Maps a file: little-endian C-order data are not copied, big-endian or Fortran-order data are converted
/// into a copy. Structured, object, complex and text types, and files with bytes missing or left over, are
/// refused with a UserError. The tensor keeps the mapping alive.
tensor::Tensor read_npy(const std::string& path);

/// The same for an array of `size` bytes at `data` that `storage` keeps alive; data misaligned for their type
/// are copied. `name` is what errors call it.
tensor::Tensor parse_npy(std::shared_ptr<const void> storage, const std::byte* data, size_t size,
                         const std::string& name);

/// Writes little-endian C order, version 1.0, data at a multiple of 64 bytes. bfloat16, which numpy lacks, is
/// widened to float32. The file appears complete or not at all. Throws UserError (Exit::failed).
void write_npy(const std::string& path, const tensor::Tensor& tensor);

/// A float32 .npy file filled in place through a memory map, for results too large to hold twice.
/// Thread safety: disjoint parts of `values` may be filled in parallel; `commit` needs a sole caller.
class NpyWriter {
 public:
  /// Reserves the disk space. Throws UserError (Exit::failed), e.g. when the disk is full.
  NpyWriter(const std::string& path, const tensor::Shape& shape);

  /// All elements in row-major order, at first zero, 64-byte aligned. Valid until `commit` or destruction.
  std::span<float> values() { return values_; }
  /// Makes the file appear at its path, once. Destroyed without commit, nothing is left behind.
  void commit();

 private:
  PendingFile pending_;
  std::shared_ptr<base::MappedFile> file_;
  std::span<float> values_;
};

}  // namespace attnlab::io
