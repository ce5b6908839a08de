// The obvious double-precision computation of a row, for `--reference` and tests.
#pragma once

#include "core/attention/session.hpp"

namespace attnlab::measure {

/// Relative Euclidean deviation of the outcome's row from double precision on the same active keys.
double reference_deviation(const attention::TileOutcome& outcome, int64_t row);

}  // namespace attnlab::measure
