// The backward kernels, built once for each SIMD target.
#include <algorithm>
#include <cstdint>

#include "core/kernels/attention/backward.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/attention/backward.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "core/kernels/attention/backward_few-inl.hpp"
#include "core/kernels/simd/register_tile-inl.hpp"
#include "core/kernels/simd/transpose-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace attnlab::kernels::HWY_NAMESPACE {

inline constexpr int64_t kTileColumns = kTileVectors * kLanes;
static_assert(kBackwardKeys % kTileColumns == 0 && kBackwardKeys % kTileRows == 0);
static_assert(kBackwardRows % kTileRows == 0);

/// A [rows, columns] matrix in panels of up to kTileVectors vectors of columns, each panel [rows][its
/// columns] and contiguous; padding columns are 0. All panels of a matrix have about the same width.
struct Panels {
  explicit Panels(int64_t columns)
      : vectors((columns + kLanes - 1) / kLanes), count((vectors + kTileVectors - 1) / kTileVectors) {}

  int64_t begin(int64_t panel) const { return panel * vectors / count; }  ///< first vector
  int64_t width(int64_t panel) const { return begin(panel + 1) - begin(panel); }
  int64_t padded() const { return vectors * kLanes; }

  int64_t vectors;
  int64_t count;
};

/// What a block of keys keeps in scratch; offsets are multiples of 64 bytes.
struct BackwardBlock {
  BackwardBlock(int64_t head_dim, int64_t value_dim, float* memory)
      : channels(head_dim), values(value_dim), scratch(memory) {
    key_columns = take(kBackwardKeys * head_dim);
    value_columns = take(kBackwardKeys * value_dim);
    key = take(kBackwardKeys * channels.padded());
    grad_key = take(kBackwardKeys * channels.padded());
    grad_value = take(kBackwardKeys * values.padded());
    query = take(kBackwardRows * channels.padded());
    grad_out = take(kBackwardRows * values.padded());
    weight = take(kBackwardRows * kBackwardKeys);
    grad_logit = take(kBackwardRows * kBackwardKeys);
  }

  float* take(int64_t floats) {
    float* taken = scratch == nullptr ? nullptr : scratch + size;
    size += (floats + 15) / 16 * 16;
    return taken;
  }

  Panels channels, values;
  float* scratch;
  int64_t size = 0;      ///< floats
  float* key_columns;    ///< keys transposed: [key / kTileColumns][head_dim][kTileColumns]
  float* value_columns;  ///< values likewise
  float* key;            ///< scale * keys in panels of channels
  float* grad_key;       ///< [kBackwardKeys, channels.padded()]
  float* grad_value;
  float* query;       ///< scale * queries in panels of channels, kBackwardRows high
  float* grad_out;    ///< in panels of values
  float* weight;      ///< p, [kBackwardRows, kBackwardKeys]
  float* grad_logit;  ///< ds
};

#if HWY_TARGET == HWY_SCALAR
inline constexpr int64_t kTransposed = 1;

HWY_INLINE void transpose(const float* const* row, int64_t c, float* to) {
  to[0] = row[0][c];
}
#else
inline constexpr int64_t kTransposed = 4;

/// to[i * kTileColumns + j] = row[j][c + i] for i and j below kTransposed.
HWY_INLINE void transpose(const float* const* row, int64_t c, float* to) {
  const hn::FixedTag<float, 4> d;
  auto v0 = hn::LoadU(d, row[0] + c);
  auto v1 = hn::LoadU(d, row[1] + c);
  auto v2 = hn::LoadU(d, row[2] + c);
  auto v3 = hn::LoadU(d, row[3] + c);
  transpose_blocks(d, v0, v1, v2, v3);
  hn::StoreU(v0, d, to + 0 * kTileColumns);
  hn::StoreU(v1, d, to + 1 * kTileColumns);
  hn::StoreU(v2, d, to + 2 * kTileColumns);
  hn::StoreU(v3, d, to + 3 * kTileColumns);
}
#endif

