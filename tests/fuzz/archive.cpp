// Attention problems in archives: refused, or loaded with the extents that the geometry promises.
#include "core/data/archive_source.hpp"

#include "tests/fuzz/support.hpp"

using namespace attnlab;

namespace {

void check_extents(const tensor::HeadView& view, int64_t heads, int64_t tokens, int64_t channels) {
  ATTNLAB_CHECK(view.heads == heads && view.tokens == tokens && view.channels == channels,
                "extents of a view");
  // The last element: what a kernel may touch at most.
  const float last = view.row(view.batch - 1, heads - 1, tokens - 1)[channels - 1];
  ATTNLAB_CHECK(last - last == 0, "not finite");
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::Folder folder;
  // No extension: the format is told by content.
  const std::string path = folder.write("input", fuzz::text_of(data, size));
  fuzz::accepted([&] {
    const auto source = data::open_archive(path);
    const data::Geometry& g = source->geometry();
    ATTNLAB_CHECK(g.batch > 0 && g.kv_heads > 0 && g.query_heads % g.kv_heads == 0, "groups of heads");
    ATTNLAB_CHECK(0 < g.queries && g.queries <= g.keys, "queries are the last positions");
    const data::LayerProblem problem = source->load(0);
    check_extents(problem.query, g.query_heads, g.queries, g.head_dim);
    check_extents(problem.key, g.kv_heads, g.keys, g.head_dim);
    check_extents(problem.value, g.kv_heads, g.keys, g.value_dim);
    for (int64_t valid : problem.valid) ATTNLAB_CHECK(1 <= valid && valid <= g.keys, "valid length");
    ATTNLAB_CHECK(fuzz::is_printable(source->description()), source->description());
  });
  return 0;
}
