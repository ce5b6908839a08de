// Causal dense attention of a whole prompt.
#include <fmt/core.h>

#include "core/base/parallel.hpp"
#include "core/measure/kernel_bench/kernel_case.hpp"

namespace attnlab::measure {
namespace {

struct Shape {
  int64_t heads, kv_heads, head_dim, queries;

  int64_t group() const { return heads / kv_heads; }
};

constexpr int64_t tile_queries = 64;

/// Logits of a tile and what they attend to, as the engine does it.
class Prefill {
 public:
  Prefill(const Shape& shape, CaseContext& context)
      : shape_(shape),
        kernels_(context.kernels),
        kv_(context.kv({shape.kv_heads, shape.queries, shape.head_dim})),
        query_(normals(shape.heads * shape.queries * shape.head_dim, 2)),
        out_(normals(shape.heads * shape.queries * shape.head_dim, 3)),
        logits_(static_cast<size_t>(base::worker_slots())) {}

  void operator()() {
    const int64_t tiles = (shape_.queries + tile_queries - 1) / tile_queries;
    base::parallel_for(shape_.kv_heads * tiles, [&](int64_t i, int worker) {
      attend(i % shape_.kv_heads, (tiles - 1 - i / shape_.kv_heads) * tile_queries,
             logits_[static_cast<size_t>(worker)]);
    });
  }

 private:
  void attend(int64_t head, int64_t first, std::vector<float>& scratch) const {
    const int64_t rows = std::min(tile_queries, shape_.queries - first) * shape_.group();
    const int64_t keys = first + rows / shape_.group();
    const int64_t row_size = shape_.head_dim;
    scratch.resize(static_cast<size_t>(tile_queries * shape_.group() * shape_.queries));
    // Rows of a KV head: [query][head of the group].
    const int64_t begin = (head * shape_.queries + first) * shape_.group();
    kernels::LogitsArguments logits;
    logits.query = query_.get() + begin * row_size;
    logits.query_stride = logits.head_dim = logits.key_stride = row_size;
    logits.rows = rows;
    logits.key = kv_->key(0, head);
    logits.key_end = keys;
    logits.scale = 1.0F / 12;
    logits.logits = scratch.data();
    logits.logits_stride = shape_.queries;
    kernels_->logits(logits);

    int64_t key_end[tile_queries * 64];
    for (int64_t row = 0; row < rows; ++row) key_end[row] = first + row / shape_.group() + 1;
    float lse[tile_queries * 64];
    kernels::AttendLogitsArguments attend;
    attend.logits = scratch.data();
    attend.logits_stride = shape_.queries;
    attend.rows = rows;
    attend.key_end = key_end;
    attend.value = kv_->value(0, head);
    attend.value_stride = attend.value_dim = attend.out_stride = row_size;
    attend.out = out_.get() + begin * row_size;
    attend.lse = lse;
    kernels_->attend_logits(attend);
  }

  Shape shape_;
  const kernels::KernelTable* kernels_;
  std::shared_ptr<const KvPool> kv_;
  std::shared_ptr<float[]> query_, out_;
  std::vector<std::vector<float>> logits_;  ///< of each worker
};

}  // namespace

void add_prefill_cases(bool quick, std::vector<KernelCase>& cases) {
  for (const Shape& shape : {Shape{32, 8, 128, quick ? 65 : 2048}, Shape{12, 12, 64, quick ? 65 : 2048}}) {
    KernelCase prefill;
    prefill.name = fmt::format("prefill/f32/q{}kv{}/d{}/s{}", shape.heads, shape.kv_heads, shape.head_dim,
                               shape.queries);
    prefill.family = "prefill";
    // Two products of head_dim for each visible pair of query and key.
    prefill.flops = 4.0 * static_cast<double>(shape.head_dim * shape.heads) *
                    static_cast<double>(shape.queries * (shape.queries + 1)) / 2;
    prefill.make = [shape](CaseContext& context) { return PreparedCase{Prefill(shape, context), 0, ""}; };
    cases.push_back(std::move(prefill));
  }
}

}  // namespace attnlab::measure
