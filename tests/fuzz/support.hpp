// What the fuzz targets share: the only exception that may leave the code under test, and a place for files.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

#include "core/base/error.hpp"
#include "core/io/json.hpp"
#include "core/tensor/tensor.hpp"

/// What libFuzzer and the replay of the corpus call. A finding is anything but a normal return.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace attnlab::fuzz {

/// Whether every message may be printed and written as JSON: a terminal must not obey a file.
inline bool is_printable(std::string_view text) {
  if (std::any_of(text.begin(), text.end(),
                  [](unsigned char c) { return (c < 0x20 && c != '\n') || c == 0x7f; })) {
    return false;
  }
  try {
    static_cast<void>(io::Json(text).dump());
    return true;
  } catch (const io::Json::type_error&) {
    return false;
  }
}

/// Runs `action`. True when it returns, false when it throws a UserError; any other exception is a finding.
template <class Action>
bool accepted(Action action) {
  try {
    action();
    return true;
  } catch (const base::UserError& error) {
    ATTNLAB_CHECK(is_printable(error.what()), error.what());
    return false;
  }
}

/// A copy on the heap of exactly this size, so that the address sanitizer sees every read beyond it.
struct HeapBytes {
  HeapBytes(const uint8_t* data, size_t bytes) : storage(new std::byte[bytes]), size(bytes) {
    if (bytes > 0) std::memcpy(storage.get(), data, bytes);
  }
  std::span<const std::byte> span() const { return {storage.get(), size}; }
  std::shared_ptr<std::byte[]> storage;
  size_t size;
};

inline bool same(const tensor::Tensor& a, const tensor::Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() &&
         (a.byte_size() == 0 || std::memcmp(a.bytes(), b.bytes(), a.byte_size()) == 0);
}

/// A folder below $TMPDIR for this process, removed at its normal end.
class Folder {
 public:
  Folder() : path_(std::filesystem::temp_directory_path() / "attnlab-fuzz-XXXXXX") {
    if (::mkdtemp(path_.data()) == nullptr) throw std::runtime_error("no temporary folder");
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  /// Writes a file and returns its path.
  std::string write(const std::string& name, std::string_view bytes) const {
    std::ofstream file(*this / name, std::ios::binary);
    if (!(file << bytes).flush()) throw std::runtime_error("cannot write " + name);
    return *this / name;
  }

 private:
  std::string path_;
};

inline std::string_view text_of(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

}  // namespace attnlab::fuzz
