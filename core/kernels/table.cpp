#include "core/kernels/table.hpp"

#include "core/kernels/simd/target.hpp"

namespace attnlab::kernels {
namespace {

KernelTable make_table(SimdTarget target) {
  return {attend_kernels(target), scan_kernels(target), unite_kernels(target), hwy::TargetName(target)};
}

}  // namespace

const KernelTable& best_table() {
  return *all_tables().front();
}

const std::vector<const KernelTable*>& all_tables() {
  static const std::vector<const KernelTable*> pointers = [] {
    static std::vector<KernelTable> tables;
    // The lowest bit is the best target.
    for (SimdTarget left = hwy::SupportedTargets() & HWY_TARGETS; left != 0; left &= left - 1)
      tables.push_back(make_table(left & -left));
    std::vector<const KernelTable*> result;
    for (const KernelTable& table : tables) result.push_back(&table);
    return result;
  }();
  return pointers;
}

}  // namespace attnlab::kernels
