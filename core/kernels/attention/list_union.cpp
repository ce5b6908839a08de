#include "core/kernels/attention/list_union.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "core/kernels/attention/dense.hpp"

namespace attnlab::kernels {
namespace {

/// unite() of the kernel table takes so many lists at most.
constexpr size_t kMostParts = 32;

/// What an entry costs, in arbitrary units: reading key and value from memory, and working on them for each
/// row. Measured in docs/design/performance.md.
constexpr int64_t kReadCost = 6, kRowCost = 1;

int64_t cost(int64_t entries, int64_t rows) {
  return entries * (kReadCost + kRowCost * rows);
}

int64_t key_count(std::span<const Range> runs) {
  int64_t count = 0;
  for (const Range& run : runs) count += run.size();
  return count;
}

/// Runs and ids as ascending ids.
void expand(const KeyList& list, std::vector<int32_t>& out) {
  out.clear();
  auto id = list.ids.begin();
  for (const Range& run : list.runs) {
    for (; id != list.ids.end() && *id < run.begin; ++id) out.push_back(*id);
    for (int32_t key = run.begin; key < run.end; ++key) out.push_back(key);
  }
  out.insert(out.end(), id, list.ids.end());
}

}  // namespace

int64_t KeyList::size() const {
  return key_count(runs) + static_cast<int64_t>(ids.size() + sampled.size());
}

bool ListUnion::unite(const KernelTable& kernels, std::span<const KeyList> lists) {
  int64_t rows = 0, apart = 0, largest = 0;
  bool sampled = false;
  for (const KeyList& list : lists) {
    rows += list.rows;
    apart += cost(list.size(), list.rows);
    largest = std::max(largest, list.size());
    sampled |= !list.sampled.empty();
  }
  if (lists.size() * (sampled ? 2 : 1) > kMostParts || cost(largest, rows) >= apart) return false;

  const auto runs = lists[0].runs;
  const bool same_runs =
      std::ranges::all_of(lists, [&](const KeyList& list) { return std::ranges::equal(list.runs, runs); });
  runs_.clear();
  if (same_runs) runs_.assign(runs.begin(), runs.end());
  if (expanded_.size() < lists.size()) expanded_.resize(lists.size());
  parts_.clear();
  for (size_t l = 0; l < lists.size(); ++l) {
    if (!same_runs) expand(lists[l], expanded_[l]);
    parts_.push_back(same_runs ? lists[l].ids : std::span<const int32_t>(expanded_[l]));
  }
  for (size_t l = 0; sampled && l < lists.size(); ++l) parts_.push_back(lists[l].sampled);
  int64_t room = kUnitePadding;
  for (const auto& part : parts_) room += static_cast<int64_t>(part.size());
  count_ = kernels.unite(parts_, ids_.take(room), members_.take(room));
  if (cost(key_count(runs_) + count_, rows) >= apart) return false;

  float* weight = log_weight_.take(rows * count_);
  for (size_t l = 0; l < lists.size(); ++l) {
    mark(l, weight);
    if (!lists[l].sampled.empty()) weigh(lists[l], lists.size() + l, weight);
    for (int64_t r = 1; r < lists[l].rows; ++r) std::copy_n(weight, count_, weight + r * count_);
    weight += lists[l].rows * count_;
  }
  return true;
}

uint64_t ListUnion::bytes() const {
  uint64_t total = ids_.bytes() + members_.bytes() + log_weight_.bytes();
  for (const auto& ids : expanded_) total += ids.capacity() * sizeof(int32_t);
  return total;
}

/// 0 for the members of a part, -inf for others.
void ListUnion::mark(size_t part, float* weight) const {
  const auto none = std::bit_cast<uint32_t>(-std::numeric_limits<float>::infinity());
  const uint32_t* members = members_.data();
  // In integers, for the compiler to do several at a time.
  for (int64_t e = 0; e < count_; ++e)
    weight[e] = std::bit_cast<float>(((members[e] >> part & 1) - 1) & none);
}

/// The log weights of the members of a part, which are the sampled keys of the list.
void ListUnion::weigh(const KeyList& list, size_t part, float* weight) const {
  const uint32_t* members = members_.data();
  const size_t last = list.sampled.size() - 1;
  size_t next = 0;
  // No branch could be predicted here.
  for (int64_t e = 0; e < count_; ++e) {
    const uint32_t member = members[e] >> part & 1;
    const float own = list.log_weight[std::min(next, last)];
    weight[e] = member != 0 ? own : weight[e];
    next += member;
  }
}

/// False, with outputs undefined, where a value that is not finite, times 0, may have touched a row that does
/// not attend to it.
template <class Element>
bool ListUnion::attend_union(const KernelTable& kernels, AttendArgumentsOf<Element> a,
                             SegmentOf<Element> memory) const {
  memory.runs = runs_.data();
  memory.run_count = static_cast<int64_t>(runs_.size());
  memory.ids = ids_.data();
  memory.id_count = count_;
  memory.log_weight = log_weight_.data();
  memory.log_weight_stride = count_;
  a.segments = &memory;
  a.segment_count = 1;
  split_attend(kernels, a);
  for (int64_t r = 0; r < a.rows; ++r) {
    const float* out = a.out + r * a.out_stride;
    if (!std::all_of(out, out + a.value_dim, [](float x) { return std::isfinite(x); })) return false;
  }
  return true;
}

template <class Element>
void ListUnion::attend(const KernelTable& kernels, const AttendArgumentsOf<Element>& a,
                       const SegmentOf<Element>& memory, std::span<const KeyList> lists) {
  united_ = lists.size() > 1 && unite(kernels, lists) && attend_union(kernels, a, memory);
  if (united_) return;
  AttendArgumentsOf<Element> rows = a;
  for (const KeyList& list : lists) {
    SegmentOf<Element> parts[2] = {memory, memory};
    parts[0].runs = list.runs.data();
    parts[0].run_count = std::ssize(list.runs);
    parts[0].ids = list.ids.data();
    parts[0].id_count = std::ssize(list.ids);
    parts[1].ids = list.sampled.data();
    parts[1].id_count = std::ssize(list.sampled);
    parts[1].log_weight = list.log_weight;
    rows.rows = list.rows;
    rows.segments = parts;
    rows.segment_count = 2;
    split_attend(kernels, rows);
    rows.query += list.rows * rows.query_stride;
    rows.bias += rows.bias == nullptr ? 0 : list.rows;
    rows.sink_logit += rows.sink_logit == nullptr ? 0 : list.rows;
    rows.out += list.rows * rows.out_stride;
    rows.lse += list.rows;
  }
}

#define ATTNLAB_INSTANTIATE(Element)                                                     \
  template void ListUnion::attend(const KernelTable&, const AttendArgumentsOf<Element>&, \
                                  const SegmentOf<Element>&, std::span<const KeyList>)
ATTNLAB_INSTANTIATE(float);
ATTNLAB_INSTANTIATE(BFloat16);
ATTNLAB_INSTANTIATE(Float16);
#undef ATTNLAB_INSTANTIATE

}  // namespace attnlab::kernels
