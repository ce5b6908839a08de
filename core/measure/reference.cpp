#include "core/measure/reference.hpp"

#include <cmath>
#include <vector>

#include "core/attention/row_arguments.hpp"
#include "core/kernels/attention/reference.hpp"

namespace attnlab::measure {

double reference_deviation(const attention::TileOutcome& outcome, int64_t row) {
  const attention::Tile& tile = *outcome.tile;
  attention::RowList dense;
  const attention::RowSegments segments(tile, attention::active_list(outcome, row, dense));
  const kernels::AttendArguments arguments = attention::attend_arguments(tile, row, 1, segments);
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
