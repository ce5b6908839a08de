#include "core/base/hash.hpp"

#define XXH_INLINE_ALL
#include <fmt/core.h>
#include <xxhash.h>

#include "core/base/mapped_file.hpp"

namespace attnlab::base {

std::string hash_hex(const void* data, size_t size) {
  XXH128_hash_t hash = XXH3_128bits(data, size);
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

std::string hash_file(const std::string& path) {
  auto file = MappedFile::open(path);
  return hash_hex(file->data(), file->size());
}

}  // namespace attnlab::base
