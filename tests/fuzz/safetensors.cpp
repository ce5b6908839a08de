// .safetensors files: refused, or every tensor lies inside the file and equals what our .npz holds of it.
#include "core/io/safetensors.hpp"

#include "core/io/npz.hpp"
#include "tests/fuzz/support.hpp"

using namespace attnlab;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::Folder folder;
  const fuzz::HeapBytes bytes(data, size);
  fuzz::accepted([&] {
    const io::SafetensorsFile file(bytes.storage, bytes.span(), "x.safetensors");
    std::vector<io::NamedTensor> tensors;
    size_t total = 0;
    for (size_t i = 0; i < file.names().size(); ++i) {
      fuzz::accepted([&] {
        tensors.emplace_back(file.names()[i], file.read(i));
        total += tensors.back().second.byte_size();
      });
    }
    ATTNLAB_CHECK(total <= size, "tensors larger than the file");
    io::write_npz(folder / "x.npz", tensors);
    const auto again = io::NpzFile::open(folder / "x.npz");
    for (size_t i = 0; i < tensors.size(); ++i) {
      const bool widened = tensors[i].second.dtype() == tensor::DType::bf16;
      ATTNLAB_CHECK(fuzz::same(again.read(i), widened ? tensors[i].second.to_f32() : tensors[i].second),
                    again.names()[i]);
    }
  });
  return 0;
}

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size) __attribute__((weak));

/// Lets the length in the first 8 bytes follow the header, which ends before the zeros of the data or at the
/// last brace.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  size = LLVMFuzzerMutate(data, size, max_size);
  constexpr size_t length_size = 8;
  if (seed % 8 == 0 || size <= length_size) return size;
  const size_t brace = fuzz::text_of(data, size).rfind('}');
  if (brace == std::string_view::npos || brace < length_size) return size;
  const uint64_t length = brace + 1 - length_size;
  std::memcpy(data, &length, length_size);
  return size;
}