/// [j / kTileColumns][c][j % kTileColumns] = row[j][c]; 0 for j from `count` to the end of the last tile.
void pack_columns(const float* const* row, int64_t count, int64_t size, float* packed) {
  for (int64_t j = 0; j < count; j += kTransposed) {
    float* to = packed + j / kTileColumns * kTileColumns * size + j % kTileColumns;
    int64_t c = 0;
    for (; j + kTransposed <= count && c + kTransposed <= size; c += kTransposed)
      transpose(row + j, c, to + c * kTileColumns);
    for (int64_t i = 0; i < std::min(kTransposed, count - j); ++i) {
      for (int64_t rest = c; rest < size; ++rest) to[rest * kTileColumns + i] = row[j + i][rest];
    }
  }
  const int64_t last = count % kTileColumns;
  float* tile = packed + (count - last) * size;
  for (int64_t c = 0; last != 0 && c < size; ++c)
    std::fill(tile + c * kTileColumns + last, tile + (c + 1) * kTileColumns, 0.0F);
}

/// factor * row into row `at` of panels that are `height` rows high.
HWY_INLINE void pack_row(const float* row, int64_t size, Vector factor, const Panels& panels, int64_t height,
                         int64_t at, float* packed) {
  const Floats d;
  for (int64_t p = 0; p < panels.count; ++p) {
    float* to = packed + panels.begin(p) * kLanes * height + at * panels.width(p) * kLanes;
    for (int64_t v = 0; v < panels.width(p); ++v) {
      const int64_t c = (panels.begin(p) + v) * kLanes;
      hn::Store(hn::Mul(load_first(row + c, std::min(kLanes, size - c)), factor), d, to + v * kLanes);
    }
  }
}

HWY_INLINE void clear_row(const Panels& panels, int64_t height, int64_t at, float* packed) {
  for (int64_t p = 0; p < panels.count; ++p) {
    const int64_t width = panels.width(p) * kLanes;
    std::fill_n(packed + panels.begin(p) * kLanes * height + at * width, width, 0.0F);
  }
}

int64_t backward_scratch(int64_t head_dim, int64_t value_dim) {
  return BackwardBlock(head_dim, value_dim, nullptr).size;
}

void backward_begin(const BackwardKeys& keys, float* scratch) {
  const BackwardBlock block(keys.head_dim, keys.value_dim, scratch);
  const Floats d;
  pack_columns(keys.key, keys.count, keys.head_dim, block.key_columns);
  pack_columns(keys.value, keys.count, keys.value_dim, block.value_columns);
  const Vector scale = hn::Set(d, keys.scale);
  for (int64_t j = 0; j < keys.count; ++j)
    pack_row(keys.key[j], keys.head_dim, scale, block.channels, kBackwardKeys, j, block.key);
  std::fill_n(block.grad_key, kBackwardKeys * block.channels.padded(), 0.0F);
  std::fill_n(block.grad_value, kBackwardKeys * block.values.padded(), 0.0F);
}

/// sum += kTileRows rows of panels times a tile of transposed columns.
HWY_INLINE void multiply_rows(const float* rows, const Panels& panels, int64_t first_row, int64_t size,
                              const float* columns, Vector (&sum)[kTileRows][kTileVectors]) {
  for (int64_t p = 0; p < panels.count; ++p) {
    const int64_t begin = panels.begin(p) * kLanes;
    const int64_t width = panels.width(p) * kLanes;
    multiply_add(rows + begin * kBackwardRows + first_row * width, width, 1, columns + begin * kTileColumns,
                 kTileColumns, std::min(width, size - begin), sum);
  }
}

