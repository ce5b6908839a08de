#include "core/kernels/gemm/gemm.hpp"

#include <hwy/aligned_allocator.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <new>
#include <string>
#include <vector>

#include "core/base/error.hpp"
#include "core/base/parallel.hpp"
#include "core/kernels/scratch.hpp"

namespace attnlab::kernels {
namespace {

/// Columns of a block: its packed panels, 512 KiB at full depth, stay in the L2 cache while rows stream past.
constexpr int64_t kBlockColumns = 512;
/// Rows of a block, at least, if there are so many: packing B anew for each block of rows then costs about 2
/// %.
constexpr int64_t kBlockRows = 96;
/// With so few rows a copy of B would cost more than it saves.
constexpr int64_t kDirectRows = 12;
/// Multiply-adds that are worth a task.
constexpr int64_t kTaskWork = 1 << 20;
/// Elements of a task that does little with each.
constexpr int64_t kPointwiseWork = 1 << 15;

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

int64_t round_up(int64_t a, int64_t multiple) {
  return ceil_div(a, multiple) * multiple;
}

/// A grid of blocks of C. How it is cut has no influence on bits.
struct Grid {
  int64_t block_rows = 0;
  int64_t block_columns = 0;
  int64_t row_blocks = 0;
  int64_t column_blocks = 0;

