#include "vector_loops.hpp"

#include <cstring>

namespace magic_pig {
namespace {

// The compilers' vectors of `kBytes`, which the instruction set of the caller should have.
template <int64_t kBytes>
using Floats [[gnu::vector_size(kBytes)]] = float;
template <int64_t kBytes>
using Doubles [[gnu::vector_size(kBytes)]] = double;

constexpr int64_t streamed_rows = 8;

/// A panel of kVectors vectors of planes times kRows rows. The sums stay in registers.
template <int64_t kBytes, int64_t kVectors, int64_t kRows>
[[gnu::always_inline]] inline void project_panel(const float* x, int64_t dim, const float* planes,
                                                 int64_t plane_count, float* out) {
  constexpr int64_t lanes = kBytes / 4, fetch_ahead = 12;
  Floats<kBytes> sum[kRows][kVectors] = {};
  for (int64_t i = 0; i < dim; ++i) {
    const float* row = planes + i * plane_count;
    Floats<kBytes> plane[kVectors];
#pragma GCC unroll 4
    for (int64_t v = 0; v < kVectors; ++v) {
      std::memcpy(&plane[v], row + v * lanes, kBytes);
      // Rows of planes are pages apart, which no hardware prefetcher follows.
      __builtin_prefetch(row + fetch_ahead * plane_count + v * lanes);
    }
#pragma GCC unroll 4
    for (int64_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int64_t v = 0; v < kVectors; ++v) sum[r][v] += x[r * dim + i] * plane[v];
    }
  }
#pragma GCC unroll 4
  for (int64_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int64_t v = 0; v < kVectors; ++v) std::memcpy(out + r * plane_count + v * lanes, &sum[r][v], kBytes);
  }
}

/// Planes [p, plane_count) as far as panels of this width go. Returns the first plane that is left.
template <int64_t kBytes, int64_t kVectors>
[[gnu::always_inline]] inline int64_t project_panels(const float* x, int64_t rows, int64_t dim,
                                                     const float* planes, int64_t plane_count, int64_t p,
                                                     float* out) {
  constexpr int64_t width = kBytes / 4 * kVectors;
  for (; p + width <= plane_count; p += width) {
    int64_t r = 0;
    for (; r + 4 <= rows; r += 4)
      project_panel<kBytes, kVectors, 4>(x + r * dim, dim, planes + p, plane_count,
                                         out + r * plane_count + p);
    for (; r < rows; ++r)
      project_panel<kBytes, kVectors, 1>(x + r * dim, dim, planes + p, plane_count,
                                         out + r * plane_count + p);
  }
  return p;
}

/// Planes [0, p) of few rows, in the order in which they lie in memory; their sums wait in the first-level
/// cache. Returns p, the first plane that is left.
template <int64_t kBytes, int64_t kRows>
[[gnu::always_inline]] inline int64_t project_streamed(const float* x, int64_t dim, const float* planes,
                                                       int64_t plane_count, float* out) {
  constexpr int64_t lanes = kBytes / 4, fetch_ahead = 2048, together = 4;
  const int64_t end = plane_count / lanes * lanes;
  for (int64_t r = 0; r < kRows; ++r)
    std::memset(out + r * plane_count, 0, sizeof(float) * static_cast<size_t>(end));
  for (int64_t i = 0; i < dim; i += together) {
    const int64_t count = dim - i < together ? dim - i : together;
    for (int64_t p = 0; p < end; p += lanes) {
      Floats<kBytes> sum[kRows];
#pragma GCC unroll 4
      for (int64_t r = 0; r < kRows; ++r) std::memcpy(&sum[r], out + r * plane_count + p, kBytes);
      for (int64_t j = i; j < i + count; ++j) {
        const float* from = planes + j * plane_count + p;
        __builtin_prefetch(from + fetch_ahead, 0, 2);
        Floats<kBytes> plane;
        std::memcpy(&plane, from, kBytes);
#pragma GCC unroll 4
        for (int64_t r = 0; r < kRows; ++r) sum[r] += x[r * dim + j] * plane;
      }
#pragma GCC unroll 4
      for (int64_t r = 0; r < kRows; ++r) std::memcpy(out + r * plane_count + p, &sum[r], kBytes);
    }
  }
  return end;
}

