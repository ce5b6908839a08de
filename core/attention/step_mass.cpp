#include "core/attention/step_mass.hpp"

#include <algorithm>
#include <cmath>

namespace attnlab::attention {
namespace {

constexpr double unit = 0x1p-40;

void gather_logits(Tile& tile, int64_t row, const std::vector<int32_t>& ids, std::vector<float>& logits) {
  logits.resize(ids.size());
  if (tile.has_logits()) {
    const float* all = tile.logits() + row * tile.logits_stride();
    std::transform(ids.begin(), ids.end(), logits.begin(), [&](int32_t id) { return all[id]; });
    return;
  }
  tile.gather_logits(row, static_cast<int64_t>(ids.size()), ids.data(), logits.data());
}

}  // namespace

StepMass::StepMass(int64_t heads, int64_t keys)
    : keys_(keys), mass_(static_cast<size_t>(heads * keys)), rows_(static_cast<size_t>(heads)) {}

void StepMass::add(Tile& tile, int64_t head, int64_t row, const RowList& active, float lse,
                   Scratch& scratch) {
  auto& [ids, logits] = scratch;
  ids.clear();
  for (const Range& run : active.runs) {
    for (int32_t key = run.begin; key < run.end; ++key) ids.push_back(key);
  }
  ids.insert(ids.end(), active.ids.begin(), active.ids.end());
  const size_t deterministic = ids.size();
  ids.insert(ids.end(), active.sampled.begin(), active.sampled.end());
  gather_logits(tile, row, ids, logits);
  for (size_t i = 0; i < ids.size(); ++i) {
    const double log_weight = i < deterministic ? 0 : double{active.log_weight[i - deterministic]};
    const double mass = std::clamp(std::exp(double{logits[i]} + log_weight - double{lse}), 0.0, 1.0);
    mass_[static_cast<size_t>(head * keys_ + ids[i])].fetch_add(static_cast<uint64_t>(mass / unit),
                                                                std::memory_order_relaxed);
  }
  rows_[static_cast<size_t>(head)].fetch_add(1, std::memory_order_relaxed);
}

std::vector<float> StepMass::of(int64_t head, int64_t count) const {
  std::vector<float> mass(static_cast<size_t>(count));
  for (int64_t key = 0; key < count; ++key) {
    mass[static_cast<size_t>(key)] =
        static_cast<float>(static_cast<double>(mass_[static_cast<size_t>(head * keys_ + key)].load()) * unit);
  }
  return mass;
}

void StepMass::clear() {
  for (auto& mass : mass_) mass = 0;
  for (auto& rows : rows_) rows = 0;
}

}  // namespace attnlab::attention
