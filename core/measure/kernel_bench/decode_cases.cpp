// Attention of one query: dense, and over lists of keys.
#include <fmt/core.h>

#include <algorithm>
#include <iterator>
#include <numeric>
#include <random>
#include <span>

#include "core/base/parallel.hpp"
#include "core/kernels/attention/dense.hpp"
#include "core/kernels/attention/list_union.hpp"
#include "core/measure/kernel_bench/kernel_case.hpp"

namespace attnlab::measure {
namespace {

struct Shape {
  int64_t heads, kv_heads, head_dim, keys;

  int64_t group() const { return heads / kv_heads; }
  std::string text() const { return fmt::format("q{}kv{}/d{}/k{}", heads, kv_heads, head_dim, keys); }
  double row_bytes() const { return 2.0 * static_cast<double>(head_dim) * sizeof(float); }
};

/// Ascending keys: of each query head, or of each KV head.
using Lists = std::vector<std::vector<int32_t>>;

/// Lists that are not read again before this many calls.
constexpr int64_t list_sets = 16;

/// `count` keys of [0, keys) at random, ascending. They begin with `common`, which they hold.
std::vector<int32_t> draw_list(int64_t keys, int64_t count, const std::vector<int32_t>& common,
                               std::mt19937_64& random) {
  std::vector<uint8_t> taken(static_cast<size_t>(keys));
  for (int32_t key : common) taken[static_cast<size_t>(key)] = 1;
  std::uniform_int_distribution<int64_t> any(0, keys - 1);
  for (auto left = count - static_cast<int64_t>(common.size()); left > 0;) {
    uint8_t& mark = taken[static_cast<size_t>(any(random))];
    left -= mark == 0 ? 1 : 0;
    mark = 1;
  }
  std::vector<int32_t> list;
  for (int64_t key = 0; key < keys; ++key) {
    if (taken[static_cast<size_t>(key)] != 0) list.push_back(static_cast<int32_t>(key));
  }
  return list;
}

/// Sets of lists of a density, of each KV head, or of each query head: then the lists of a group share two
/// thirds of their keys, so that their union is half of their sum. The top 5 % and 10 % of four heads of
/// stories260K over a story of 1769 tokens have a union of 0.53 and 0.49 of the sum.
std::vector<Lists> draw_lists(const Shape& shape, double density, bool per_head, int64_t set_count) {
  std::mt19937_64 random(1);
  const auto count = std::max<int64_t>(1, static_cast<int64_t>(static_cast<double>(shape.keys) * density));
  std::vector<Lists> sets(static_cast<size_t>(set_count));
  for (Lists& lists : sets) {
    for (int64_t head = 0; head < shape.kv_heads; ++head) {
      if (!per_head) {
        lists.push_back(draw_list(shape.keys, count, {}, random));
        continue;
      }
      const auto common = draw_list(shape.keys, count * 2 / 3, {}, random);
      for (int64_t g = 0; g < shape.group(); ++g)
        lists.push_back(draw_list(shape.keys, count, common, random));
    }
  }
  return sets;
}

/// Entries of the first set's lists, and of their unions over the groups.
std::pair<int64_t, int64_t> sum_and_union(const Shape& shape, const Lists& lists) {
  const auto group = static_cast<int64_t>(lists.size()) / shape.kv_heads;
  int64_t sum = 0, united = 0;
  for (int64_t head = 0; head < shape.kv_heads; ++head) {
    std::vector<uint8_t> taken(static_cast<size_t>(shape.keys));
    for (int64_t g = 0; g < group; ++g) {
      for (int32_t key : lists[static_cast<size_t>(head * group + g)]) {
        ++sum;
        united += taken[static_cast<size_t>(key)]++ == 0 ? 1 : 0;
      }
    }
  }
  return {sum, united};
}

class Decode {
 public:
  /// Without `lists`: dense.
  Decode(const Shape& shape, std::vector<Lists> lists, CaseContext& context)
      : shape_(shape),
        kernels_(context.kernels),
        kv_(context.kv({shape.kv_heads, shape.keys, shape.head_dim})),
        query_(normals(shape.heads * shape.head_dim, 2)),
        out_(normals(shape.heads * shape.head_dim, 3)),
        lists_(std::move(lists)),
        workers_(std::make_shared<std::vector<Worker>>(static_cast<size_t>(base::worker_slots()))) {}

