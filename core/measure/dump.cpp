#include "core/measure/dump.hpp"

#include <algorithm>
#include <cmath>

namespace attnlab::measure {
namespace {

/// Visits (key, log weight) of every active key of a row.
template <class Visit>
void each_active(const attention::TileOutcome& outcome, int64_t row, const Visit& visit) {
  attention::RowList dense;
  const attention::RowList& list = attention::active_list(outcome, row, dense);
  for (const auto& run : list.runs) {
    for (int32_t key = run.begin; key < run.end; ++key) visit(key, 0.0f);
  }
  for (int32_t key : list.ids) visit(key, 0.0f);
  for (size_t i = 0; i < list.sampled.size(); ++i) visit(list.sampled[i], list.log_weight[i]);
}

}  // namespace

uint64_t dump_bytes(const DumpChoice& choice, const data::Geometry& geometry, int64_t queries) {
  const auto rows = static_cast<uint64_t>(geometry.batch) * static_cast<uint64_t>(geometry.query_heads) *
                    static_cast<uint64_t>(queries);
  const auto planes = static_cast<uint64_t>(choice.mask) + static_cast<uint64_t>(choice.weights);
  return rows *
         (planes * static_cast<uint64_t>(geometry.keys) +
          static_cast<uint64_t>(choice.output) * static_cast<uint64_t>(geometry.value_dim)) *
         sizeof(float);
}

Dump::Dump(const DumpChoice& choice, const std::string& folder, const std::string& prefix,
           const data::Geometry& geometry, int64_t queries)
    : geometry_(geometry), queries_(queries) {
  auto create = [&](const char* name, int64_t columns) {
    return std::make_unique<io::NpyWriter>(
        folder + "/" + prefix + name + ".npy",
        tensor::Shape{geometry.batch, geometry.query_heads, queries, columns});
  };
  if (choice.mask) mask_ = create("mask", geometry.keys);
  if (choice.output) output_ = create("output", geometry.value_dim);
  if (choice.weights) weights_ = create("weights", geometry.keys);
}

void Dump::put(const attention::TileOutcome& outcome, int64_t row, int64_t query) {
  attention::Tile& tile = *outcome.tile;
  const int64_t line = (tile.index().batch * geometry_.query_heads + tile.head_of(row)) * queries_ + query;
  if (output_ != nullptr) {
    std::copy_n(outcome.out + row * geometry_.value_dim, geometry_.value_dim,
                output_->values().begin() + line * geometry_.value_dim);
  }
  if (mask_ != nullptr) {
    float* out = mask_->values().data() + line * geometry_.keys;
    each_active(outcome, row, [&](int32_t key, float log_weight) { out[key] = std::exp(-log_weight); });
  }
  if (weights_ != nullptr) {
    float* out = weights_->values().data() + line * geometry_.keys;
    const float* logits = tile.logits() + row * tile.logits_stride();
    each_active(outcome, row, [&](int32_t key, float log_weight) {
      out[key] = std::exp(logits[key] + log_weight - outcome.lse[row]);
    });
  }
}

void Dump::commit() {
  for (auto* file : {mask_.get(), output_.get(), weights_.get()}) {
    if (file != nullptr) file->commit();
  }
}

}  // namespace attnlab::measure
