// The loops that take the time, built for several instruction sets; the CPU's best is chosen at run time.
// Sums have a fixed order and nothing is fused (-ffp-contract=off): every instruction set gives the same
// bits.
#pragma once

#include <cstdint>
#include <vector>

namespace magic_pig {

struct VectorLoops {
  /// out[r, p] = sum over i of x[r, i] * planes[i, p], added in the order of i. Shapes [rows, dim],
  /// [dim, plane_count] and [rows, plane_count], contiguous.
  void (*project)(const float* x, int64_t rows, int64_t dim, const float* planes, int64_t plane_count,
                  float* out);
  /// The inner product, summed in double by 32 lanes.
  double (*dot)(const double* query, const float* key, int64_t dim);
};

/// The best that this CPU can run.
const VectorLoops& vector_loops();
/// All that this CPU can run, best first.
std::vector<const VectorLoops*> all_vector_loops();

}  // namespace magic_pig
