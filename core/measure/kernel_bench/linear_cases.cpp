// Linear attention of a whole prompt, in chunks.
#include <fmt/core.h>

#include "core/kernels/linear/linear_attention.hpp"
#include "core/measure/kernel_bench/kernel_case.hpp"

namespace attnlab::measure {
namespace {

struct Shape {
  int64_t heads, head_dim, tokens;
};

KernelCase linear_case(const Shape& shape) {
  KernelCase linear;
  linear.name = fmt::format("linear/f32/h{}/d{}/s{}", shape.heads, shape.head_dim, shape.tokens);
  linear.family = "linear";
  // Per token and head: the state's update and its product with the query, and within chunks of 64 tokens the
  // two products with the keys and values that a token sees, 32.5 of them on average.
  linear.flops = 4.0 * static_cast<double>(shape.heads * shape.tokens * shape.head_dim) *
                 (static_cast<double>(shape.head_dim) + 32.5);
  linear.make = [shape](CaseContext& context) {
    const int64_t size = shape.heads * shape.tokens * shape.head_dim;
    const auto query = normals(size, 2), key = normals(size, 3), value = normals(size, 4),
               out = normals(size, 5);
    const kernels::KernelTable* kernels = context.kernels;
    return PreparedCase{[=] {
                          const int64_t head = shape.tokens * shape.head_dim;
                          kernels::LinearAttentionArguments a;
                          a.batch = 1;
                          a.heads = shape.heads;
                          a.tokens = shape.tokens;
                          a.head_dim = a.value_dim = shape.head_dim;
                          a.query = {query.get(), size, head, shape.head_dim};
                          a.key = {key.get(), size, head, shape.head_dim};
                          a.value = {value.get(), size, head, shape.head_dim};
                          a.out = {out.get(), size, head, shape.head_dim};
                          kernels::linear_attention(*kernels, a);
                        },
                        0, ""};
  };
  return linear;
}

}  // namespace

void add_linear_cases(bool quick, std::vector<KernelCase>& cases) {
  cases.push_back(linear_case({32, 128, quick ? 65 : 2048}));
  cases.push_back(linear_case({12, 64, quick ? 65 : 2048}));
}

}  // namespace attnlab::measure