  void operator()() {
    const int64_t layer = turn_ % kv_->layers();
    const auto round = static_cast<size_t>(turn_ / kv_->layers());
    const Lists* lists = lists_.empty() ? nullptr : &lists_[round % lists_.size()];
    ++turn_;
    base::parallel_for(shape_.kv_heads, [&](int64_t head, int worker) {
      attend(layer, head, lists == nullptr ? std::span<const std::vector<int32_t>>() : lists_of(*lists, head),
             (*workers_)[static_cast<size_t>(worker)]);
    });
  }

  int64_t layers() const { return kv_->layers(); }

 private:
  struct Worker {
    kernels::ListUnion united;
    std::vector<kernels::KeyList> lists;
  };

  /// Of a KV head: one, or one for each of its query heads.
  std::span<const std::vector<int32_t>> lists_of(const Lists& lists, int64_t head) const {
    const size_t each = lists.size() / static_cast<size_t>(shape_.kv_heads);
    return std::span(lists).subspan(static_cast<size_t>(head) * each, each);
  }

  /// The query heads of a KV head. Without `lists`: to all keys.
  void attend(int64_t layer, int64_t head, std::span<const std::vector<int32_t>> lists,
              Worker& worker) const {
    const kernels::Range all{0, static_cast<int32_t>(shape_.keys)};
    kernels::Segment segment;
    segment.key = kv_->key(layer, head);
    segment.value = kv_->value(layer, head);
    segment.key_stride = segment.value_stride = shape_.head_dim;
    float lse[64];
    kernels::AttendArguments arguments;
    arguments.query = query_.get() + head * shape_.group() * shape_.head_dim;
    arguments.query_stride = arguments.head_dim = arguments.value_dim = arguments.out_stride =
        shape_.head_dim;
    arguments.rows = shape_.group();
    arguments.scale = 1.0F / 12;
    arguments.out = out_.get() + head * shape_.group() * shape_.head_dim;
    arguments.lse = lse;
    if (lists.empty()) {
      segment.runs = &all;
      segment.run_count = 1;
      arguments.segments = &segment;
      arguments.segment_count = 1;
      kernels_->attend(arguments);
      return;
    }
    worker.lists.clear();
    for (const auto& list : lists)
      worker.lists.push_back({.rows = shape_.group() / static_cast<int64_t>(lists.size()), .ids = list});
    worker.united.attend(*kernels_, arguments, segment, worker.lists);
  }

  Shape shape_;
  const kernels::KernelTable* kernels_;
  std::shared_ptr<const KvPool> kv_;
  std::shared_ptr<float[]> query_, out_;
  std::vector<Lists> lists_;
  std::shared_ptr<std::vector<Worker>> workers_;
  int64_t turn_ = 0;
};

/// Dense attention of one query to keys and values in bfloat16.
class DecodeBFloat16 {
 public:
  DecodeBFloat16(const Shape& shape, CaseContext& context)
      : kernels_(context.kernels),
        query_(normals(shape.heads * shape.head_dim, 2)),
        out_(normals(shape.heads * shape.head_dim, 3)),
        lse_(normals(shape.heads, 4)) {
    const auto kv = context.kv({shape.kv_heads, shape.keys, shape.head_dim});
    plane_ = shape.kv_heads * shape.keys * shape.head_dim;
    planes_ = 2 * kv->layers();
    stored_ = std::make_shared<std::vector<kernels::BFloat16>>();
    stored_->reserve(static_cast<size_t>(plane_ * planes_));
    for (int64_t layer = 0; layer < kv->layers(); ++layer) {
      for (const float* from : {kv->key(layer, 0), kv->value(layer, 0)})
        std::transform(from, from + plane_, std::back_inserter(*stored_), kernels::to_bfloat16);
    }
    arguments_.query_heads = shape.heads;
    arguments_.kv_heads = shape.kv_heads;
    arguments_.queries = 1;
    arguments_.keys = shape.keys;
    arguments_.head_dim = arguments_.value_dim = shape.head_dim;
    arguments_.scale = 1.0F / 12;
    arguments_.query = {query_.get(), 0, shape.head_dim, shape.head_dim};
    arguments_.out = {out_.get(), 0, shape.head_dim, shape.head_dim};
    arguments_.lse = lse_.get();
    arguments_.key = arguments_.value = {nullptr, 0, shape.keys * shape.head_dim, shape.head_dim};
  }

