#include "core/measure/reference.hpp"

#include <cmath>
#include <vector>

#include "core/kernels/reference.hpp"

namespace attnlab::measure {

double reference_deviation(const attention::TileOutcome& outcome, int64_t row) {
  const attention::Tile& tile = *outcome.tile;
  std::vector<kernels::Range> dense{{0, static_cast<int32_t>(tile.visible_end(row))}};
  attention::clip_runs(dense, tile.visible_end(row), tile.hidden(row));
  kernels::Segment parts[3];
  for (auto& part : parts) {
    part.key = tile.key();
    part.key_stride = tile.key_stride();
    part.value = tile.value();
    part.value_stride = tile.value_stride();
  }
  const std::vector<kernels::Range>& runs =
      outcome.selection == nullptr ? dense : outcome.selection->list(row).runs;
  parts[0].runs = runs.data();
  parts[0].run_count = static_cast<int64_t>(runs.size());
  if (outcome.selection != nullptr) {
    const attention::RowList& list = outcome.selection->list(row);
    parts[1].ids = list.ids.data();
    parts[1].id_count = static_cast<int64_t>(list.ids.size());
    parts[2].ids = list.sampled.data();
    parts[2].id_count = static_cast<int64_t>(list.sampled.size());
    parts[2].log_weight = list.log_weight.data();
  }
  kernels::AttendArguments arguments;
  arguments.query = tile.query() + row * tile.head_dim();
  arguments.query_stride = tile.head_dim();
  arguments.rows = 1;
  arguments.head_dim = tile.head_dim();
  arguments.value_dim = tile.value_dim();
  arguments.scale = tile.options().scale;
  arguments.segments = parts;
  arguments.segment_count = 3;
  arguments.bias = tile.bias() == nullptr ? nullptr : tile.bias() + row;
  arguments.sink_logit = tile.sink_logit() == nullptr ? nullptr : tile.sink_logit() + row;
  arguments.out_stride = tile.value_dim();
  std::vector<double> expected(static_cast<size_t>(tile.value_dim()));
  double lse = 0;
  kernels::reference::attend(arguments, expected.data(), &lse);

  double error = 0, size = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double difference =
        double{outcome.out[row * tile.value_dim() + static_cast<int64_t>(i)]} - expected[i];
    error += difference * difference;
    size += expected[i] * expected[i];
  }
  return size > 0 ? std::sqrt(error / size) : std::sqrt(error);
}

}  // namespace attnlab::measure
