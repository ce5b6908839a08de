// Causal dense attention of a whole prompt.
#include <fmt/core.h>

#include <cmath>

#include "core/kernels/attention/dense.hpp"
#include "core/measure/kernel_bench/kernel_case.hpp"

namespace attnlab::measure {
namespace {

struct Shape {
  int64_t heads, kv_heads, head_dim, queries;
};

class Prefill {
 public:
  Prefill(const Shape& shape, CaseContext& context)
      : kernels_(context.kernels),
        kv_(context.kv({shape.kv_heads, shape.queries, shape.head_dim})),
        query_(normals(shape.heads * shape.queries * shape.head_dim, 2)),
        out_(normals(shape.heads * shape.queries * shape.head_dim, 3)),
        lse_(normals(shape.heads * shape.queries, 4)) {
    const int64_t head = shape.queries * shape.head_dim;
    arguments_.query_heads = shape.heads;
    arguments_.kv_heads = shape.kv_heads;
    arguments_.queries = arguments_.keys = shape.queries;
    arguments_.head_dim = arguments_.value_dim = shape.head_dim;
    arguments_.scale = 1 / std::sqrt(static_cast<float>(shape.head_dim));
    arguments_.query = {query_.get(), 0, head, shape.head_dim};
    arguments_.key = {kv_->key(0, 0), 0, head, shape.head_dim};
    arguments_.value = {kv_->value(0, 0), 0, head, shape.head_dim};
    arguments_.out = {out_.get(), 0, head, shape.head_dim};
    arguments_.lse = lse_.get();
  }

  void operator()() const { kernels::dense_attention(*kernels_, arguments_); }

 private:
  const kernels::KernelTable* kernels_;
  std::shared_ptr<const KvPool> kv_;
  std::shared_ptr<float[]> query_, out_, lse_;
  kernels::DenseArguments arguments_;
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
