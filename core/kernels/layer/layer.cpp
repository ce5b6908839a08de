#include "core/kernels/layer/layer.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include "core/base/error.hpp"
#include "core/base/parallel.hpp"
#include "core/kernels/scratch.hpp"

namespace attnlab::kernels {
namespace {

/// Elements of a task, and of a call that stays on its thread. A multiple of 4: dropout draws four words at
/// once.
constexpr int64_t kTaskElements = 1 << 14;
/// Rows of a norm whose gradients are summed one after the other.
constexpr int64_t kSummedRows = 64;

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

/// body(first, count) for blocks of [0, count), all at once unless there are few `elements` in them.
template <class Body>
void run_blocks(int64_t elements, int64_t count, int64_t block, const Body& body) {
  const auto run = [&](int64_t i) { body(i * block, std::min(block, count - i * block)); };
  const int64_t blocks = ceil_div(count, block);
  if (blocks > 1 && elements > kTaskElements) {
    base::parallel_for(blocks, [&run](int64_t i, int) { run(i); });
  } else {
    for (int64_t i = 0; i < blocks; ++i) run(i);
  }
}

template <class Body>
void run_elements(int64_t count, const Body& body) {
  run_blocks(count, count, kTaskElements, body);
}

/// For rows that have nothing to do with each other.
template <class Body>
void run_rows(int64_t rows, int64_t width, const Body& body) {
  run_blocks(rows * width, rows, std::max<int64_t>(1, kTaskElements / std::max<int64_t>(1, width)), body);
}

float* advanced(float* at, int64_t distance) {
  return at == nullptr ? nullptr : at + distance;
}

/// Rows [first, first + rows); d_weight and d_bias are the caller's to set.
NormGradientArguments part_of(const NormGradientArguments& a, int64_t first, int64_t rows) {
  NormGradientArguments part = a;
  part.rows = rows;
  part.x += first * a.x_stride;
  if (a.kind == NormKind::layer) part.mean += first;
  part.inverse += first;
  part.d_out += first * a.d_out_stride;
  part.d_x = advanced(a.d_x, first * a.d_x_stride);
  return part;
}

/// sums[j] = sum over blocks of partial[block * stride + j].
void merge(const float* partial, int64_t blocks, int64_t stride, int64_t width, float* sums) {
  const int64_t columns = std::max<int64_t>(1, kTaskElements / blocks);
  run_blocks(blocks * width, width, columns, [&](int64_t first, int64_t count) {
    std::copy_n(partial + first, count, sums + first);
    for (int64_t block = 1; block < blocks; ++block) {
      const float* from = partial + block * stride;
      for (int64_t j = first; j < first + count; ++j) sums[j] += from[j];
    }
  });
}

}  // namespace

void norm(const LayerKernels& kernels, const NormArguments& a) {
  run_rows(a.rows, a.width, [&](int64_t first, int64_t rows) {
    NormArguments part = a;
    part.rows = rows;
    part.x += first * a.x_stride;
    part.out += first * a.out_stride;
    part.mean = advanced(a.mean, first);
    part.inverse = advanced(a.inverse, first);
    kernels.norm(part);
  });
}

void norm_gradient(const LayerKernels& kernels, const NormGradientArguments& a) {
  const int64_t blocks = ceil_div(a.rows, kSummedRows);
  if (a.d_weight == nullptr && a.d_bias == nullptr) {
    run_rows(a.rows, a.width,
             [&](int64_t first, int64_t rows) { kernels.norm_gradient(part_of(a, first, rows)); });
    return;
  }
  if (blocks <= 1) {
    kernels.norm_gradient(a);
    return;
  }
  float* partial = thread_scratch(blocks * 2 * a.width);
  run_blocks(a.rows * a.width, a.rows, kSummedRows, [&](int64_t first, int64_t rows) {
    NormGradientArguments part = part_of(a, first, rows);
    float* sums = partial + first / kSummedRows * 2 * a.width;
    if (a.d_weight != nullptr) part.d_weight = sums;
    if (a.d_bias != nullptr) part.d_bias = sums + a.width;
    kernels.norm_gradient(part);
  });
  if (a.d_weight != nullptr) merge(partial, blocks, 2 * a.width, a.width, a.d_weight);
  if (a.d_bias != nullptr) merge(partial + a.width, blocks, 2 * a.width, a.width, a.d_bias);
}

void cross_entropy(const LayerKernels& kernels, const CrossEntropyArguments& a) {
  run_rows(a.rows, a.classes, [&](int64_t first, int64_t rows) {
    CrossEntropyArguments part = a;
    part.rows = rows;
    part.logits += first * a.logits_stride;
    part.targets += first;
    part.loss = advanced(a.loss, first);
    part.lse = advanced(a.lse, first);
    kernels.cross_entropy(part);
  });
}

void cross_entropy_gradient(const LayerKernels& kernels, const CrossEntropyGradientArguments& a) {
  run_rows(a.rows, a.classes, [&](int64_t first, int64_t rows) {
    CrossEntropyGradientArguments part = a;
    part.rows = rows;
    part.logits += first * a.logits_stride;
    part.targets += first;
    part.lse += first;
    part.d_logits += first * a.d_logits_stride;
    kernels.cross_entropy_gradient(part);
  });
}

void softmax(const LayerKernels& kernels, const SoftmaxArguments& a) {
  run_rows(a.rows, a.width, [&](int64_t first, int64_t rows) {
    kernels.softmax(
        {rows, a.width, a.x + first * a.x_stride, a.x_stride, a.out + first * a.out_stride, a.out_stride});
  });
}

void softmax_gradient(const LayerKernels& kernels, const SoftmaxGradientArguments& a) {
  run_rows(a.rows, a.width, [&](int64_t first, int64_t rows) {
    SoftmaxGradientArguments part = a;
    part.rows = rows;
    part.out += first * a.out_stride;
    part.d_out += first * a.d_out_stride;
    part.d_x += first * a.d_x_stride;
    kernels.softmax_gradient(part);
  });
}

void unary(const LayerKernels& kernels, const UnaryArguments& a) {
  run_elements(a.count, [&](int64_t first, int64_t count) {
    kernels.unary({a.function, count, a.x + first, a.out + first});
  });
}

void dropout(const LayerKernels& kernels, const DropoutArguments& a) {
  ATTNLAB_CHECK(a.first % 4 == 0 && a.p >= 0 && a.p <= 1,
                "p " + std::to_string(a.p) + ", first " + std::to_string(a.first));
  run_elements(a.count, [&](int64_t first, int64_t count) {
    kernels.dropout({count, a.x + first, a.p, a.key, a.first + first, a.out + first});
  });
}

void adamw(const LayerKernels& kernels, const AdamWArguments& a) {
  run_elements(a.count, [&](int64_t first, int64_t count) {
    AdamWArguments part = a;
    part.count = count;
    part.parameter += first;
    part.first_moment += first;
    part.second_moment += first;
    part.gradient += first;
    kernels.adamw(part);
  });
}

double sum_of_squares(const LayerKernels& kernels, const SumOfSquaresArguments& a) {
  if (a.count <= kTaskElements) return kernels.sum_of_squares(a);
  std::vector<double> partial(ceil_div(a.count, kTaskElements));
  run_elements(a.count, [&](int64_t first, int64_t count) {
    partial[first / kTaskElements] = kernels.sum_of_squares({count, a.x + first});
  });
  double sum = 0;
  for (const double block : partial) sum += block;
  return sum;
}

}  // namespace attnlab::kernels
