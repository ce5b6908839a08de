// Trace manifests beside small arrays: refused, or every dumped layer loads.
#include "core/data/trace.hpp"

#include "core/io/npy.hpp"
#include "tests/fuzz/support.hpp"

using namespace attnlab;

namespace {

/// Layers 0 and 1 of 3 tokens, 4 query heads, 2 KV heads, head_dim 2 and value_dim 1; layer 1 has an output.
fuzz::Folder& folder_of_arrays() {
  static fuzz::Folder folder;
  static const bool filled = [] {
    auto write = [&](const std::string& name, tensor::Shape shape) {
      io::write_npy(folder / name, tensor::Tensor::zeros(tensor::DType::f32, std::move(shape)));
    };
    for (const std::string layer : {"layer00_", "layer01_"}) {
      write(layer + "q.npy", {3, 4, 2});
      write(layer + "k.npy", {3, 2, 2});
      write(layer + "v.npy", {3, 2, 1});
    }
    write("layer01_o.npy", {3, 4, 1});
    return true;
  }();
  static_cast<void>(filled);
  return folder;
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Folder& folder = folder_of_arrays();
  folder.write("manifest.json", fuzz::text_of(data, size));
  fuzz::accepted([&] {
    const auto source = data::open_trace(folder / ".");
    const data::Geometry& g = source->geometry();
    ATTNLAB_CHECK(g.query_heads == 4 && g.kv_heads == 2 && g.keys == 3 && g.queries == 3, "another geometry");
    ATTNLAB_CHECK(!source->scale() || *source->scale() > 0, "scale");
    for (int layer : source->layers()) {
      const data::LayerProblem problem = source->load(layer);
      ATTNLAB_CHECK(problem.query.channels == 2 && problem.value.channels == 1, "channels");
      ATTNLAB_CHECK((problem.expected_output.data != nullptr) == (layer == 1), "only layer 1 has an output");
    }
  });
  return 0;
}
