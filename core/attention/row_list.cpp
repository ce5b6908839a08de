#include "core/attention/row_list.hpp"

#include <algorithm>
#include <limits>

#include "core/base/error.hpp"

namespace attnlab::attention {
namespace {

/// Appends [begin, end) without its hidden keys.
void append_visible(Range range, HiddenBits hidden, std::vector<Range>& out) {
  if (range.begin >= range.end) return;
  if (hidden == nullptr) {
    out.push_back(range);
    return;
  }
  int32_t begin = range.begin;
  for (int32_t key = range.begin; key < range.end; ++key) {
    if (!is_hidden(hidden, key)) continue;
    if (key > begin) out.push_back({begin, key});
    begin = key + 1;
  }
  if (range.end > begin) out.push_back({begin, range.end});
}

/// Appends a run that begins no earlier than those before it.
void append_run(const Range& run, std::vector<Range>& out) {
  if (!out.empty() && run.begin <= out.back().end) {
    out.back().end = std::max(out.back().end, run.end);
  } else {
    out.push_back(run);
  }
}

/// Walks ascending runs beside ascending ids: is this id inside a run?
class RunCursor {
 public:
  explicit RunCursor(std::span<const Range> runs) : runs_(runs) {}
  bool contains(int32_t id) {
    while (at_ < runs_.size() && runs_[at_].end <= id) ++at_;
    return at_ < runs_.size() && runs_[at_].begin <= id;
  }

