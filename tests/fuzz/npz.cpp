// .npz files: refused, or the readable members survive a rewrite, with and without zip64 fields.
#include "core/io/npz.hpp"

#include <zlib.h>

#include <vector>

#include "tests/fuzz/support.hpp"

using namespace attnlab;

namespace {

/// Members whose sizes add up to more are not inflated: a deflated byte may stand for a thousand.
constexpr size_t max_members = 64;

void check_round_trip(const std::vector<io::NamedTensor>& members, uint64_t zip64_from) {
  static const fuzz::Folder folder;
  io::write_npz(folder / "x.npz", members, zip64_from);
  const auto again = io::NpzFile::open(folder / "x.npz");
  ATTNLAB_CHECK(again.names().size() == members.size(), "members lost");
  for (size_t i = 0; i < members.size(); ++i) {
    ATTNLAB_CHECK(again.names()[i] == members[i].first, members[i].first);
    ATTNLAB_CHECK(fuzz::same(again.read(i), members[i].second), members[i].first);
  }
}

template <class Integer>
Integer load(const uint8_t* at) {
  Integer value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

/// Writes the true checksum of each stored member into the zip directory; a checksum is what mutation cannot
/// guess, and nothing behind it would be reached.
void mend_checksums(uint8_t* data, size_t size) {
  constexpr size_t central_size = 46, local_size = 30;
  for (size_t at = 0; at + central_size <= size; ++at) {
    if (load<uint32_t>(data + at) != 0x02014b50) continue;
    const uint64_t bytes = load<uint32_t>(data + at + 20), header = load<uint32_t>(data + at + 42);
    if (header > size || size - header < local_size) continue;
    const uint64_t start =
        header + local_size + load<uint16_t>(data + header + 26) + load<uint16_t>(data + header + 28);
    if (start > size || bytes > size - start) continue;
    const auto crc = static_cast<uint32_t>(::crc32_z(0, data + start, bytes));
    std::memcpy(data + at + 16, &crc, sizeof crc);
  }
}

}  // namespace

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size) __attribute__((weak));

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  size = LLVMFuzzerMutate(data, size, max_size);
  if (seed % 8 != 0) mend_checksums(data, size);
  return size;
}

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const fuzz::HeapBytes bytes(data, size);
  fuzz::accepted([&] {
    const io::NpzFile file(bytes.storage, bytes.span(), "x.npz");
    std::vector<io::NamedTensor> members;
    for (size_t i = 0; i < std::min(file.names().size(), max_members); ++i) {
      fuzz::accepted([&] { members.emplace_back(file.names()[i], file.read(i)); });
    }
    check_round_trip(members, 0xffffffff);
    check_round_trip(members, 0);
  });
  return 0;
}