/// p and ds of kTileRows rows and kTileColumns keys.
HWY_NOINLINE void weigh_tile(const BackwardKeys& keys, const BackwardRows& a, const BackwardBlock& block,
                             int64_t row, int64_t column) {
  const Floats d;
  float* weight = block.weight + row * kBackwardKeys + column;
  float* grad_logit = block.grad_logit + row * kBackwardKeys + column;
  const int64_t rows = std::min(kTileRows, a.rows - row);
  const int64_t most = a.seen[row + rows - 1] - column;
  if (most <= 0) {
    for (int64_t r = 0; r < kTileRows; ++r) {
      std::fill_n(weight + r * kBackwardKeys, kTileColumns, 0.0F);
      std::fill_n(grad_logit + r * kBackwardKeys, kTileColumns, 0.0F);
    }
    return;
  }
  Vector sum[kTileRows][kTileVectors];
  set_zero(sum);
  multiply_rows(block.query, block.channels, row, keys.head_dim, block.key_columns + column * keys.head_dim,
                sum);
  for (int64_t r = 0; r < kTileRows; ++r) {
    const int64_t seen = r < rows ? std::clamp<int64_t>(a.seen[row + r] - column, 0, kTileColumns) : 0;
    const Vector lse = hn::Set(d, r < rows ? a.lse[row + r] : 0.0F);
    for (int64_t v = 0; v < kTileVectors; ++v) {
      Vector logit = sum[r][v];
      const int64_t inside = std::clamp<int64_t>(seen - v * kLanes, 0, kLanes);
      if (a.bias != nullptr && inside > 0)
        logit = hn::Add(logit, load_first(a.bias + (row + r) * a.bias_stride + column + v * kLanes, inside));
      hn::Store(exp_nonpositive(hn::Sub(logit, lse)), d, weight + r * kBackwardKeys + v * kLanes);
    }
    std::fill_n(weight + r * kBackwardKeys + seen, kTileColumns - seen, 0.0F);
  }
  set_zero(sum);
  multiply_rows(block.grad_out, block.values, row, keys.value_dim,
                block.value_columns + column * keys.value_dim, sum);
  for (int64_t r = 0; r < rows; ++r) {
    const Vector delta = hn::Set(d, a.delta[row + r]);
    for (int64_t v = 0; v < kTileVectors; ++v) {
      const Vector p = hn::Load(d, weight + r * kBackwardKeys + v * kLanes);
      hn::Store(hn::Mul(p, hn::Sub(sum[r][v], delta)), d, grad_logit + r * kBackwardKeys + v * kLanes);
    }
  }
}

/// out[r][lane] += sum over k of a[r * row_stride + k * step] * panel[k][lane] for `rows` <= kTileRows rows,
/// of whose `columns` <= kVectors * kLanes columns the rest is not written. All kTileRows rows of `a` are
/// read.
template <int64_t kVectors>
HWY_NOINLINE void add_product(const float* a, int64_t row_stride, int64_t step, const float* panel,
                              int64_t depth, float* out, int64_t out_stride, int64_t rows, int64_t columns) {
  Vector sum[kTileRows][kVectors];
  set_zero(sum);
  multiply_add(a, row_stride, step, panel, kVectors * kLanes, depth, sum);
#pragma GCC unroll 8
  for (int64_t r = 0; r < kTileRows; ++r) {
    if (r >= rows) break;
#pragma GCC unroll 8
    for (int64_t v = 0; v < kVectors; ++v) {
      float* to = out + r * out_stride + v * kLanes;
      const int64_t count = std::min(kLanes, columns - v * kLanes);
      store_first(hn::Add(load_first(to, count), sum[r][v]), to, count);
    }
  }
}

using AddProduct = void (*)(const float*, int64_t, int64_t, const float*, int64_t, float*, int64_t, int64_t,
                            int64_t);

HWY_INLINE AddProduct product_of_width(int64_t vectors) {
  if constexpr (kTileVectors == 4) {
    static constexpr AddProduct by_width[] = {add_product<1>, add_product<2>, add_product<3>, add_product<4>};
    return by_width[vectors - 1];
  } else {
    static constexpr AddProduct by_width[] = {add_product<1>, add_product<2>};
    return by_width[vectors - 1];
  }
}

/// dq += ds * (scale k).
void add_grad_query(const BackwardKeys& keys, const BackwardRows& a, const BackwardBlock& block) {
  for (int64_t p = 0; p < block.channels.count; ++p) {
    const int64_t begin = block.channels.begin(p) * kLanes;
    const AddProduct product = product_of_width(block.channels.width(p));
    for (int64_t row = 0; row < a.rows; row += kTileRows) {
      const int64_t rows = std::min(kTileRows, a.rows - row);
      product(block.grad_logit + row * kBackwardKeys, kBackwardKeys, 1, block.key + begin * kBackwardKeys,
              std::max<int64_t>(0, a.seen[row + rows - 1]), a.grad_query + row * a.grad_query_stride + begin,
              a.grad_query_stride, rows, keys.head_dim - begin);
    }
  }
}

