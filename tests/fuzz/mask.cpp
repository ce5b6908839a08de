// Mask files: refused, or saved and loaded with the same state and bits.
#include "core/mask/mask_file.hpp"

#include "tests/fuzz/support.hpp"

using namespace attnlab;

namespace {

template <class T>
bool same_bits(std::span<const T> a, std::span<const T> b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::Folder folder;
  const std::string path = folder.write("mask", fuzz::text_of(data, size));
  fuzz::accepted([&] {
    const mask::Mask found = mask::load_mask(path);
    mask::save_mask(found, folder / "again.npz");
    const mask::Mask again = mask::load_mask(folder / "again.npz");
    ATTNLAB_CHECK(again.state() == found.state(), "state");
    ATTNLAB_CHECK(same_bits(again.row_ptr(), found.row_ptr()) && same_bits(again.column(), found.column()),
                  "entries");
    ATTNLAB_CHECK(same_bits(again.probability(), found.probability()), "probability");
    ATTNLAB_CHECK(same_bits(again.log_weight(), found.log_weight()), "log_weight");
  });
  return 0;
}