  int64_t tasks() const { return row_blocks * column_blocks; }
};

/// Cuts C into about `wanted` blocks or more.
Grid grid_of(const GemmKernels& kernels, const GemmArguments& g, int64_t wanted) {
  Grid grid;
  if (g.rows == 0 || g.columns == 0) return grid;
  const int64_t row_blocks_at_most = ceil_div(g.rows, kBlockRows);
  const int64_t columns =
      ceil_div(g.columns, std::max(ceil_div(wanted, row_blocks_at_most), ceil_div(g.columns, kBlockColumns)));
  grid.block_columns = round_up(columns, kernels.panel_columns);
  grid.column_blocks = ceil_div(g.columns, grid.block_columns);
  const int64_t rows = ceil_div(g.rows, std::min(ceil_div(wanted, grid.column_blocks), row_blocks_at_most));
  grid.block_rows = round_up(rows, kernels.tile_rows);
  grid.row_blocks = ceil_div(g.rows, grid.block_rows);
  return grid;
}

/// Whether the rows of B serve as rows of panels.
bool is_direct(const GemmKernels& kernels, const GemmArguments& g, int64_t rows, int64_t columns) {
  return g.packed_b == nullptr && g.b_column_stride == 1 && rows <= kDirectRows &&
         columns % kernels.panel_columns == 0;
}

/// Points `block` at panels of B for rows [k, k + block.depth) and its columns, which start at `column` of B.
void set_panels(const GemmKernels& kernels, const GemmArguments& g, int64_t k, int64_t column,
                GemmBlock& block) {
  const int64_t width = kernels.panel_columns;
  block.panel_row_stride = width;
  if (g.packed_b != nullptr) {
    block.panels = g.packed_b->panel(k, column);
    block.panel_stride = width * block.depth;
    return;
  }
  const float* b = g.b + k * g.b_row_stride + column * g.b_column_stride;
  if (is_direct(kernels, g, block.rows, block.columns)) {
    block.panels = b;
    block.panel_stride = width;
    block.panel_row_stride = g.b_row_stride;
    return;
  }
  float* packed = thread_scratch(round_up(block.columns, width) * block.depth);
  kernels.pack({block.depth, block.columns, b, g.b_row_stride, g.b_column_stride, packed});
  block.panels = packed;
  block.panel_stride = width * block.depth;
}

/// Rows and columns of C from (row, column) on.
void compute(const GemmKernels& kernels, const GemmArguments& g, int64_t row, int64_t column, int64_t rows,
             int64_t columns) {
  if (columns == 0) return;
  GemmEpilogue epilogue = g.epilogue;
  if (epilogue.bias != nullptr) epilogue.bias += column;
  if (epilogue.pre_activation != nullptr)
    epilogue.pre_activation += row * epilogue.pre_activation_stride + column;
  if (epilogue.residual != nullptr) epilogue.residual += row * epilogue.residual_stride + column;
  const bool finishes = epilogue.bias != nullptr || epilogue.pre_activation != nullptr ||
                        epilogue.residual != nullptr || epilogue.activation != Activation::none;
  for (int64_t k = 0; k == 0 || k < g.depth; k += kGemmDepthBlock) {
    GemmBlock block{.rows = rows,
                    .columns = columns,
                    .depth = std::min(kGemmDepthBlock, g.depth - k),
                    .a = g.a + row * g.a_row_stride + k * g.a_column_stride,
                    .a_row_stride = g.a_row_stride,
                    .a_column_stride = g.a_column_stride,
                    .c = g.c + row * g.c_stride + column,
                    .c_stride = g.c_stride,
                    .alpha = g.alpha,
                    .add = g.accumulate || k > 0,
                    .epilogue = finishes && k + kGemmDepthBlock >= g.depth ? &epilogue : nullptr};
    set_panels(kernels, g, k, column, block);
    kernels.multiply(block);
  }
}

void run_tasks(int64_t count, const std::function<void(int64_t)>& body) {
  if (count <= 1) {
    if (count == 1) body(0);
    return;
  }
  base::parallel_for(count, [&](int64_t i, int) { body(i); });
}

}  // namespace

PackedMatrix::PackedMatrix(const GemmKernels& kernels, const float* b, int64_t row_stride,
                           int64_t column_stride, int64_t depth, int64_t columns)
    : kernels_(&kernels), depth_(depth), columns_(columns) {
  const int64_t width = kernels.panel_columns;
  panels_ = hwy::AllocateAligned<float>(
      static_cast<size_t>(std::max<int64_t>(depth * round_up(columns, width), 1)));
  if (panels_ == nullptr) throw std::bad_alloc();
  const int64_t column_blocks = ceil_div(columns, kBlockColumns);
  run_tasks(ceil_div(depth, kGemmDepthBlock) * column_blocks, [&](int64_t task) {
    const int64_t k = task / column_blocks * kGemmDepthBlock;
    const int64_t column = task % column_blocks * kBlockColumns;
    kernels.pack({std::min(kGemmDepthBlock, depth - k), std::min(kBlockColumns, columns - column),
                  b + k * row_stride + column * column_stride, row_stride, column_stride,
                  const_cast<float*>(panel(k, column))});
  });
}

const float* PackedMatrix::panel(int64_t k, int64_t column) const {
  const int64_t width = kernels_->panel_columns;
  return panels_.get() + k * round_up(columns_, width) + column * std::min(kGemmDepthBlock, depth_ - k);
}

void gemm(const GemmKernels& kernels, const GemmArguments& product) {
  gemm(kernels, std::span(&product, 1));
}

void gemm(const GemmKernels& kernels, std::span<const GemmArguments> products) {
  struct Plan {
    Grid grid;
    int64_t first_task;
  };
  thread_local std::vector<Plan> plans;
  plans.clear();
  const int64_t threads = base::thread_count();
  int64_t tasks = 0;
  for (const GemmArguments& g : products) {
    ATTNLAB_CHECK(
        g.packed_b == nullptr || (&g.packed_b->kernels() == &kernels && g.packed_b->depth() == g.depth &&
                                  g.packed_b->columns() == g.columns),
        "a packed matrix of another shape or SIMD target");
    // Several blocks a thread, so that a thread that is slow for a while does not hold up the others.
    const int64_t work = g.rows * g.columns * g.depth;
    const int64_t wanted =
        threads == 1 ? 1
                     : std::clamp<int64_t>(work / kTaskWork, 1, ceil_div(4 * threads, std::ssize(products)));
    const Grid grid = grid_of(kernels, g, wanted);
    plans.push_back({grid, tasks});
    tasks += grid.tasks();
  }
  // The lambda runs on other threads, whose `plans` are others.
  run_tasks(tasks, [&kernels, products, plan_list = std::span<const Plan>(plans)](int64_t task) {
    const auto after = std::ranges::upper_bound(plan_list, task, {}, &Plan::first_task);
    const auto at = std::prev(after);
    const GemmArguments& g = products[at - plan_list.begin()];
    const int64_t row = (task - at->first_task) % at->grid.row_blocks * at->grid.block_rows;
    const int64_t column = (task - at->first_task) / at->grid.row_blocks * at->grid.block_columns;
    const int64_t rows = std::min(at->grid.block_rows, g.rows - row);
    const int64_t columns = std::min(at->grid.block_columns, g.columns - column);
    const int64_t whole_panels = columns / kernels.panel_columns * kernels.panel_columns;
    if (is_direct(kernels, g, rows, whole_panels)) {
      compute(kernels, g, row, column, rows, whole_panels);
      compute(kernels, g, row, column + whole_panels, rows, columns - whole_panels);
    } else {
      compute(kernels, g, row, column, rows, columns);
    }
  });
}

void activation_gradient(const GemmKernels& kernels, const ActivationGradientArguments& arguments) {
  const int64_t rows = std::max<int64_t>(1, kPointwiseWork / std::max<int64_t>(1, arguments.columns));
  run_tasks(ceil_div(arguments.rows, rows), [&](int64_t task) {
    const int64_t row = task * rows;
    ActivationGradientArguments part = arguments;
    part.rows = std::min(rows, arguments.rows - row);
    part.pre_activation += row * arguments.pre_activation_stride;
    part.d_out += row * arguments.d_out_stride;
    part.d_in += row * arguments.d_in_stride;
    kernels.activation_gradient(part);
  });
}

void column_sums(const GemmKernels& kernels, const ColumnSumArguments& arguments) {
  const int64_t columns = round_up(
      std::max<int64_t>(1, kPointwiseWork / std::max<int64_t>(1, arguments.rows)), kernels.panel_columns);
  run_tasks(ceil_div(arguments.columns, columns), [&](int64_t task) {
    const int64_t column = task * columns;
    ColumnSumArguments part = arguments;
    part.columns = std::min(columns, arguments.columns - column);
    part.values += column;
    part.sums += column;
    kernels.column_sums(part);
  });
}

}  // namespace attnlab::kernels
