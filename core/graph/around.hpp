// Loops along one axis of an array.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/graph/runs.hpp"

namespace attnlab::graph {

/// An array as [outer, count, inner] around one axis, row-major.
struct Around {
  Array array;
  int64_t outer = 1, count = 1, inner = 1;

  Around(const Array& x, size_t axis) : array(x.packed()), count(x.shape()[axis]) {
    for (size_t i = 0; i < axis; ++i) outer *= x.shape()[i];
    for (size_t i = axis + 1; i < x.rank(); ++i) inner *= x.shape()[i];
  }
  /// Columns that one piece of work takes, and the pieces.
  int64_t width() const {
    return std::clamp<int64_t>(kParallelElements / std::max<int64_t>(count, 1), 16, 512);
  }
  int64_t pieces() const { return outer * ((inner + width() - 1) / width()); }

  /// Calls body(offset of the first element, columns) for blocks of columns of one outer index.
  template <class Body>
  void each_block(const Body& body) const {
    const int64_t per_outer = (inner + width() - 1) / width();
    auto piece = [&](int64_t p) {
      const int64_t begin = p % per_outer * width();
      body(p / per_outer, begin, std::min(width(), inner - begin));
    };
    const int64_t total = outer * count * inner;
    if (total <= kParallelElements) {
      for (int64_t p = 0; p < pieces(); ++p) piece(p);
      return;
    }
    const int64_t per_task = std::max<int64_t>(1, kParallelElements / (count * std::min(width(), inner) + 1));
    base::parallel_for((pieces() + per_task - 1) / per_task, [&](int64_t task, int) {
      for (int64_t p = task * per_task; p < std::min(pieces(), (task + 1) * per_task); ++p) piece(p);
    });
  }
};

}  // namespace attnlab::graph