/// grad[j] += sum over rows of left[row][j] * right[row], with `right` in panels.
void add_grad_keys(const BackwardKeys& keys, const BackwardRows& a, const float* left, const float* right,
                   const Panels& panels, float* grad) {
  for (int64_t p = 0; p < panels.count; ++p) {
    const int64_t begin = panels.begin(p) * kLanes;
    const int64_t width = panels.width(p) * kLanes;
    const AddProduct product = product_of_width(panels.width(p));
    int64_t first = 0;  // the first row that sees key j
    for (int64_t j = 0; j < keys.count; j += kTileRows) {
      while (first < a.rows && a.seen[first] <= j) ++first;
      if (first == a.rows) break;
      product(left + first * kBackwardKeys + j, 1, kBackwardKeys,
              right + begin * kBackwardRows + first * width, a.rows - first,
              grad + j * panels.padded() + begin, panels.padded(), kTileRows, width);
    }
  }
}

void backward_rows(const BackwardKeys& keys, const BackwardRows& a, float* scratch) {
  const BackwardBlock block(keys.head_dim, keys.value_dim, scratch);
  const Floats d;
  const Vector scale = hn::Set(d, keys.scale);
  const Vector one = hn::Set(d, 1.0F);
  for (int64_t r = 0; r < a.rows; ++r) {
    pack_row(a.query + r * a.query_stride, keys.head_dim, scale, block.channels, kBackwardRows, r,
             block.query);
    pack_row(a.grad_out + r * a.grad_out_stride, keys.value_dim, one, block.values, kBackwardRows, r,
             block.grad_out);
  }
  for (int64_t r = a.rows; r % kTileRows != 0; ++r) {
    clear_row(block.channels, kBackwardRows, r, block.query);
    clear_row(block.values, kBackwardRows, r, block.grad_out);
  }
  for (int64_t column = 0; column < keys.count; column += kTileColumns) {
    for (int64_t row = 0; row < a.rows; row += kTileRows) weigh_tile(keys, a, block, row, column);
  }
  add_grad_query(keys, a, block);
  add_grad_keys(keys, a, block.weight, block.grad_out, block.values, block.grad_value);
  add_grad_keys(keys, a, block.grad_logit, block.query, block.channels, block.grad_key);
  for (int64_t r = 0; a.grad_logit_sum != nullptr && r < a.rows; ++r) {
    for (int64_t j = 0; j < keys.count; ++j) a.grad_logit_sum[j] += block.grad_logit[r * kBackwardKeys + j];
  }
}

HWY_INLINE void add_row(const float* from, int64_t size, float* to) {
  for (int64_t c = 0; c < size; c += kLanes) {
    const int64_t count = std::min(kLanes, size - c);
    store_first(hn::Add(load_first(to + c, count), hn::Load(Floats(), from + c)), to + c, count);
  }
}

void backward_end(const BackwardKeys& keys, const float* scratch, float* const* grad_key,
                  float* const* grad_value) {
  const BackwardBlock block(keys.head_dim, keys.value_dim, const_cast<float*>(scratch));
  for (int64_t j = 0; j < keys.count; ++j) {
    add_row(block.grad_key + j * block.channels.padded(), keys.head_dim, grad_key[j]);
    add_row(block.grad_value + j * block.values.padded(), keys.value_dim, grad_value[j]);
  }
}

float backward_dot(const float* a, const float* b, int64_t size) {
  const Floats d;
  Vector sum = hn::Zero(d);
  for (int64_t c = 0; c < size; c += kLanes) {
    const int64_t count = std::min(kLanes, size - c);
    sum = hn::MulAdd(load_first(a + c, count), load_first(b + c, count), sum);
  }
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

const BackwardKernels& backward_table() {
  static constexpr BackwardKernels table{backward_scratch, backward_begin, backward_rows,
                                         backward_end,     backward_few,   backward_dot};
  return table;
}

}  // namespace attnlab::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attnlab::kernels {

HWY_EXPORT(backward_table);

const BackwardKernels& backward_kernels(SimdTarget target) {
  return for_target(HWY_DISPATCH_TABLE(backward_table), target)();
}

}  // namespace attnlab::kernels
#endif  // HWY_ONCE
