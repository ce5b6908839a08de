// 128-bit content hashes (XXH3) for run ids and provenance. Not cryptographic.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace attnlab::base {

/// 32 lower-case hex digits of the XXH3-128 hash of `size` bytes at `data`.
std::string hash_hex(const void* data, size_t size);
inline std::string hash_hex(std::string_view text) {
  return hash_hex(text.data(), text.size());
}

/// Hash of a whole file, read through a memory map. Throws UserError when it cannot be read.
std::string hash_file(const std::string& path);

}  // namespace attnlab::base
