// Products of chunks of tokens, compiled once per SIMD target.
#if defined(ATTNLAB_KERNELS_LINEAR_CHUNK_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTNLAB_KERNELS_LINEAR_CHUNK_INL
#undef ATTNLAB_KERNELS_LINEAR_CHUNK_INL
#else
#define ATTNLAB_KERNELS_LINEAR_CHUNK_INL
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

#include "core/kernels/linear/arguments.hpp"
#include "core/kernels/simd/register_tile-inl.hpp"
#include "core/kernels/simd/transpose-inl.hpp"
#include "core/kernels/simd/vector_math-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace attnlab::kernels::HWY_NAMESPACE {

/// Tokens of a chunk. Work within a chunk grows with it, and the share of loading and storing the state
/// shrinks.
inline constexpr int64_t kChunkTokens = 64;

/// Floats between rows of a matrix of the workspace: whole panels, so that rows serve as rows of panels, and
/// a cache line more, so that rows do not compete for the same sets of the cache.
constexpr int64_t padded(int64_t columns) {
  return (columns + kPanelColumns - 1) / kPanelColumns * kPanelColumns + 16;
}

constexpr int64_t whole_vectors(int64_t count) {
  return (count + kLanes - 1) / kLanes * kLanes;
}

/// A matrix of the workspace. Columns beyond those in use are 0 up to a whole vector, at least.
struct Matrix {
  float* at = nullptr;
  int64_t stride = 0;

  float* row(int64_t r) const { return at + r * stride; }
};

/// Cuts the workspace up; counts only when it has none.
struct Carver {
  float* next;
  int64_t used = 0;

  float* take(int64_t floats) {
    float* taken = next;
    floats = (floats + 15) / 16 * 16;
    used += floats;
    if (next != nullptr) next += floats;
    return taken;
  }
  Matrix matrix(int64_t rows, int64_t columns) { return {take(rows * padded(columns)), padded(columns)}; }
};

/// Rows that the next chunk will use, fetched from memory between register tiles: a few cache lines at a
/// time, or they would hold up the loads of the tiles.
class Fetch {
 public:
  void clear() { count_ = region_ = row_ = column_ = 0; }
  void add(const float* rows, int64_t stride, int64_t count, int64_t columns) {
    regions_[count_++] = {rows, stride, count, columns};
  }
  HWY_INLINE void some() {
    constexpr int64_t lines = 16, line_floats = 16;
    for (int64_t i = 0; i < lines && region_ < count_; ++i) {
      const Region& region = regions_[region_];
      hwy::Prefetch(region.from + row_ * region.stride + column_);
      column_ += line_floats;
      if (column_ < region.columns) continue;
      column_ = 0;
      if (++row_ < region.rows) continue;
      row_ = 0;
      ++region_;
    }
  }

 private:
  struct Region {
    const float* from;
    int64_t stride, rows, columns;
  };
  Region regions_[8];
  int64_t count_ = 0;
  int64_t region_ = 0, row_ = 0, column_ = 0;
};

/// A product of A, whose element (r, k) is a[r * row_stride + k * step], and B, `depth` rows of a matrix.
struct Term {
  const float* a = nullptr;
  int64_t row_stride = 0;
  int64_t step = 1;
  const float* b = nullptr;
  int64_t b_stride = 0;
  int64_t depth = 0;
};

template <int64_t kRows, int64_t kVectors>
struct TermsTile {
  static HWY_NOINLINE void run(const Term& first, const Term& second, int64_t column, bool add, float* c,
                               int64_t c_stride) {
    const Floats d;
    Vector sum[kRows][kVectors];
    set_zero(sum);
    multiply_add(first.a, first.row_stride, first.step, first.b + column, first.b_stride, first.depth, sum);
    multiply_add(second.a, second.row_stride, second.step, second.b + column, second.b_stride, second.depth,
                 sum);
#pragma GCC unroll 8
    for (int64_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (int64_t v = 0; v < kVectors; ++v) {
        float* to = c + r * c_stride + column + v * kLanes;
        hn::Store(add ? hn::Add(hn::Load(d, to), sum[r][v]) : sum[r][v], d, to);
      }
    }
  }
};

