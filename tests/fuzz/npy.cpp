// .npy files: refused, or read and written back the same.
#include "core/io/npy.hpp"

#include "tests/fuzz/support.hpp"

using namespace attnlab;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::Folder folder;
  const fuzz::HeapBytes bytes(data, size);
  fuzz::accepted([&] {
    const tensor::Tensor tensor = io::parse_npy(bytes.storage, bytes.storage.get(), bytes.size, "x.npy");
    ATTNLAB_CHECK(tensor.byte_size() <= size, "more elements than bytes");
    io::write_npy(folder / "x.npy", tensor);
    ATTNLAB_CHECK(fuzz::same(io::read_npy(folder / "x.npy"), tensor), "written and read back");
  });
  return 0;
}
