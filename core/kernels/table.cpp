#include "core/kernels/table.hpp"

#include <atomic>

#include "core/kernels/simd/target.hpp"

namespace attnlab::kernels {
namespace {

KernelTable make_table(SimdTarget target) {
  return {attend_kernels(target),
          packed_kernels(target),
          backward_kernels(target),
          gemm_kernels(target),
          layer_kernels(target),
          linear_kernels(target),
          probe_kernels(target),
          hamming_kernels(target),
          lut_kernels(target),
          scan_kernels(target),
          unite_kernels(target),
          hwy::TargetName(target),
          (target & (HWY_AVX3 | HWY_AVX3_DL)) != 0 ? amx_kernels() : nullptr};
}

std::string lower_case(std::string name) {
  for (char& c : name) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return name;
}

std::atomic<const KernelTable*>& active() {
  static std::atomic<const KernelTable*> table{&best_table()};
  return table;
}

}  // namespace

const KernelTable& best_table() {
  return *all_tables().front();
}

const KernelTable& active_table() {
  return *active().load(std::memory_order_acquire);
}

void set_active_table(const KernelTable& table) {
  active().store(&table, std::memory_order_release);
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

const KernelTable* find_table(const std::string& name) {
  for (const KernelTable* table : all_tables()) {
    if (lower_case(table->target) == name) return table;
  }
  return nullptr;
}

std::vector<std::string> table_names() {
  std::vector<std::string> names;
  for (const KernelTable* table : all_tables()) names.push_back(lower_case(table->target));
  return names;
}

}  // namespace attnlab::kernels
