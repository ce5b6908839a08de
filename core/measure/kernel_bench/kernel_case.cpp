#include "core/measure/kernel_bench/kernel_case.hpp"

#include <algorithm>
#include <span>

#include "core/base/parallel.hpp"
#include "core/data/normals.hpp"

namespace attnlab::measure {
namespace {

/// Odd, so that no key is the repetition of another.
constexpr int64_t block = (int64_t{1} << 20) - 3;

/// Drawn once and repeated: arithmetic does not care, and a gigabyte of draws takes seconds.
void fill(float* values, int64_t count) {
  static const std::vector<float> drawn = [] {
    std::vector<float> normal(block);
    data::fill_normals(1, 0, normal);
    return normal;
  }();
  base::parallel_for((count + block - 1) / block, [&](int64_t i, int) {
    std::copy_n(drawn.data(), std::min(block, count - i * block), values + i * block);
  });
}

}  // namespace

KvPool::KvPool(const KvShape& shape, int64_t layers)
    : shape_(shape),
      layers_(layers),
      values_(tensor::Tensor::zeros(tensor::DType::f32, {layers * shape.floats()})) {
  fill(values_.mutable_values<float>().data(), layers * shape.floats());
}

std::shared_ptr<const KvPool> CaseContext::kv(const KvShape& shape) {
  std::weak_ptr<const KvPool>& known = pools[shape];
  if (auto pool = known.lock(); pool != nullptr) return pool;
  const int64_t layer_bytes = shape.floats() * static_cast<int64_t>(sizeof(float));
  const auto pool =
      std::make_shared<const KvPool>(shape, std::clamp<int64_t>(pool_bytes / layer_bytes, 1, 64));
  known = pool;
  return pool;
}

std::shared_ptr<float[]> normals(int64_t count, uint64_t seed) {
  std::shared_ptr<float[]> values(new float[static_cast<size_t>(count)]);
  data::fill_normals(seed, 1, std::span<float>(values.get(), static_cast<size_t>(count)));
  return values;
}

std::vector<KernelCase> kernel_cases(bool quick) {
  std::vector<KernelCase> cases;
  add_prefill_cases(quick, cases);
  add_decode_cases(quick, cases);
  add_logits_cases(quick, cases);
  add_scoring_cases(quick, cases);
  add_selection_cases(quick, cases);
  add_gemm_cases(quick, cases);
  add_linear_cases(quick, cases);
  add_backward_cases(quick, cases);
  return cases;
}

}  // namespace attnlab::measure
