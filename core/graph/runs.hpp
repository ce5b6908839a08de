// Loops over the elements of strided arrays of one shape.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "core/base/parallel.hpp"
#include "core/graph/array.hpp"

namespace attnlab::graph {

/// Elements from which on a loop is shared out over threads, and the most in one piece of it.
inline constexpr int64_t kParallelElements = 16384;

/// `shape` with the strides of N operands, adjacent axes merged where all operands allow it.
template <size_t N>
struct Runs {
  Extents shape;
  std::array<Extents, N> stride;

  Runs(const Extents& full_shape, const std::array<Extents, N>& full_stride) {
    for (size_t axis = 0; axis < full_shape.size(); ++axis) {
      if (full_shape[axis] == 1) continue;
      bool merges = !shape.empty();
      for (size_t i = 0; i < N && merges; ++i)
        merges = stride[i].back() == full_stride[i][axis] * full_shape[axis];
      if (merges) {
        shape.back() *= full_shape[axis];
        for (size_t i = 0; i < N; ++i) stride[i].back() = full_stride[i][axis];
      } else {
        shape.push_back(full_shape[axis]);
        for (size_t i = 0; i < N; ++i) stride[i].push_back(full_stride[i][axis]);
      }
    }
    if (shape.empty()) {
      shape.push_back(1);
      for (auto& s : stride) s.push_back(0);
    }
  }
};

/// Calls body(offsets, count, strides) for runs that together cover each element once: offsets[i] of the
/// first element in operand i, strides[i] to the next. Any order, on several threads when there are many.
template <size_t N, class Body>
void for_each_run(const Extents& shape, const std::array<Extents, N>& strides, const Body& body) {
  const int64_t total = element_count(shape);
  if (total == 0) return;
  const Runs<N> runs(shape, strides);
  const int64_t length = runs.shape.back();
  const int64_t pieces = (length + kParallelElements - 1) / kParallelElements,
                units = total / length * pieces;
  std::array<int64_t, N> step;
  for (size_t i = 0; i < N; ++i) step[i] = runs.stride[i].back();
  auto unit = [&](int64_t u) {
    const int64_t begin = u % pieces * kParallelElements;
    std::array<int64_t, N> offset;
    for (size_t i = 0; i < N; ++i) offset[i] = begin * step[i];
    int64_t rest = u / pieces;
    for (size_t axis = runs.shape.size() - 1; axis-- > 0; rest /= runs.shape[axis]) {
      for (size_t i = 0; i < N; ++i) offset[i] += rest % runs.shape[axis] * runs.stride[i][axis];
    }
    body(offset, std::min(length - begin, kParallelElements), step);
  };
  if (total <= kParallelElements) {
    for (int64_t u = 0; u < units; ++u) unit(u);
    return;
  }
  const int64_t per_task = std::max<int64_t>(1, kParallelElements / std::min(length, kParallelElements));
  base::parallel_for((units + per_task - 1) / per_task, [&](int64_t task, int) {
    for (int64_t u = task * per_task; u < std::min(units, (task + 1) * per_task); ++u) unit(u);
  });
}

/// Calls body(T()) for the array's floating type.
template <class Body>
decltype(auto) with_type(Element element, const Body& body) {
  return element == Element::f32 ? body(float()) : body(double());
}

}  // namespace attnlab::graph