  void operator()() {
    const int64_t plane = 2 * turn_++ % planes_;
    arguments_.key.data = stored_->data() + plane * plane_;
    arguments_.value.data = arguments_.key.data + plane_;
    kernels::dense_attention(*kernels_, arguments_);
  }

  int64_t layers() const { return planes_ / 2; }

 private:
  const kernels::KernelTable* kernels_;
  std::shared_ptr<float[]> query_, out_, lse_;
  std::shared_ptr<std::vector<kernels::BFloat16>> stored_;
  int64_t plane_ = 0, planes_ = 0, turn_ = 0;
  kernels::DenseArgumentsOf<kernels::BFloat16> arguments_;
};

KernelCase bfloat16_case(const Shape& shape) {
  KernelCase dense;
  dense.name = "decode/bf16/" + shape.text();
  dense.family = "decode";
  dense.bytes = static_cast<double>(shape.kv_heads * shape.keys) * shape.row_bytes() / 2;
  dense.flops = 4.0 * static_cast<double>(shape.heads * shape.keys * shape.head_dim);
  dense.make = [shape](CaseContext& context) {
    const DecodeBFloat16 decode(shape, context);
    return PreparedCase{decode, decode.layers(), ""};
  };
  return dense;
}

KernelCase dense_case(const Shape& shape) {
  KernelCase dense;
  dense.name = "decode/f32/" + shape.text();
  dense.family = "decode";
  dense.bytes = static_cast<double>(shape.kv_heads * shape.keys) * shape.row_bytes();
  dense.flops = 4.0 * static_cast<double>(shape.heads * shape.keys * shape.head_dim);
  dense.make = [shape](CaseContext& context) {
    const Decode decode(shape, {}, context);
    return PreparedCase{decode, decode.layers(), ""};
  };
  return dense;
}

KernelCase sparse_case(const Shape& shape, double density, bool per_head) {
  KernelCase sparse;
  sparse.name =
      fmt::format("sparse/f32/{}/{}/{:g}%", per_head ? "per_head" : "shared", shape.text(), density * 100);
  sparse.family = "decode";
  sparse.baseline = "decode/f32/" + shape.text();
  const Lists lists = draw_lists(shape, density, per_head, 1).front();
  const auto [sum, united] = sum_and_union(shape, lists);
  sparse.bytes = static_cast<double>(united) * shape.row_bytes();
  sparse.flops = 4.0 * static_cast<double>(shape.head_dim * sum * (per_head ? 1 : shape.group()));
  const double overlap = static_cast<double>(united) / static_cast<double>(sum);
  sparse.make = [shape, density, per_head, overlap](CaseContext& context) {
    const Decode decode(shape, draw_lists(shape, density, per_head, list_sets), context);
    // A layer meets other lists when its turn comes again.
    return PreparedCase{decode, decode.layers() * list_sets,
                        per_head ? fmt::format("a group's lists: union {:.2f} of the sum", overlap) : ""};
  };
  return sparse;
}

}  // namespace

void add_decode_cases(bool quick, std::vector<KernelCase>& cases) {
  const Shape shape{32, 8, 128, quick ? 256 : 32768};
  cases.push_back(dense_case(shape));
  cases.push_back(bfloat16_case(shape));
  for (double density : {0.01, 0.05, 0.10}) cases.push_back(sparse_case(shape, density, false));
  for (double density : {0.05, 0.10}) cases.push_back(sparse_case(shape, density, true));
}

}  // namespace attnlab::measure
