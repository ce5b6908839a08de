// Top-k of a row of scores, against the standard library.
#include <fmt/core.h>

#include <algorithm>
#include <numeric>

#include "core/kernels/selection/select.hpp"
#include "core/measure/kernel_bench/kernel_case.hpp"

namespace attnlab::measure {
namespace {

/// Rows that are met in turn: branch predictors shall not learn one by heart. Scores come from the cache,
/// where the kernel that computed them left them.
constexpr int64_t rows = 64;

KernelCase top_k_case(int64_t keys, int64_t k) {
  KernelCase top_k;
  top_k.name = fmt::format("top_k/f32/n{}/k{}", keys, k);
  top_k.family = "top_k";
  top_k.one_thread = true;
  top_k.baseline = fmt::format("nth_element/f32/n{}/k{}", keys, k);
  top_k.make = [keys, k](CaseContext& context) {
    const kernels::KernelTable* table = context.kernels;
    const auto scores = normals(rows * keys, 4);
    const auto scratch = std::make_shared<kernels::SelectScratch>();
    return PreparedCase{
        [=, chosen = std::vector<int32_t>(), turn = int64_t{0}]() mutable {
          const kernels::Range all{0, static_cast<int32_t>(keys)};
          chosen.clear();
          kernels::top_k(scores.get() + turn++ % rows * keys, {&all, 1}, k, *scratch, chosen, *table);
        },
        0, ""};
  };
  return top_k;
}

KernelCase nth_element_case(int64_t keys, int64_t k) {
  KernelCase nth;
  nth.name = fmt::format("nth_element/f32/n{}/k{}", keys, k);
  nth.family = "top_k";
  nth.one_thread = true;
  nth.make = [keys, k](CaseContext&) {
    const auto scores = normals(rows * keys, 4);
    return PreparedCase{
        [=, ids = std::vector<int32_t>(static_cast<size_t>(keys)), turn = int64_t{0}]() mutable {
          const float* row = scores.get() + turn++ % rows * keys;
          std::iota(ids.begin(), ids.end(), 0);
          std::nth_element(ids.begin(), ids.begin() + k, ids.end(),
                           [row](int32_t a, int32_t b) { return row[a] > row[b]; });
        },
        0, "std::nth_element on indices, unsorted"};
  };
  return nth;
}

}  // namespace

void add_selection_cases(bool quick, std::vector<KernelCase>& cases) {
  const int64_t keys = quick ? 1024 : 32768;
  for (double share : {0.01, 0.05, 0.10}) {
    const auto k = static_cast<int64_t>(static_cast<double>(keys) * share + 0.5);
    cases.push_back(nth_element_case(keys, k));
    cases.push_back(top_k_case(keys, k));
  }
}

}  // namespace attnlab::measure
