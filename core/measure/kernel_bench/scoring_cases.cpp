// Scores of all keys of a KV head from compact records, for the queries of its group.
#include <fmt/core.h>

#include <algorithm>

#include "core/measure/kernel_bench/kernel_case.hpp"

namespace attnlab::measure {
namespace {

constexpr int64_t rows = 4;

/// Copies of the records, read in turn.
template <class T>
struct Records {
  Records(int64_t count, int64_t limit, CaseContext& context)
      : size(count),
        copies(std::max<int64_t>(1, context.pool_bytes / (count * static_cast<int64_t>(sizeof(T))))) {
    const auto values = std::make_shared<std::vector<T>>(static_cast<size_t>(size * copies));
    uint64_t state = 1;
    for (T& value : *values) {
      state = state * 6364136223846793005U + 1442695040888963407U;
      value = static_cast<T>(limit == 0 ? state ^ state >> 31 : (state >> 33) % static_cast<uint64_t>(limit));
    }
    data = values;
  }
  const T* next() { return data->data() + turn++ % copies * size; }

  int64_t size, copies, turn = 0;
  std::shared_ptr<const std::vector<T>> data;
};

KernelCase scoring_case(const std::string& name, double bytes) {
  KernelCase scoring;
  scoring.name = name;
  scoring.family = "scoring";
  scoring.one_thread = true;
  scoring.bytes = bytes;
  return scoring;
}

KernelCase hamming_case(int64_t keys, int64_t words) {
  KernelCase hamming =
      scoring_case(fmt::format("hamming/b{}/k{}", 64 * words, keys), static_cast<double>(keys * words * 8));
  hamming.make = [keys, words](CaseContext& context) {
    Records<uint64_t> codes(keys * words, 0, context), query(rows * words, 0, context);
    const auto scores = normals(rows * keys, 3);
    const kernels::KernelTable* kernels = context.kernels;
    const int64_t places = codes.copies;
    return PreparedCase{[=]() mutable {
                          kernels->hamming({.query = query.data->data(),
                                            .query_stride = words,
                                            .rows = rows,
                                            .words = words,
                                            .bits = 64 * words,
                                            .code = codes.next(),
                                            .code_stride = words,
                                            .keys = keys,
                                            .scores = scores.get(),
                                            .scores_stride = keys});
                        },
                        places, ""};
  };
  return hamming;
}

KernelCase lut_case(int64_t keys, int64_t subspaces, int64_t entries) {
  KernelCase lut = scoring_case(fmt::format("lut/s{}e{}/k{}", subspaces, entries, keys),
                                static_cast<double>(keys * subspaces));
  lut.make = [=](CaseContext& context) {
    Records<uint8_t> codes(keys * subspaces, entries, context);
    const auto table = normals(rows * subspaces * entries, 2), scores = normals(rows * keys, 3);
    const kernels::KernelTable* kernels = context.kernels;
    const int64_t places = codes.copies;
    return PreparedCase{[=]() mutable {
                          kernels->lut_u8({.table = table.get(),
                                           .table_stride = subspaces * entries,
                                           .rows = rows,
                                           .subspaces = subspaces,
                                           .entries = entries,
                                           .code = codes.next(),
                                           .code_stride = subspaces,
                                           .keys = keys,
                                           .scores = scores.get(),
                                           .scores_stride = keys});
                        },
                        places, ""};
  };
  return lut;
}

KernelCase interval_case(int64_t pages, int64_t head_dim) {
  KernelCase interval = scoring_case(fmt::format("interval/d{}/p{}", head_dim, pages),
                                     static_cast<double>(2 * pages * head_dim) * sizeof(float));
  interval.make = [=](CaseContext& context) {
    // A KV pool's keys stand for pages of [lowest, highest]; their order matters to no time.
    const auto extremes = context.kv({1, 2 * pages, head_dim});
    const auto query = normals(rows * head_dim, 2), scores = normals(rows * pages, 3);
    const kernels::KernelTable* kernels = context.kernels;
    return PreparedCase{[=, turn = int64_t{0}]() mutable {
                          kernels::interval(*kernels,
                                            {.query = query.get(),
                                             .query_stride = head_dim,
                                             .rows = rows,
                                             .head_dim = head_dim,
                                             .extremes = extremes->key(turn++ % extremes->layers(), 0),
                                             .extremes_stride = 2 * head_dim,
                                             .pages = pages,
                                             .scores = scores.get(),
                                             .scores_stride = pages});
                        },
                        extremes->layers(), ""};
  };
  return interval;
}

}  // namespace

void add_scoring_cases(bool quick, std::vector<KernelCase>& cases) {
  const int64_t keys = quick ? 100 : 32768;
  cases.push_back(hamming_case(keys, 2));
  cases.push_back(lut_case(keys, 16, 16));
  cases.push_back(lut_case(keys, 16, 256));
  cases.push_back(interval_case(keys / 16, 128));
}

}  // namespace attnlab::measure