/// Rows [0, rows) of C, up to kTileRows, = (or += with `add`) the sum of two products; columns up to a whole
/// vector.
inline void multiply_terms(const Term& first, const Term& second, int64_t rows, int64_t columns, bool add,
                           float* c, int64_t c_stride, Fetch& fetch) {
  for (int64_t j = 0; j < columns; j += kPanelColumns) {
    fetch.some();
    const int64_t vectors = (std::min(kPanelColumns, columns - j) + kLanes - 1) / kLanes;
    tile_function<TermsTile>(rows, vectors)(first, second, j, add, c, c_stride);
  }
}

inline void multiply_terms(const Term& only, int64_t rows, int64_t columns, bool add, float* c,
                           int64_t c_stride, Fetch& fetch) {
  Term nothing = only;
  nothing.depth = 0;
  multiply_terms(only, nothing, rows, columns, add, c, c_stride, fetch);
}

/// scores[i][j] = rows_i . columns_j for tokens j <= i of a chunk, and 0 for other tokens j of the same
/// stripe of kTileRows rows. `columns` is transposed: [dim][tokens].
inline void causal_scores(const Matrix& rows, const Matrix& columns, int64_t dim, int64_t tokens,
                          const Matrix& scores, Fetch& fetch) {
  for (int64_t i = 0; i < tokens; i += kTileRows) {
    const int64_t end = std::min(i + kTileRows, tokens);
    multiply_terms({rows.row(i), rows.stride, 1, columns.at, columns.stride, dim}, end - i, end, false,
                   scores.row(i), scores.stride, fetch);
    for (int64_t r = i; r < end; ++r)
      std::fill(scores.row(r) + r + 1, scores.row(r) + whole_vectors(end), 0.0F);
  }
}

/// sums[r][j] += sum over tokens t of rows[t][r] columns[t][j].
inline void add_outer_products(const Matrix& rows, int64_t row_count, const Matrix& columns,
                               int64_t column_count, int64_t tokens, const Matrix& sums, Fetch& fetch) {
  for (int64_t r = 0; r < row_count; r += kTileRows) {
    multiply_terms({rows.at + r, 1, rows.stride, columns.at, columns.stride, tokens},
                   std::min(kTileRows, row_count - r), column_count, true, sums.row(r), sums.stride, fetch);
  }
}

/// to[c][r] = from[r][c]; `from` has rows up to a whole vector.
inline void transpose(const Matrix& from, int64_t rows, int64_t columns, const Matrix& to) {
  for (int64_t r = 0; r < rows; r += kLanes)
    transpose_rows(from.row(r), from.stride, columns, to.at + r, to.stride);
}

inline void clear_rows(const Matrix& matrix, int64_t begin, int64_t end) {
  std::fill(matrix.row(begin), matrix.row(end), 0.0F);
}

/// Rows of `columns` floats `from_stride` apart into a matrix, or zeros from null.
inline void load_rows(const float* from, int64_t from_stride, int64_t rows, int64_t columns,
                      const Matrix& to) {
  if (from == nullptr) return clear_rows(to, 0, rows);
  for (int64_t r = 0; r < rows; ++r) {
    std::copy_n(from + r * from_stride, columns, to.row(r));
    std::fill(to.row(r) + columns, to.row(r + 1), 0.0F);
  }
}

/// exp(x), infinite above 87.3.
HWY_INLINE Vector exp_any(Vector x) {
  const Floats d;
  const Vector e = exp_nonpositive(hn::Neg(hn::Abs(x)));
  return hn::IfThenElse(hn::Gt(x, hn::Zero(d)), hn::Div(hn::Set(d, 1.0F), e), e);
}

template <FeatureMap kMap>
HWY_INLINE Vector feature(Vector x) {
  const Floats d;
  const auto positive = hn::Gt(x, hn::Zero(d));
  if constexpr (kMap == FeatureMap::relu) {
    return hn::IfThenElse(hn::Lt(x, hn::Zero(d)), hn::Zero(d), x);
  } else if constexpr (kMap == FeatureMap::elu_plus_one) {
    return hn::IfThenElse(positive, hn::Add(x, hn::Set(d, 1.0F)),
                          exp_nonpositive(hn::IfThenZeroElse(positive, x)));
  } else if constexpr (kMap == FeatureMap::exponential) {
    return exp_any(x);
  } else {
    return x;
  }
}

