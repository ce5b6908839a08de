#include "core/plugin/kernel_service.hpp"

#include <algorithm>
#include <new>
#include <span>
#include <vector>

#include <attnlab/sampling.hpp>

#include "core/kernels/gemm/gemm.hpp"
#include "core/kernels/selection/select.hpp"
#include "core/kernels/table.hpp"

namespace attnlab::plugin {
namespace {

/// Nothing unwinds through the boundary.
template <class Body>
attnlab_status run(bool possible, const Body& body) {
  if (!possible) return ATTNLAB_CONTRACT;
  try {
    body();
    return ATTNLAB_OK;
  } catch (const std::bad_alloc&) {
    return ATTNLAB_FAILED;
  }
}

/// Extents that are not negative.
bool extents(std::initializer_list<int64_t> counts) {
  return std::all_of(counts.begin(), counts.end(), [](int64_t count) { return count >= 0; });
}

int64_t keys_in(std::span<const attnlab_range> runs) {
  int64_t keys = 0;
  for (const attnlab_range& run : runs) keys += std::max<int64_t>(0, int64_t{run.end} - run.begin);
  return keys;
}

std::span<const attnlab_range> runs_of(const attnlab_range* runs, int64_t count) {
  return {runs, static_cast<size_t>(std::max<int64_t>(0, count))};
}

attnlab_status dot(const attnlab_dot* a) {
  return run(extents({a->rows, a->width, a->keys}), [a] {
    const kernels::KernelTable& table = kernels::active_table();
    if (a->ids == nullptr) {
      table.logits({.query = a->query,
                    .query_stride = a->query_stride,
                    .rows = a->rows,
                    .head_dim = a->width,
                    .key = a->key,
                    .key_stride = a->key_stride,
                    .key_begin = 0,
                    .key_end = a->keys,
                    .scale = a->scale,
                    .logits = a->scores,
                    .logits_stride = a->scores_stride});
      return;
    }
    for (int64_t r = 0; r < a->rows; ++r) {
      table.gather_logits({.query = a->query + r * a->query_stride,
                           .head_dim = a->width,
                           .key = a->key,
                           .key_stride = a->key_stride,
                           .ids = a->ids,
                           .count = a->keys,
                           .scale = a->scale,
                           .out = a->scores + r * a->scores_stride});
    }
  });
}

attnlab_status hamming(const attnlab_hamming* a) {
  const bool possible = extents({a->rows, a->words, a->keys}) && a->words <= kernels::kMaxHammingWords;
  return run(possible, [a] {
    kernels::active_table().hamming({.query = a->query,
                                     .query_stride = a->query_stride,
                                     .rows = a->rows,
                                     .words = a->words,
                                     .bits = a->bits,
                                     .code = a->code,
                                     .code_stride = a->code_stride,
                                     .keys = a->keys,
                                     .scores = a->scores,
                                     .scores_stride = a->scores_stride});
  });
}

attnlab_status interval(const attnlab_interval* a) {
  return run(extents({a->rows, a->head_dim, a->pages}), [a] {
    kernels::interval(kernels::active_table(), {.query = a->query,
                                                .query_stride = a->query_stride,
                                                .rows = a->rows,
                                                .head_dim = a->head_dim,
                                                .scale = a->scale,
                                                .extremes = a->extremes,
                                                .extremes_stride = a->extremes_stride,
                                                .pages = a->pages,
                                                .scores = a->scores,
                                                .scores_stride = a->scores_stride});
  });
}

template <class Code>
kernels::LutArguments<Code> lut_arguments(const attnlab_lut& a) {
  return {.table = a.table,
          .table_stride = a.table_stride,
          .rows = a.rows,
          .subspaces = a.subspaces,
          .entries = a.entries,
          .code = static_cast<const Code*>(a.code),
          .code_stride = a.code_stride,
          .keys = a.keys,
          .scores = a.scores,
          .scores_stride = a.scores_stride};
}

attnlab_status lut(const attnlab_lut* a) {
  const bool known_type = a->code_type == ATTNLAB_U8 || a->code_type == ATTNLAB_I32;
  return run(known_type && extents({a->rows, a->subspaces, a->entries, a->keys}), [a] {
    const kernels::KernelTable& table = kernels::active_table();
    if (a->code_type == ATTNLAB_U8) {
      table.lut_u8(lut_arguments<uint8_t>(*a));
    } else {
      table.lut_i32(lut_arguments<int32_t>(*a));
    }
  });
}

attnlab_status gemm(const attnlab_gemm* a) {
  return run(extents({a->m, a->n, a->k}), [a] {
    kernels::GemmArguments product;
    product.rows = a->m;
    product.columns = a->n;
    product.depth = a->k;
    product.a = a->a;
    product.a_row_stride = a->a_row_stride;
    product.a_column_stride = a->a_column_stride;
    product.b = a->b;
    product.b_row_stride = a->b_row_stride;
    product.b_column_stride = a->b_column_stride;
    product.c = a->c;
    product.c_stride = a->c_stride;
    kernels::gemm(kernels::active_table(), product);
  });
}

attnlab_status top_k(attnlab_top_k* a) {
  return run(extents({a->run_count, a->k}), [a] {
    thread_local kernels::SelectScratch scratch;
    thread_local std::vector<kernels::Range> runs;
    thread_local std::vector<int32_t> chosen;
    runs.clear();
    for (const attnlab_range& run : runs_of(a->runs, a->run_count)) {
      if (run.begin < run.end) runs.push_back({run.begin, run.end});
    }
    chosen.clear();
    kernels::top_k(a->scores, runs, a->k, scratch, chosen, kernels::active_table());
    std::copy(chosen.begin(), chosen.end(), a->ids);
    a->chosen = std::ssize(chosen);
  });
}

attnlab_status sample(const attnlab_sample* a) {
  const auto runs = runs_of(a->runs, a->run_count);
  const int64_t keys = keys_in(runs);
  return run(extents({a->run_count, a->count}) && a->count <= keys, [&] {
    thread_local std::vector<uint64_t> seen;
    seen.resize(static_cast<size_t>((keys + 63) / 64));
    Philox random(a->rng_key, a->rng_stream);
    sample_without_replacement(random, {runs, keys}, a->count, seen, {a->ids, static_cast<size_t>(a->count)});
  });
}

}  // namespace

const attnlab_kernels& kernel_service() {
  static constexpr attnlab_kernels table{
      sizeof(attnlab_kernels), 0, dot, hamming, interval, lut, gemm, top_k, sample};
  return table;
}

}  // namespace attnlab::plugin