template <int64_t kBytes, int64_t kVectors>
[[gnu::always_inline]] inline void project_by(const float* x, int64_t rows, int64_t dim, const float* planes,
                                              int64_t plane_count, float* out) {
  int64_t p = 0;
  if (rows <= streamed_rows) {
    // The queries of a head: planes come from memory once, and that is what takes the time.
    int64_t r = 0;
    for (; r + 4 <= rows; r += 4)
      p = project_streamed<kBytes, 4>(x + r * dim, dim, planes, plane_count, out + r * plane_count);
    for (; r < rows; ++r)
      p = project_streamed<kBytes, 1>(x + r * dim, dim, planes, plane_count, out + r * plane_count);
  } else {
    p = project_panels<kBytes, kVectors>(x, rows, dim, planes, plane_count, 0, out);
  }
  p = project_panels<kBytes, 1>(x, rows, dim, planes, plane_count, p, out);
  p = project_panels<16, 1>(x, rows, dim, planes, plane_count, p, out);
  for (; p < plane_count; ++p) {
    for (int64_t r = 0; r < rows; ++r) {
      float sum = 0;
      for (int64_t i = 0; i < dim; ++i) sum += x[r * dim + i] * planes[i * plane_count + p];
      out[r * plane_count + p] = sum;
    }
  }
}

template <int64_t kBytes>
[[gnu::always_inline]] inline double dot_by(const double* query, const float* key, int64_t dim) {
  constexpr int64_t lanes = 32, width = kBytes / 8, vectors = lanes / width;
  Doubles<kBytes> sums[vectors] = {};
  int64_t i = 0;
  for (; i + lanes <= dim; i += lanes) {
#pragma GCC unroll 16
    for (int64_t v = 0; v < vectors; ++v) {
      Floats<kBytes / 2> k;
      Doubles<kBytes> q;
      std::memcpy(&k, key + i + v * width, sizeof k);
      std::memcpy(&q, query + i + v * width, sizeof q);
      sums[v] += q * __builtin_convertvector(k, Doubles<kBytes>);
    }
  }
#pragma GCC unroll 16
  for (int64_t half = vectors / 2; half > 0; half /= 2) {
#pragma GCC unroll 16
    for (int64_t v = 0; v < half; ++v) sums[v] += sums[v + half];
  }
  double sum[width];
  std::memcpy(sum, sums, sizeof sum);
  for (int64_t half = width / 2; half > 0; half /= 2) {
    for (int64_t lane = 0; lane < half; ++lane) sum[lane] += sum[lane + half];
  }
  for (; i < dim; ++i) sum[0] += query[i] * static_cast<double>(key[i]);
  return sum[0];
}

#define MAGIC_PIG_LOOPS(name, target, bytes, vectors)                                        \
  target void project_##name(const float* x, int64_t rows, int64_t dim, const float* planes, \
                             int64_t plane_count, float* out) {                              \
    project_by<bytes, vectors>(x, rows, dim, planes, plane_count, out);                      \
  }                                                                                          \
  target double dot_##name(const double* query, const float* key, int64_t dim) {             \
    return dot_by<bytes>(query, key, dim);                                                   \
  }                                                                                          \
  constexpr VectorLoops loops_##name {                                                       \
    project_##name, dot_##name                                                               \
  }

MAGIC_PIG_LOOPS(baseline, , 16, 2);
#if defined(__x86_64__)
MAGIC_PIG_LOOPS(avx2, [[gnu::target("avx2")]], 32, 2);
MAGIC_PIG_LOOPS(avx512, [[gnu::target("avx512f")]], 64, 4);
#endif

}  // namespace

const VectorLoops& vector_loops() {
  static const VectorLoops& best = *all_vector_loops().front();
  return best;
}

std::vector<const VectorLoops*> all_vector_loops() {
  std::vector<const VectorLoops*> all;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) all.push_back(&loops_avx512);
  if (__builtin_cpu_supports("avx2")) all.push_back(&loops_avx2);
#endif
  all.push_back(&loops_baseline);
  return all;
}

}  // namespace magic_pig
