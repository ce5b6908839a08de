// The backward of dense attention over a whole prompt.
#include <fmt/core.h>

#include "core/kernels/attention/backward.hpp"
#include "core/kernels/attention/dense.hpp"
#include "core/measure/kernel_bench/kernel_case.hpp"

namespace attnlab::measure {
namespace {

struct Shape {
  int64_t heads, kv_heads, head_dim, tokens;

  int64_t query_floats() const { return heads * tokens * head_dim; }
  int64_t kv_floats() const { return kv_heads * tokens * head_dim; }
};

template <class T>
kernels::HeadRows<T> rows_of(T* data, int64_t heads, const Shape& shape) {
  const int64_t head = shape.tokens * shape.head_dim;
  return {data, heads * head, head, shape.head_dim};
}

KernelCase backward_case(const Shape& shape) {
  KernelCase backward;
  backward.name =
      fmt::format("backward/f32/q{}kv{}/d{}/s{}", shape.heads, shape.kv_heads, shape.head_dim, shape.tokens);
  backward.family = "backward";
  // Five products of head_dim for each pair that a causal row sees: q k, do v, p do, ds q and ds k.
  backward.flops = 10.0 * static_cast<double>(shape.heads * shape.tokens) *
                   static_cast<double>(shape.tokens + 1) / 2 * static_cast<double>(shape.head_dim);
  backward.make = [shape](CaseContext& context) {
    const auto query = normals(shape.query_floats(), 2), key = normals(shape.kv_floats(), 3),
               value = normals(shape.kv_floats(), 4), grad_out = normals(shape.query_floats(), 5),
               out = normals(shape.query_floats(), 6), lse = normals(shape.heads * shape.tokens, 7),
               grad_query = normals(shape.query_floats(), 8), grad_key = normals(shape.kv_floats(), 9),
               grad_value = normals(shape.kv_floats(), 10);
    const kernels::KernelTable* kernels = context.kernels;
    kernels::DenseArguments forward;
    forward.query_heads = shape.heads;
    forward.kv_heads = shape.kv_heads;
    forward.queries = forward.keys = shape.tokens;
    forward.head_dim = forward.value_dim = shape.head_dim;
    forward.scale = 1.0F / 12;
    forward.query = rows_of<const float>(query.get(), shape.heads, shape);
    forward.key = rows_of<const float>(key.get(), shape.kv_heads, shape);
    forward.value = rows_of<const float>(value.get(), shape.kv_heads, shape);
    forward.out = rows_of(out.get(), shape.heads, shape);
    forward.lse = lse.get();
    kernels::dense_attention(*kernels, forward);
    return PreparedCase{[=] {
                          kernels::DenseBackwardArguments a;
                          a.batches = 1;
                          a.query_heads = shape.heads;
                          a.kv_heads = shape.kv_heads;
                          a.queries = a.keys = shape.tokens;
                          a.head_dim = a.value_dim = shape.head_dim;
                          a.scale = 1.0F / 12;
                          a.causal = true;
                          a.query = rows_of<const float>(query.get(), shape.heads, shape);
                          a.key = rows_of<const float>(key.get(), shape.kv_heads, shape);
                          a.value = rows_of<const float>(value.get(), shape.kv_heads, shape);
                          a.out = rows_of<const float>(out.get(), shape.heads, shape);
                          a.lse = lse.get();
                          a.grad_out = rows_of<const float>(grad_out.get(), shape.heads, shape);
                          a.grad_query = rows_of(grad_query.get(), shape.heads, shape);
                          a.grad_key = rows_of(grad_key.get(), shape.kv_heads, shape);
                          a.grad_value = rows_of(grad_value.get(), shape.kv_heads, shape);
                          kernels::dense_backward(*kernels, a);
                        },
                        0, ""};
  };
  return backward;
}

}  // namespace

void add_backward_cases(bool quick, std::vector<KernelCase>& cases) {
  cases.push_back(backward_case({32, 8, 128, quick ? 65 : 2048}));
  cases.push_back(backward_case({12, 12, 64, quick ? 65 : 2048}));
}

}  // namespace attnlab::measure