 private:
  std::span<const Range> runs_;
  size_t at_ = 0;
};

}  // namespace

void RowList::clear() {
  runs.clear();
  ids.clear();
  sampled.clear();
  log_weight.clear();
  evicted = false;
  retained.clear();
}

int64_t RowList::size() const {
  return key_count(runs) + static_cast<int64_t>(ids.size()) + static_cast<int64_t>(sampled.size());
}

int64_t key_count(std::span<const Range> runs) {
  int64_t count = 0;
  for (const Range& run : runs) count += run.size();
  return count;
}

void normalise_runs(std::vector<Range>& runs) {
  std::erase_if(runs, [](const Range& run) { return run.begin >= run.end; });
  std::sort(runs.begin(), runs.end(), [](const Range& a, const Range& b) { return a.begin < b.begin; });
  size_t kept = 0;
  for (size_t i = 0; i < runs.size(); ++i) {
    if (kept > 0 && runs[i].begin <= runs[kept - 1].end) {
      runs[kept - 1].end = std::max(runs[kept - 1].end, runs[i].end);
    } else {
      runs[kept++] = runs[i];
    }
  }
  runs.resize(kept);
}

void clip_runs(std::vector<Range>& runs, int64_t visible_end, HiddenBits hidden) {
  const auto end = static_cast<int32_t>(visible_end);
  for (Range& run : runs) run.end = std::min(run.end, end);
  std::erase_if(runs, [](const Range& run) { return run.begin >= run.end; });
  if (hidden == nullptr) return;
  std::vector<Range> visible;
  for (const Range& run : runs) append_visible(run, hidden, visible);
  runs.swap(visible);
}

void unite_runs(std::span<const Range> a, std::span<const Range> b, std::vector<Range>& out) {
  out.clear();
  size_t i = 0, j = 0;
  while (i < a.size() || j < b.size()) {
    const bool first = j == b.size() || (i < a.size() && a[i].begin <= b[j].begin);
    append_run(first ? a[i++] : b[j++], out);
  }
}

void intersect_runs(std::span<const Range> a, std::span<const Range> b, std::vector<Range>& out) {
  out.clear();
  size_t i = 0, j = 0;
  while (i < a.size() && j < b.size()) {
    const Range both{std::max(a[i].begin, b[j].begin), std::min(a[i].end, b[j].end)};
    if (both.begin < both.end) out.push_back(both);
    ++(a[i].end < b[j].end ? i : j);
  }
}

void keep_inside(std::span<const Range> runs, RowList& list, std::vector<Range>& scratch) {
  intersect_runs(list.runs, runs, scratch);
  list.runs.swap(scratch);
  RunCursor kept(runs);
  std::erase_if(list.ids, [&](int32_t id) { return !kept.contains(id); });
  RunCursor sampled(runs);
  size_t count = 0;
  for (size_t i = 0; i < list.sampled.size(); ++i) {
    if (!sampled.contains(list.sampled[i])) continue;
    list.sampled[count] = list.sampled[i];
    list.log_weight[count++] = list.log_weight[i];
  }
  list.sampled.resize(count);
  list.log_weight.resize(count);
}

void deterministic_runs(const RowList& list, std::vector<Range>& out) {
  out.clear();
  auto run = list.runs.begin();
  auto id = list.ids.begin();
  while (run != list.runs.end() || id != list.ids.end()) {
    const bool run_first = id == list.ids.end() || (run != list.runs.end() && run->begin < *id);
    append_run(run_first ? *run : Range{*id, *id + 1}, out);
    if (run_first) {
      ++run;
    } else {
      ++id;
    }
  }
}

void unite(const RowList& a, const RowList& b, RowList& out) {
  ATTNLAB_CHECK(a.sampled.empty() || b.sampled.empty(),
                "a union of two sampled lists has no known probabilities");
  out.clear();
  out.evicted = b.evicted;
  out.retained = b.retained;
  unite_runs(a.runs, b.runs, out.runs);
  RunCursor in_runs(out.runs);
  for (auto i = a.ids.begin(), j = b.ids.begin(); i != a.ids.end() || j != b.ids.end();) {
    const bool first = j == b.ids.end() || (i != a.ids.end() && *i <= *j);
    const int32_t id = first ? *i++ : *j++;
    if (in_runs.contains(id) || (!out.ids.empty() && out.ids.back() == id)) continue;
    out.ids.push_back(id);
  }
  const RowList& random = a.sampled.empty() ? b : a;
  RunCursor absorbed(out.runs);
  auto id = out.ids.begin();
  for (size_t i = 0; i < random.sampled.size(); ++i) {
    const int32_t key = random.sampled[i];
    while (id != out.ids.end() && *id < key) ++id;
    if (absorbed.contains(key) || (id != out.ids.end() && *id == key)) continue;
    out.sampled.push_back(key);
    out.log_weight.push_back(random.log_weight[i]);
  }
}

int64_t candidates(const RowList& active, int64_t visible_end, HiddenBits hidden, std::vector<Range>& out) {
  out.clear();
  const auto end = static_cast<int32_t>(visible_end);
  int32_t from = 0;
  size_t run = 0, id = 0;
  auto retained = active.retained.begin();
  auto take = [&](int32_t begin, int32_t stop) {
    stop = std::min(stop, end);
    if (!active.evicted) {
      append_visible({begin, stop}, hidden, out);
      return;
    }
    while (retained != active.retained.end() && retained->end <= begin) ++retained;
    for (auto part = retained; part != active.retained.end() && part->begin < stop; ++part)
      append_visible({std::max(begin, part->begin), std::min(stop, part->end)}, hidden, out);
  };
  while (from < end && (run < active.runs.size() || id < active.ids.size())) {
    // Past every key, not `end`: a list that was clipped to more keys must not make a spent part look the
    // nearer one.
    constexpr int32_t none = std::numeric_limits<int32_t>::max();
    const int32_t run_begin = run < active.runs.size() ? active.runs[run].begin : none;
    const int32_t id_begin = id < active.ids.size() ? active.ids[id] : none;
    if (run_begin < id_begin) {
      take(from, run_begin);
      from = active.runs[run++].end;
    } else {
      take(from, id_begin);
      from = id_begin + 1;
      ++id;
    }
  }
  if (from < end) take(from, end);
  return key_count(out);
}

}  // namespace attnlab::attention
