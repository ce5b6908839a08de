// Logits alone, of a tile and of one gathered row.
#include <fmt/core.h>

#include <algorithm>

#include "core/measure/kernel_bench/kernel_case.hpp"

namespace attnlab::measure {
namespace {

constexpr int64_t head_dim = 128;

KernelCase tile_case(int64_t rows, int64_t keys) {
  KernelCase tile;
  tile.name = fmt::format("logits/f32/r{}/d{}/k{}", rows, head_dim, keys);
  tile.family = "logits";
  tile.one_thread = true;
  tile.flops = 2.0 * static_cast<double>(rows * keys * head_dim);
  // Few rows are limited by reading the keys, many by arithmetic.
  tile.bytes = rows <= 8 ? static_cast<double>(keys * head_dim) * sizeof(float) : 0;
  tile.make = [rows, keys](CaseContext& context) {
    const auto kv = context.kv({1, keys, head_dim});
    const auto query = normals(rows * head_dim, 2), out = normals(rows * keys, 3);
    const kernels::KernelTable* kernels = context.kernels;
    return PreparedCase{[=, turn = int64_t{0}]() mutable {
                          kernels::LogitsArguments a;
                          a.query = query.get();
                          a.query_stride = a.head_dim = a.key_stride = head_dim;
                          a.rows = rows;
                          a.key = kv->key(turn++ % kv->layers(), 0);
                          a.key_end = keys;
                          a.logits = out.get();
                          a.logits_stride = keys;
                          kernels->logits(a);
                        },
                        rows <= 8 ? kv->layers() : 0, ""};
  };
  return tile;
}

KernelCase gather_case(int64_t keys, int64_t count) {
  KernelCase gather;
  gather.name = fmt::format("gather_logits/f32/d{}/k{}/{}", head_dim, keys, count);
  gather.family = "logits";
  gather.one_thread = true;
  gather.flops = 2.0 * static_cast<double>(count * head_dim);
  gather.bytes = static_cast<double>(count * head_dim) * sizeof(float);
  gather.make = [keys, count](CaseContext& context) {
    const auto kv = context.kv({1, keys, head_dim});
    const auto query = normals(head_dim, 2), out = normals(count, 3);
    std::vector<int32_t> ids;
    for (int64_t i = 0; i < count; ++i) ids.push_back(static_cast<int32_t>(i * keys / count));
    const kernels::KernelTable* kernels = context.kernels;
    return PreparedCase{[=, turn = int64_t{0}]() mutable {
                          kernels::GatherLogitsArguments a;
                          a.query = query.get();
                          a.head_dim = a.key_stride = head_dim;
                          a.key = kv->key(turn++ % kv->layers(), 0);
                          a.ids = ids.data();
                          a.count = count;
                          a.out = out.get();
                          kernels->gather_logits(a);
                        },
                        kv->layers(), ""};
  };
  return gather;
}

}  // namespace

void add_logits_cases(bool quick, std::vector<KernelCase>& cases) {
  const int64_t keys = quick ? 256 : 32768;
  cases.push_back(tile_case(4, keys));
  cases.push_back(tile_case(256, quick ? 64 : 2048));
  cases.push_back(gather_case(keys, keys / 20));
}

}  // namespace attnlab::measure
