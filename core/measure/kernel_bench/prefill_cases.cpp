// Causal dense attention of a whole prompt.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <type_traits>

#include "core/kernels/attention/dense.hpp"
#include "core/measure/kernel_bench/kernel_case.hpp"

namespace attnlab::measure {
namespace {

struct Shape {
  int64_t heads, kv_heads, head_dim, queries;
};

/// With keys and values of the pool, or rounded to bfloat16.
template <class Element>
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
    arguments_.key = {stored(kv_->key(0, 0), shape, key_), 0, head, shape.head_dim};
    arguments_.value = {stored(kv_->value(0, 0), shape, value_), 0, head, shape.head_dim};
    arguments_.out = {out_.get(), 0, head, shape.head_dim};
    arguments_.lse = lse_.get();
  }

  void operator()() const { kernels::dense_attention(*kernels_, arguments_); }

 private:
  static const Element* stored(const float* numbers, const Shape& shape, std::shared_ptr<Element[]>& copy) {
    if constexpr (std::is_same_v<Element, float>) {
      return numbers;
    } else {
      const int64_t count = shape.kv_heads * shape.queries * shape.head_dim;
      copy = std::make_shared<Element[]>(static_cast<size_t>(count));
      std::transform(numbers, numbers + count, copy.get(), kernels::to_bfloat16);
      return copy.get();
    }
  }

  const kernels::KernelTable* kernels_;
  std::shared_ptr<const KvPool> kv_;
  std::shared_ptr<float[]> query_, out_, lse_;
  std::shared_ptr<Element[]> key_, value_;
  kernels::DenseArgumentsOf<Element> arguments_;
};

template <class Element>
KernelCase prefill_case(const char* storage, const Shape& shape) {
  KernelCase prefill;
  prefill.name = fmt::format("prefill/{}/q{}kv{}/d{}/s{}", storage, shape.heads, shape.kv_heads,
                             shape.head_dim, shape.queries);
  prefill.family = "prefill";
  // Two products of head_dim for each visible pair of query and key.
  prefill.flops = 4.0 * static_cast<double>(shape.head_dim * shape.heads) *
                  static_cast<double>(shape.queries * (shape.queries + 1)) / 2;
  prefill.make = [shape](CaseContext& context) {
    std::string note;
    if (!std::is_same_v<Element, float>)
      note = context.kernels->amx != nullptr ? "on AMX tiles" : "no AMX here: widened to float32";
    return PreparedCase{Prefill<Element>(shape, context), 0, note};
  };
  return prefill;
}

}  // namespace

void add_prefill_cases(bool quick, std::vector<KernelCase>& cases) {
  for (const Shape& shape : {Shape{32, 8, 128, quick ? 65 : 2048}, Shape{12, 12, 64, quick ? 65 : 2048}}) {
    cases.push_back(prefill_case<float>("f32", shape));
  }
  const Shape shape{32, 8, 128, quick ? 65 : 2048};
  KernelCase bfloat16 = prefill_case<kernels::BFloat16>("bf16", shape);
  bfloat16.baseline = prefill_case<float>("f32", shape).name;
  cases.push_back(std::move(bfloat16));
}

}  // namespace attnlab::measure