/// The derivative of `feature`.
template <FeatureMap kMap>
HWY_INLINE Vector feature_slope(Vector x) {
  const Floats d;
  const auto positive = hn::Gt(x, hn::Zero(d));
  const Vector one = hn::Set(d, 1.0F);
  if constexpr (kMap == FeatureMap::relu) {
    return hn::IfThenElse(positive, one, hn::Zero(d));
  } else if constexpr (kMap == FeatureMap::elu_plus_one) {
    return hn::IfThenElse(positive, one, exp_nonpositive(hn::IfThenZeroElse(positive, x)));
  } else if constexpr (kMap == FeatureMap::exponential) {
    return exp_any(x);
  } else {
    return one;
  }
}

/// Calls `body` with FeatureMap as a constant.
template <class Body>
void with_feature_map(FeatureMap map, const Body& body) {
  switch (map) {
    case FeatureMap::identity:
      return body.template run<FeatureMap::identity>();
    case FeatureMap::relu:
      return body.template run<FeatureMap::relu>();
    case FeatureMap::elu_plus_one:
      return body.template run<FeatureMap::elu_plus_one>();
    case FeatureMap::exponential:
      return body.template run<FeatureMap::exponential>();
  }
}

/// to[t] = scale phi(from[t]); rows that fill up the last vector of tokens are 0.
struct LoadFeatures {
  const float* from;
  int64_t row_stride;
  int64_t tokens;
  int64_t dim;
  float scale;
  Matrix to;

  template <FeatureMap kMap>
  void run() const {
    const Floats d;
    const Vector factor = hn::Set(d, scale);
    for (int64_t t = 0; t < tokens; ++t) {
      const float* row = from + t * row_stride;
      int64_t c = 0;
      for (; c + kLanes <= dim; c += kLanes) {
        hn::Store(hn::Mul(factor, feature<kMap>(hn::LoadU(d, row + c))), d, to.row(t) + c);
      }
      std::fill(to.row(t) + c, to.row(t + 1), 0.0F);
      if (c == dim) continue;
      store_first(hn::Mul(factor, feature<kMap>(load_first(row + c, dim - c))), to.row(t) + c, dim - c);
    }
    clear_rows(to, tokens, whole_vectors(tokens));
  }
};

/// to[t] = scale from[t] phi'(at[t]).
struct StoreFeatureGradient {
  Matrix from;
  const float* at;
  int64_t at_stride;
  int64_t tokens;
  int64_t dim;
  float scale;
  float* to;
  int64_t to_stride;

  template <FeatureMap kMap>
  void run() const {
    const Vector factor = hn::Set(Floats(), scale);
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t c = 0; c < dim; c += kLanes) {
        const int64_t lanes = std::min(kLanes, dim - c);
        const Vector slope = hn::Mul(factor, feature_slope<kMap>(load_first(at + t * at_stride + c, lanes)));
        store_first(hn::Mul(hn::Load(Floats(), from.row(t) + c), slope), to + t * to_stride + c, lanes);
      }
    }
  }
};

/// sums[c] += sum over tokens of rows[t][c], columns up to a whole vector.
inline void add_rows(const Matrix& rows, int64_t tokens, int64_t columns, float* sums) {
  const Floats d;
  for (int64_t c = 0; c < columns; c += kLanes) {
    Vector sum = hn::Zero(d);
    for (int64_t t = 0; t < tokens; ++t) sum = hn::Add(sum, hn::Load(d, rows.row(t) + c));
    hn::Store(hn::Add(hn::Load(d, sums + c), sum), d, sums + c);
  }
}

/// a . b over `count` floats and the sum of `added_count` floats, each up to a whole vector with zeros
/// beyond.
HWY_INLINE float dot_and_sum(const float* a, const float* b, int64_t count, const float* added,
                             int64_t added_count) {
  const Floats d;
  Vector sum = hn::Zero(d);
  for (int64_t c = 0; c < count; c += kLanes) sum = hn::MulAdd(hn::Load(d, a + c), hn::Load(d, b + c), sum);
  for (int64_t c = 0; c < added_count; c += kLanes) sum = hn::Add(sum, hn::Load(d, added + c));
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

}  // namespace attnlab::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // target toggle
